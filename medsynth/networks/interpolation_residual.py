"""The generators of the kidney CT study: transposed convolutions with a light, interpolated path beside each."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu, tanh

from medsynth.errors import UserError
from medsynth.networks.convolutional import START, doubling, initialise, normalisation, stage_widths

INTERPOLATIONS = ("bilinear", "nearest")


class LightPath(nn.Module):
    """p of the study: interpolate a feature map by `factor`, then bring it to the block's channels by a convolution.

    The convolution is 1x1, so it commutes with an interpolation, whose weights sum to 1; it is done first, on
    factor^2 times fewer pixels.
    """

    def __init__(self, before: int, after: int, *, factor: int, interpolation: str) -> None:
        super().__init__()
        self.factor, self.interpolation = factor, interpolation
        self.convolution = nn.Conv2d(before, after, 1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return interpolate(self.convolution(features), scale_factor=self.factor, mode=self.interpolation)


class InterpolationResidualGenerator(nn.Module):
    """Latent -> 1x4x4 -> blocks that double the side, each with light paths added -> image in [-1, 1].

        x_0 = reshape(linear(z)), 1x4x4;  with the kernel  x_0 = x_0 * K
        x_i = ReLU(F_i(x_{i-1}) + skips[0] p2(x_{i-1}) + skips[1] p4(x_{i-2}) + …),   i = 1 … n;  tanh at i = n

    F_i is a transposed convolution 4x4 of stride 2, with a norm but at the last; p2, p4, … are `LightPath`s, added and
    never concatenated; terms whose x is not there are left out. `skips` names the study's versions: Small GAN [1],
    Larger GAN Version 1 [2] (layer i-1 added twice), Version 2 [1, 1]; [] is its baseline without any.

    Sizes: x_i has the side 4 * 2^i, so n = log2(resolution) - 2: 4 blocks at 64 (4 8 16 32 64), which with the linear
    layer are the study's 5 layers, and 5 at 128. x_{i-1} is half of x_i's side and x_{i-2} a quarter. All that an image
    has of its latent passes through the 16 numbers of x_0. Eq. 3.3 of the study counts the linear layer as its F_1,
    so its x_1 is x_0 here; the '+ x' in its first two lines adds the latent itself, for which no shape is consistent,
    and is read as an absent term.

    Args:
        resolution: side of the image, a power of two.
        channels: of the image.
        latent_dim: length of the latent.
        skips: weights of the light paths from one, two, … maps before.
        kernel: convolve x_0 with one trainable 3x3 kernel K of same padding, drawn from N(0, 1).
        width: channels of the last hidden feature map; doubled at each smaller one up to `max_width`.
        norm: of F_i: batch, instance, group or none.
        interpolation: bilinear or nearest.
        init: dcgan or he, see `initialise`; the kernel is drawn from N(0, 1) all the same.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 128,
        skips: Sequence[int | float] = (1.0,),
        kernel: bool = False,
        width: int = 64,
        max_width: int = 512,
        norm: str = "batch",
        interpolation: str = "bilinear",
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        check_wiring(skips, kernel, interpolation)
        self.skips = tuple(skips)
        widths = [1, *stage_widths(resolution, width=width, max_width=max_width)[1:], channels]  # of x_0 … x_n
        self.linear = nn.Linear(latent_dim, START**2)
        self.kernel = nn.Conv2d(1, 1, 3, padding=1, bias=False) if kernel else nn.Identity()
        self.blocks = nn.ModuleList(
            _block(widths[i - 1], widths[i], norm="none" if i == len(widths) - 1 else norm)
            for i in range(1, len(widths))
        )
        self.paths = nn.ModuleList(
            nn.ModuleList(
                LightPath(widths[i - back], widths[i], factor=2**back, interpolation=interpolation)
                for back in range(1, min(len(skips), i) + 1)
            )
            for i in range(1, len(widths))
        )
        initialise(self, init)
        if isinstance(self.kernel, nn.Conv2d):
            nn.init.normal_(self.kernel.weight)

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        maps = [self.kernel(self.linear(latent).unflatten(1, (1, START, START)))]  # (b, 1, 4, 4)
        for block, paths in zip(self.blocks, self.paths, strict=True):
            total = block(maps[-1])
            # newest map first; the first blocks have fewer maps before them than there are skips
            for weight, path, before in zip(self.skips, paths, reversed(maps), strict=False):  # type: ignore[arg-type]
                total = total + weight * path(before)
            maps.append(relu(total) if block is not self.blocks[-1] else tanh(total))
        return maps[-1]


def _block(before: int, after: int, *, norm: str) -> nn.Module:
    return nn.Sequential(
        doubling("transposed", before, after, bias=norm == "none"),
        normalisation(norm, after),
    )


def check_wiring(skips: object, kernel: object, interpolation: object) -> None:
    """Refuse what YAML or the command line may say of the light paths and the kernel and what makes no sense."""
    numbers = isinstance(skips, Sequence) and all(isinstance(skip, int | float) for skip in skips)
    if not numbers or isinstance(skips, str):
        raise UserError(f"skips={skips} must be a list of numbers: [1] Small GAN, [2] Version 1, [1, 1] Version 2")
    if not isinstance(kernel, bool):
        raise UserError(f"kernel={kernel} must be true or false")
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation={interpolation} is unknown; choices: {', '.join(INTERPOLATIONS)}")
