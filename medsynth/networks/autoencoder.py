"""Autoencoders that act as critics: BEGAN's and EBGAN's, and BEGAN's generator, which is such a decoder."""

from abc import ABC, abstractmethod
from itertools import pairwise
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medsynth.errors import UserError
from medsynth.networks import check_resolution
from medsynth.networks.convolutional import doubling, halving, initialise, normalisation, stage_widths

START = 8  # side of the smallest feature map of both papers


class Autoencoder(nn.Module, ABC):
    """Abstract: image -> features -> image. What it reconstructs badly, it takes for fake."""

    @abstractmethod
    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        """The code of each image."""

    @abstractmethod
    def decode(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        """The images of codes."""

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.decode(self.features(image))


class ConvAutoencoder(Autoencoder):
    """Convolutions 4x4 that halve the side down to 8x8, and transposed ones back (Zhao et al. 2017, arXiv:1609.03126,
    appendix C); the 8x8 feature map is the code.

    Args:
        width: channels of the largest feature map; doubled at each smaller one up to `max_width`.
        norm: batch, instance, group or none; of all layers but the first and the last.
        leak: slope of LeakyReLU below zero.
        upsample: transposed (the paper) or nearest, see `doubling`.
        init: dcgan or he, see `initialise`.
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
        upsample: str = "transposed",
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)[:0:-1]  # at resolution / 2, …, 8
        down = halving(channels, widths, norm=norm, leak=leak)
        up: list[nn.Module] = []
        for before, after in pairwise(widths[::-1]):
            up += [doubling(upsample, before, after, bias=norm == "none")]
            up += [normalisation(norm, after), nn.LeakyReLU(leak, inplace=True)]
        self.feature_shape = (widths[-1], START, START)
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up, doubling(upsample, widths[0], channels, bias=True), nn.Tanh())
        initialise(self, init, leak=leak)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.encoder(image).flatten(1)

    def decode(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        return self.decoder(features.unflatten(1, self.feature_shape))


class BeganDecoder(nn.Module):
    """Code -> h0, 8x8 -> two convolutions 3x3 with ELU a side, nearest interpolation between sides -> image (figure
    1, Berthelot et al. 2017, arXiv:1703.10717).

    The last layer is linear as in the paper. A tanh ends where a generator of black images is a solution with no
    gradient, and medical images are black around the body.

    Weights are drawn as torch does, small: the critic then begins with one image for all, which the generator can
    follow. With He's weights it could not: its error stayed above gamma times that of real images, and k at 0.

    Args:
        code_dim: length of the code.
        width: n, channels of every hidden layer.
        skips: after each interpolation, see h0 too, interpolated to the same side (the paper's optional improvement).
        norm: batch, instance, group or none (the paper); of every convolution but the last.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        code_dim: int = 64,
        width: int = 64,
        skips: bool = False,
        norm: str = "none",
    ) -> None:
        super().__init__()
        before = [width] + [width * (1 + skips)] * (_stages(resolution, width) - 1)
        self.skips = skips
        self.start = nn.Sequential(nn.Linear(code_dim, width * START**2), nn.Unflatten(1, (width, START, START)))
        self.stages = nn.ModuleList(
            nn.Sequential(*_elu_convolution(maps, width, norm=norm), *_elu_convolution(width, width, norm=norm))
            for maps in before
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, code: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        h0 = self.start(code)
        h = self.stages[0](h0)
        for stage in self.stages[1:]:
            h = interpolate(h, scale_factor=2.0)
            h = stage(torch.cat([h, interpolate(h0, size=h.shape[2:])], 1) if self.skips else h)
        return self.last(h)


class BeganGenerator(nn.Module):
    """BEGAN's decoder on uniform latents; images are clipped to [-1, 1] in eval mode.

    A normal latent z, as all models here are asked with, becomes uniform in [-1, 1] by 2 Phi(z) - 1 = erf(z / sqrt 2).
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 64,
        width: int = 64,
        skips: bool = False,
        norm: str = "none",
    ) -> None:
        super().__init__()
        self.decoder = BeganDecoder(
            resolution=resolution, channels=channels, code_dim=latent_dim, width=width, skips=skips, norm=norm
        )

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        image = self.decoder(torch.erf(latent / sqrt(2)))
        return image if self.training else image.clamp(-1, 1)


class BeganAutoencoder(Autoencoder):
    """BEGAN's critic: convolutions 3x3 with ELU, `width` channels more at every halving of the side down to 8x8, a
    linear code, and BEGAN's decoder. Its `norm` is of every convolution but the first and the last."""

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        code_dim: int = 64,
        width: int = 64,
        skips: bool = False,
        norm: str = "none",
    ) -> None:
        super().__init__()
        layers = _elu_convolution(channels, width, norm="none")
        last = _stages(resolution, width)
        for stage in range(1, last + 1):
            now, after = stage * width, min(stage + 1, last) * width
            layers += [*_elu_convolution(now, now, norm=norm), *_elu_convolution(now, after, norm=norm)]
            layers += _elu_convolution(after, after, stride=2, norm=norm) if stage < last else []
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * width * START**2, code_dim))
        self.decoder = BeganDecoder(
            resolution=resolution, channels=channels, code_dim=code_dim, width=width, skips=skips, norm=norm
        )

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.encoder(image)

    def decode(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        return self.decoder(features)


def _stages(resolution: int, width: int) -> int:
    """Sides from 8 to `resolution`."""
    if not isinstance(width, int) or width < 1:
        raise UserError(f"width={width} must be a whole number of at least 1")
    return check_resolution(resolution) - 2


def _elu_convolution(before: int, after: int, *, stride: int = 1, norm: str) -> list[nn.Module]:
    plain = norm == "none"
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=plain)
    return [convolution, *([] if plain else [normalisation(norm, after)]), nn.ELU(inplace=True)]
