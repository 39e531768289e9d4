"""Augmentation of all that the critic sees, real and fake alike: with gradients, adaptive or not, any channel count."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from medsynth.augment.instance_noise import InstanceNoise
from medsynth.errors import UserError
from medsynth.latent import Draws


class CriticAugment(ABC):
    """Abstract: a random transformation of images, differentiable in them, and instance noise on top of it.

    A subclass says what the transformation is (`transformed`) and, if the critic's logits move it, how (`adapt`,
    `state`, `load_state`). Every critic of a model has its own, so that each is moved by its own logits.

    adapts: whether logits move it.
    """

    adapts: bool = False

    def __init__(self, *, instance_noise: InstanceNoise | None = None) -> None:
        self.instance_noise = instance_noise

    def __call__(
        self,
        image: Float[Tensor, "b c h w"],
        draws: Draws,
        rows: Int[Tensor, " b"],
        *,
        name: str,
        masks: int,
        side: int | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Images as the critic is to see them, float32.

        image: in [-1, 1].  rows: of the images in the global batch.
        name: begins the names of all draws: equal names give equal transformations, so that the levels of a pyramid
            stay one image (to the pixel that a fraction of the side comes down to); real and fake have their own.
        masks: how many channels, the last ones, are masks in [-1, 1]; they are moved with the image, and no colour part
            touches them.
        side: of the finest level, where the image is one of a pyramid; None: of the image.
        """
        image = self.transformed(image.float(), draws, rows, name=name, masks=masks)
        return self.noisy(image, draws, rows, name=name, side=side)

    def noisy(
        self,
        image: Float[Tensor, "b c h w"],
        draws: Draws,
        rows: Int[Tensor, " b"],
        *,
        name: str,
        side: int | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Images and their instance noise, without the transformation; arguments as of a call."""
        return image if self.instance_noise is None else self.instance_noise(image, draws, rows, name=name, side=side)

    @abstractmethod
    def transformed(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, name: str, masks: int
    ) -> Float[Tensor, "b c h w"]:
        """Images under random transformations, without instance noise; arguments as of a call."""

    @abstractmethod
    def adapt(self, real: Float[Tensor, " r"], fake: Float[Tensor, " f"], *, batch_size: int) -> None:
        """Take note of the critic's logits of a batch on this rank; `batch_size` counts its images on all ranks."""

    @abstractmethod
    def state(self) -> dict[str, float | Tensor]:
        """What a resumed run must know, on the CPU."""

    @abstractmethod
    def load_state(self, state: dict[str, float | Tensor]) -> None:
        """Go on from what `state` returned."""


class Fixed(CriticAugment):
    """Abstract: a critic augmentation that nothing moves."""

    def adapt(self, real: Float[Tensor, " r"], fake: Float[Tensor, " f"], *, batch_size: int) -> None:
        pass

    def state(self) -> dict[str, float | Tensor]:
        return {}

    def load_state(self, state: dict[str, float | Tensor]) -> None:
        pass


class NoiseAlone(Fixed):
    """Instance noise on images that are not transformed."""

    def transformed(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, name: str, masks: int
    ) -> Float[Tensor, "b c h w"]:
        return image


def no_critic_augment(*, instance_noise: InstanceNoise | None = None) -> NoiseAlone | None:
    """What `critic_augment=none` builds: None, or instance noise where its std is above 0."""
    return NoiseAlone(instance_noise=instance_noise) if instance_noise is not None and instance_noise.std else None


def picked(image: Float[Tensor, "b c h w"], y: Int[Tensor, "b h"], x: Int[Tensor, "b w"]) -> Float[Tensor, "b c h w"]:
    """Rows y and columns x of each image, exact copies of its pixels."""
    image = image.gather(2, y[:, None, :, None].expand_as(image))
    return image.gather(3, x[:, None, None, :].expand_as(image))


def checked_policy(policy: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a policy in the order of `known`; raises UserError at one that is not among them."""
    words = [policy] if policy is None or isinstance(policy, str) else list(policy)
    if wrong := [str(word) for word in words if word not in known]:
        raise UserError(f"critic_augment.policy holds {', '.join(wrong)}; it is a list of {', '.join(known)}")
    return tuple(word for word in known if word in words)
