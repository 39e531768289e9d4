"""The encoder of variational autoencoders: the mirror of a convolutional generator."""

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.networks.convolutional import START, halving, initialise, stage_widths


class GaussianEncoder(nn.Module):
    """Image -> convolutions that halve the side -> 4x4 -> mean and log variance of a diagonal Gaussian over latents.

    With ConvGenerator of the same widths as decoder the sides shrink and grow like a U; nothing but the latent joins
    its arms, or there would be nothing to generate from.

    Args:
        width: channels of the largest feature map; doubled at each smaller one up to `max_width`.
        norm: batch, instance, group or none; of all layers but the first.
        leak: slope of LeakyReLU below zero.
        init: dcgan or he, see `initialise`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 128,
        width: int = 64,
        max_width: int = 512,
        norm: str = "batch",
        leak: float = 0.2,
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)[::-1]
        layers = halving(channels, widths, norm=norm, leak=leak)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * START**2, 2 * latent_dim))
        initialise(self, init, leak=leak)

    def forward(self, image: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        mean, log_variance = self.layers(image).float().chunk(2, dim=1)  # (b, 2 d) -> (b, d), (b, d)
        return mean, log_variance
