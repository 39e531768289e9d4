"""The convolutional generator and critic of Radford et al. 2016 (DCGAN, arXiv:1511.06434), at any power of two."""

from collections.abc import Sequence
from itertools import pairwise
from math import gcd, sqrt

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.errors import UserError
from medsynth.networks import check_resolution
from medsynth.networks.critic import Critic
from medsynth.networks.minibatch_stddev import MinibatchStddev

START = 4  # side of the first feature map, as in the paper's figure 1


def normalisation(kind: str, channels: int) -> nn.Module:
    """`batch`, `instance` (affine), `group` (of 16 channels, where that divides them) or `none`."""
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            return nn.GroupNorm(gcd(channels, max(1, channels // 16)), channels)
        case "none":
            return nn.Identity()
    raise UserError(f"norm={kind} is unknown; choices: batch, instance, group, none")


def stage_widths(resolution: int, *, width: int, max_width: int, full: bool = False) -> list[int]:
    """Channels of the feature maps at 4, 8, … resolution / 2: `width` at the largest, doubled at each halving.

    Args:
        full: whether there is a map at `resolution` too.
    """
    stages = check_resolution(resolution) - 2 + full
    if not isinstance(width, int) or width < 1 or max_width < 1:
        raise UserError(f"width={width} and max_width={max_width} must be whole numbers of at least 1")
    return [min(max_width, width << (stages - 1 - stage)) for stage in range(stages)]


def initialise(network: nn.Module, scheme: str, *, leak: float = 0.0) -> None:
    """Draw the weights of convolutions and linear layers; biases start at 0.

    `dcgan`: N(0, 0.02) (Radford et al. 2016, section 4), and N(1, 0.02) for norms' scales, as is commonly done.
    `he`: normal with variance 2 / ((1 + leak^2) fan_in) (He et al. 2015, arXiv:1502.01852), as WGAN-GP's authors do:
    without norms, N(0, 0.02) starts with gradients that all but vanish.
    """
    if scheme not in ("dcgan", "he"):
        raise UserError(f"init={scheme} is unknown; choices: dcgan, he")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if scheme == "dcgan":
                nn.init.normal_(layer.weight, 0.0, 0.02)
            else:
                _he_normal(layer, leak)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif scheme == "dcgan" and isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)


def _he_normal(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, leak: float) -> None:
    fan_in = layer.weight[0].numel()  # (out, in, h, w), or (out, in)
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out, h, w): each output pixel sees (h / stride) (w / stride) taps
        taps = layer.weight[0, 0].numel() // (layer.stride[0] * layer.stride[1])
        fan_in = layer.in_channels * (taps if layer.padding[0] else 1)  # the first layer's input is one pixel
    nn.init.normal_(layer.weight, 0.0, sqrt(2.0 / ((1 + leak**2) * fan_in)))


def doubling(kind: str, before: int, after: int, *, bias: bool) -> nn.Module:
    """A layer that doubles the side: `transposed` convolution 4x4, or `nearest` interpolation and a convolution 3x3,
    which leaves no checkerboard (Odena et al. 2016, doi:10.23915/distill.00003)."""
    match kind:
        case "transposed":
            return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)
        case "nearest":
            return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=bias))
    raise UserError(f"upsample={kind} is unknown; choices: transposed, nearest")


def halving(channels: int, widths: Sequence[int], *, norm: str, leak: float) -> list[nn.Module]:
    """Convolutions 4x4 that halve the side, one to each of `widths`, with LeakyReLU and, all but the first, a norm."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(leak, inplace=True)]
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 4, stride=2, padding=1, bias=norm == "none"),
            normalisation(norm, after),
            nn.LeakyReLU(leak, inplace=True),
        ]
    return layers


class ConvGenerator(nn.Module):
    """Latent -> 4x4 -> layers that double the side -> image in [-1, 1].

    Args:
        resolution: side of the image, a power of two.
        channels: of the image.
        latent_dim: length of the latent.
        width: channels of the last hidden feature map; doubled at each smaller one up to `max_width`.
        norm: batch, instance, group or none.
        upsample: transposed (the paper) or nearest, see `doubling`.
        init: dcgan or he, see `initialise`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 100,
        width: int = 64,
        max_width: int = 512,
        norm: str = "batch",
        upsample: str = "transposed",
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)
        bias = norm == "none"
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, widths[0], START, bias=bias),
            normalisation(norm, widths[0]),
            nn.ReLU(inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [
                doubling(upsample, before, after, bias=bias),
                normalisation(norm, after),
                nn.ReLU(inplace=True),
            ]
        layers += [doubling(upsample, widths[-1], channels, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise(self, init)

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        return self.layers(latent[:, :, None, None])  # (b, d, 1, 1) -> (b, c, resolution, resolution)


class ConvCritic(Critic):
    """Image -> convolutions that halve the side -> 4x4 -> one logit.

    Args:
        norm: batch for DCGAN; none where a gradient penalty acts on single samples.
        leak: slope of LeakyReLU below zero.
        minibatch_stddev: let the last layer see how much the images of a batch differ.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        width: int = 64,
        max_width: int = 512,
        norm: str = "batch",
        leak: float = 0.2,
        minibatch_stddev: bool = False,
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)[::-1]
        layers = halving(channels, widths, norm=norm, leak=leak)
        layers += [MinibatchStddev()] if minibatch_stddev else []
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.feature_count = (widths[-1] + minibatch_stddev) * START**2
        self.head = nn.Linear(self.feature_count, 1)
        initialise(self, init, leak=leak)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.layers(image)
