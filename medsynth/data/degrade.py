"""Worse versions of training images, made on the fly, so that any set of images is a paired translation set."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from medsynth.errors import UserError
from medsynth.latent import Draws


class Degradation(ABC):
    """Makes the condition from which a model is to restore the image."""

    unit: str
    """What the images must be: "hu", or "any"."""

    @abstractmethod
    def __call__(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, width: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """The degraded images, in [-1, 1]; what image i gets depends on it, on `draws` and on rows[i] alone.

        width: how much of the source's unit lies between -1 and 1 of each image.
        """


@dataclass(frozen=True)
class LowResolution(Degradation):
    """Antialiased bicubic downsampling by `factor` (2, 4, 8, ...), and bicubic upsampling to the size before."""

    factor: int = 4
    unit = "any"

    def __post_init__(self) -> None:
        if self.factor < 2 or self.factor & (self.factor - 1):
            raise UserError(f"degrade.factor={self.factor} must be a power of two from 2: 2, 4, 8, ...")

    def __call__(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, width: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """The images without detail finer than `factor` pixels. Raises UserError for images not larger than that."""
        size = image.shape[-2:]
        if min(size) <= self.factor:
            raise UserError(f"degrade.factor={self.factor} leaves nothing of {size[1]}x{size[0]} pixels; lower it")
        small = interpolate(image, [side // self.factor for side in size], mode="bicubic", antialias=True)
        return interpolate(small, size, mode="bicubic").clamp(-1, 1)


@dataclass(frozen=True)
class LowDose(Degradation):
    """CT as a tube current of `dose` times the original one would have shown it: noise is added.

    The variance of quantum noise is proportional to 1 / dose, so the noise to add has a standard deviation of
    noise_hu sqrt(1 / dose - 1). It is Gaussian, with the spectrum of noise after filtered backprojection (`shape`).
    dose: share of the tube current, between 0 and 1.  noise_hu: standard deviation of the noise that the images have
    already, in HU at the pack's pixels; 12 is our choice, to be replaced by what a homogeneous organ of yours shows.

    Left out: that noise is stronger in the middle of a body and behind bone, streaks, electronic noise (which dominates
    at very low doses), correlation from slice to slice, aliasing, iterative reconstruction, and that noise brings
    values back from beyond the window.
    """

    dose: float = 0.25
    noise_hu: float = 12.0
    unit = "hu"

    def __post_init__(self) -> None:
        if not 0 < self.dose < 1:
            raise UserError(f"degrade.dose={self.dose} must be a share of the full dose above 0 and below 1")
        if not self.noise_hu > 0:
            raise UserError(f"degrade.noise_hu={self.noise_hu} must be above 0 HU")

    def __call__(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, width: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """The images with noise, another each time an image is seen, the same in all channels; clipped to [-1, 1]."""
        height, across = image.shape[-2:]
        every = torch.arange(draws.batch_size, device=rows.device)
        white = draws.normal("low dose", every, height, across)
        spectrum = shape(height, across).to(image.device, non_blocking=True)
        # The whole global batch, then this rank's rows: transforms of fewer images at once round differently.
        noise = torch.fft.irfft2(torch.fft.rfft2(white) * spectrum, s=(height, across))[rows]  # (b, h, w), variance 1
        scale = self.noise_hu * (1 / self.dose - 1) ** 0.5 * 2 / width
        return torch.addcmul(image, scale[:, None, None, None], noise[:, None]).clamp(-1, 1)


@lru_cache(maxsize=4)
def shape(height: int, width: int) -> Float[Tensor, "h f"]:
    """What each frequency of rfft2 is multiplied with, so that white noise becomes CT noise of the same variance.

    The noise power spectrum after filtered backprojection is W(f) = f A(f)^2 (Riederer, Pelc and Chesler 1978, Phys.
    Med. Biol. 23:446; Kijewski and Judy 1987, Phys. Med. Biol. 32:565): the ramp filter squared, times the density
    1 / f with which projections cover the plane. A is the apodisation, here the Hann window up to Nyquist's frequency.
    """
    down = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    across = torch.fft.rfftfreq(width, dtype=torch.float64)
    frequency = (down.square() + across.square()).sqrt().clamp(max=0.5)  # cycles a pixel; 0.5 is Nyquist's
    power = frequency * (0.5 + 0.5 * torch.cos(2 * torch.pi * frequency)).square()
    twice = torch.full_like(
        across, 2.0
    )  # rfft2 holds one of each pair f, -f, but for the first and an even last column
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    return (power / (power * twice).sum() * (height * width)).sqrt().to(torch.float32)
