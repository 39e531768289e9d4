"""What every model that turns latents into images shares."""

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.batch import Batch, Request
from medsynth.ema import Average
from medsynth.synthesis import SynthesisModule


class NoiseToImage(SynthesisModule):
    """Abstract: a generator of images from normal latents, its moving average, and a critic.

    Args:
        generator: latents (b, latent_dim) -> images (b, c, h, w) in [-1, 1].
        critic: images -> logits (b,).
        latent_dim: length of a latent.
        ema_half_life: of the averaged generator, in images.
    """

    def __init__(
        self, *, generator: nn.Module, critic: nn.Module, latent_dim: int, ema_half_life: int = 10_000
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.generator = generator
        self.critic = critic
        self.generator_average = Average(generator, half_life=ema_half_life)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"critic": [self.critic], "generator": [self.generator]}

    def fake(self, batch: Batch, draw: str) -> Float[Tensor, "b c h w"]:
        """Images from fresh latents, one a row of the batch; `draw` names the latents, so phases see different ones."""
        return self.generator(self.draws.normal(draw, batch["row"], self.latent_dim))

    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        return self.generator_average(request["latent"])
