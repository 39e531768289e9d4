"""Instance noise: what the critic sees, blurred by a Gaussian that fades as training goes on."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from medsynth.errors import UserError
from medsynth.latent import Draws


@dataclass(frozen=True)
class InstanceNoise:
    """Gaussian noise on real and fake images alike, so that their distributions overlap: section 3.2 of Sønderby et al.
    2017 (arXiv:1610.04490), section 3 of Arjovsky and Bottou 2017 (arXiv:1701.04862).

    A pure function of the clock. Masks get it too: their two exact values would give real images away. The numbers are
    drawn on the CPU for the whole global batch, 5 to 20 ns a number.

    std: at the start, in units of images in [-1, 1].  images: after which it has fallen to 0, linearly.
    """

    std: float
    images: int

    def __post_init__(self) -> None:
        if not isinstance(self.std, int | float) or not self.std >= 0:
            raise UserError(f"critic_augment.instance_noise.std={self.std} must be a number of at least 0; 0 is none")
        if not isinstance(self.images, int) or isinstance(self.images, bool) or self.images < 1:
            raise UserError(f"critic_augment.instance_noise.images={self.images} must be a whole number of at least 1")

    def std_at(self, images_seen: int) -> float:
        """The standard deviation after so many images."""
        return self.std * max(0.0, 1 - images_seen / self.images)

    def __call__(
        self,
        image: Float[Tensor, "b c h w"],
        draws: Draws,
        rows: Int[Tensor, " b"],
        *,
        name: str,
        side: int | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The image and noise of its own, or the image itself once there is none; values may leave [-1, 1].

        side: of the finest level, where the image is one of a pyramid: it gets the average of that level's noise, as it
            would had the noise been there before the pyramid was made.  None: of the image.
        """
        std = self.std_at(draws.images_seen)
        if std == 0:
            return image
        height, width = image.shape[-2:] if side is None else (side, side)
        noise = draws.normal(f"{name} instance noise", rows, image.shape[1], height, width)
        if image.shape[-2:] != noise.shape[-2:]:
            noise = adaptive_avg_pool2d(noise, (image.shape[-2], image.shape[-1]))
        return image + std * noise
