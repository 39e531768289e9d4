"""The Laplacian pyramid and the networks of one of its levels (LAPGAN, Denton et al. 2015, arXiv:1506.05751)."""

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medsynth.errors import UserError
from medsynth.networks.conditioning import AttributeEmbedding, Covariates, Label
from medsynth.networks.convolutional import initialise, normalisation
from medsynth.networks.dense import dense_image

FIRST_RESIDUAL = 0.1  # deviation of an untrained level's residuals, half that of real phantoms; of He's above 1

Image = Float[Tensor, "b c _ _"]  # of any side


def down(image: Image) -> Image:
    """Blur with [1 3 3 1] / 8 and take every second pixel: half the side, no value beyond the image's own range."""
    return interpolate(image, scale_factor=0.5, mode="bilinear", antialias=True)


def up(image: Image) -> Image:
    """Bilinear interpolation to twice the side, the same weights the other way."""
    return interpolate(image, scale_factor=2.0, mode="bilinear")


def low_pass(image: Image) -> Image:
    """What is left of an image that went down and up again: l_k of Algorithm 1."""
    return up(down(image))


def laplacian(image: Image, *, start: int) -> tuple[Image, list[Image]]:
    """The Laplacian pyramid (Eq. 3): the image at side `start`, and the residuals of the finer levels, coarse to fine.

    A residual is what `up` of the next coarser image lacks; at any level that is in [-2, 2] for images in [-1, 1].
    """
    residuals = []
    while image.shape[-1] > start:
        coarser = down(image)
        residuals.append(image - up(coarser))
        image = coarser
    return image, residuals[::-1]


def collapse(coarsest: Image, residuals: Sequence[Image]) -> Image:
    """The image of a Laplacian pyramid (Eq. 4): the inverse of `laplacian`."""
    image = coarsest
    for residual in residuals:
        image = up(image) + residual
    return image


def check_start(start: object, resolution: int) -> int:
    """Return the side of the coarsest level; what is no power of two from 4 to half the resolution is refused."""
    choices = [side for side in (4, 8, 16, 32, 64) if side < resolution]
    if start not in choices:
        known = ", ".join(map(str, choices))
        raise UserError(f"model.start={start} is no coarsest side for resolution={resolution}; choices: {known}")
    return int(str(start))


class CoarseGenerator(nn.Module):
    """Latent -> dense layers with batch norm and ReLU -> image in [-1, 1], of a side too small for convolutions.

    The authors' code has two hidden layers too, and no norm; without one the level soon loses its variety under Adam.

    Args:
        side: of the image.
        widths: units of the hidden layers.
    """

    def __init__(
        self, *, side: int, channels: int = 1, latent_dim: int = 100, widths: Sequence[int] = (512, 512)
    ) -> None:
        super().__init__()
        self.layers = dense_image(
            latent_dim,
            widths,
            (channels, side, side),
            after=lambda units: [nn.BatchNorm1d(units), nn.ReLU(inplace=True)],
        )

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        return self.layers(latent)


class HighPassGenerator(nn.Module):
    """Noise plane and low-pass image -> the residual that the low-pass lacks: convolutions at one side.

    The noise enters as one more channel of the low-pass image. Residuals have no last nonlinearity.

    Args:
        planes: of noise.
        width: channels of the hidden feature maps.
        layers: convolutions in all; three in the authors' code.
        kernel: side of their kernels, odd; 7, 7 and 5 in the authors' code.
        norm: of the hidden layers: batch, instance, group or none.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        planes: int = 1,
        width: int = 32,
        layers: int = 4,
        kernel: int = 5,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if layers < 2 or kernel % 2 == 0:
            raise UserError(f"layers={layers} must be at least 2, and kernel={kernel} odd")
        hidden: list[nn.Module] = []
        for before in [channels + planes, *[width] * (layers - 2)]:
            hidden += [
                nn.Conv2d(before, width, kernel, padding="same"),
                normalisation(norm, width),
                nn.ReLU(inplace=True),
            ]
        last = nn.Conv2d(width, channels, kernel, padding="same")
        self.layers = nn.Sequential(*hidden, last)
        initialise(self, "he")
        nn.init.normal_(last.weight, 0.0, FIRST_RESIDUAL / sqrt(last.weight[0].numel()))

    def forward(self, noise: Float[Tensor, "b p h w"], low_pass: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.layers(torch.cat([low_pass, noise], dim=1))


class ConditionalHighPass(nn.Module):
    """A HighPassGenerator that gets an embedding of label and covariates as one more plane beside the noise.

    Args:
        network: builds the generator, given `channels` and `planes`.
        side: of its images.
        classes, covariates: how many; 0 for none.
    """

    def __init__(
        self, *, network: Callable[..., nn.Module], side: int, channels: int = 1, classes: int = 0, covariates: int = 0
    ) -> None:
        super().__init__()
        self.embedding = AttributeEmbedding(classes=classes, covariates=covariates, dim=side**2)
        self.embedding.draw_level()
        self.needs = self.embedding.needs
        self.network = network(channels=channels, planes=2)

    def forward(
        self,
        noise: Float[Tensor, "b 1 h w"],
        low_pass: Float[Tensor, "b c h w"],
        *,
        label: Label = None,
        covariates: Covariates = None,
    ) -> Float[Tensor, "b c h w"]:
        plane = self.embedding(label, covariates).unflatten(1, noise.shape[1:])  # (b, h w) -> (b, 1, h, w)
        return self.network(torch.cat([noise, plane], dim=1), low_pass)
