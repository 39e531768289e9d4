"""What every model that turns latents into images shares."""

from collections.abc import Mapping
from typing import Any, NotRequired, Required, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.batch import Batch, Request
from medsynth.ema import Average
from medsynth.errors import UserError, check_number
from medsynth.models.at_rest import at_rest
from medsynth.synthesis import Image, SynthesisModule, Terms

GIVEN = ("label", "covariates")  # what a network may be conditioned on


def given(network: nn.Module, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of a batch's or request's label and covariates that the network is conditioned on."""
    return {name: values[name] for name in GIVEN if name in getattr(network, "needs", ())}


def refuse_batch_norm(critic: nn.Module) -> None:
    """Raises UserError for a critic that normalises over the batch: a penalty on the gradient of each logit by its own
    image would get those by all others too."""
    if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules()):
        raise UserError("model.critic.norm=batch mixes samples, which a gradient penalty forbids; use none or instance")


class Shared(TypedDict):
    """What every NoiseToImage is built with beside its critic, and passes on."""

    generator: Required[nn.Module]
    latent_dim: NotRequired[int]
    ema_half_life: NotRequired[int]
    feature_matching_weight: NotRequired[float]


class NoiseToImage(SynthesisModule):
    """Abstract: a generator of images from normal latents, its moving average, and a critic.

    Its losses see images through `real` and `fake`, where critic_augment acts, and logits through `judge` and `score`.

    Args:
        generator: latents (b, latent_dim) -> images (b, c, h, w) in [-1, 1]; in training mode it may return the levels
            of a pyramid instead, and its `scales` then makes those of an image. Conditional networks take `label` and
            `covariates` too, which their `needs` names.
        critic: images -> logits (b,). Conditional ones name in `needs` what they take, or in `tells` what they tell; a
            generator is conditioned on the same.
        latent_dim: length of a latent.
        ema_half_life: of the averaged generator, in images.
        feature_matching_weight: of |E f(x) - E f(G(z))|^2 for the critic's features f in the generator's loss
            (section 3.1, Salimans et al. 2016, arXiv:1606.03498).
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        critic: nn.Module,
        latent_dim: int = 100,
        ema_half_life: int = 10_000,
        feature_matching_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("model.ema_half_life", ema_half_life, least=0)
        check_number("model.feature_matching_weight", feature_matching_weight, least=0)
        if feature_matching_weight and not hasattr(critic, "features"):
            raise UserError(f"model.feature_matching_weight={feature_matching_weight}: this critic has no features; 0")
        judged = {name for names in ("needs", "tells") for name in getattr(critic, names, ())}
        if unmet := judged - set(getattr(generator, "needs", ())):
            raise UserError(f"model.critic is conditioned on {min(unmet)}, and model.generator is not: condition both")
        if unmet := set(getattr(generator, "needs", ())) - judged:
            raise UserError(
                f"model.generator is conditioned on {min(unmet)}, and model.critic is not, so nothing would teach the "
                "generator what it means: condition both"
            )
        self.latent_dim, self.feature_matching_weight = latent_dim, feature_matching_weight
        self.generator = generator
        self.critic = critic
        self.generator_average = Average(generator, half_life=ema_half_life)
        self._scales: Any = next((part.scales for part in generator.modules() if hasattr(part, "scales")), None)
        self.needs = self.needs.union(*(getattr(network, "needs", ()) for network in (generator, critic)))

    def players(self) -> dict[str, list[nn.Module]]:
        return {"critic": [self.critic], "generator": [self.generator]}

    def real(self, batch: Batch) -> Image:
        """The batch's images as the critic sees them: at all levels where the generator makes pyramids, for a critic
        would tell augmented levels from levels of an augmented image."""
        image = batch["image"]
        return self.see(image if self._scales is None else self._scales(image), batch["row"], "real")

    def fake(self, batch: Batch, draw: str) -> Image:
        """Images from fresh latents, one a row of the batch, as the critic sees them; `draw` names the latents, so
        phases see different ones."""
        latent = self.draws.normal(draw, batch["row"], self.latent_dim)
        return self.see(self.generator(latent, **given(self.generator, batch)), batch["row"], draw)

    def added(self, image: Image, change: Float[Tensor, "b c h w"]) -> Image:
        """Images as the critic sees them, detached, and a change on top; each level of a pyramid gets the change's own.

        The gradient by a change of zero is that by the images, though no augmentation is differentiated twice.
        """
        if isinstance(image, Tensor):
            return image.detach() + change
        assert self._scales is not None  # it made the levels
        return tuple(level.detach() + own for level, own in zip(image, self._scales(change), strict=True))

    def judge(self, batch: Batch, real: Image, fake: Image) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The critic's logits of real and of fake images, in its own phase."""
        logits = self.score(batch, real), self.score(batch, fake)
        self.heard(*logits)
        return logits

    def score(self, batch: Batch, image: Image) -> Float[Tensor, " b"]:
        """The critic's logits."""
        return self.critic(image, **given(self.critic, batch))

    def realness(self, batch: Batch, *, masks: int = 0) -> Float[Tensor, " b"]:
        """How real the critic finds the images of a batch, more being more real, on a scale of the model's own.

        Of each image alone (see `at_rest`), unaugmented, with the label and covariates that the critic is conditioned
        on. The critic is that of the last step: only generators have an average.

        Args:
            masks: how many last channels are masks, which most critics need not know.
        """
        del masks
        image = batch["image"] if self._scales is None else self._scales(batch["image"])
        with at_rest(self.critic):
            return self._realness(batch, image)

    def _realness(self, batch: Batch, image: Image) -> Float[Tensor, " b"]:
        """The logit, where the model has no better word for it; a relativistic one is taken raw."""
        return self.score(batch, image)

    def feature_matching(self, batch: Batch, fake: Image) -> Terms:
        """The generator's term of that name; none where its weight is 0."""
        if not self.feature_matching_weight:
            return {}
        features: Any = self.critic.features
        known = given(self.critic, batch)
        with torch.no_grad():
            wanted = features(self.real(batch), **known).mean(dim=0)
        apart = features(fake, **known).mean(dim=0) - wanted
        return {"feature_matching": self.feature_matching_weight * apart.square().sum()}

    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        return self.generator_average(request["latent"], **given(self.generator, request))
