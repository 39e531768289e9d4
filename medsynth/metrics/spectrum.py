"""The radial power spectrum: do synthetic images have as much detail as real ones at every scale, and no pattern?"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.metrics.bootstrap import Resample, centred
from medsynth.metrics.undefined import Undefined

FLOOR = 1e-10  # added to the power: 8-bit rounding has 5e-6, so only what is constant touches it


@dataclass(frozen=True)
class Spectrum:
    """The mean over a set of each image's log10 power at integer radii 0, 1 ... side / 2. float64.

    count: images. total: the sum of their profiles.
    """

    count: int
    total: Float[Tensor, " r"]

    @property
    def profile(self) -> Float[Tensor, " r"]:
        """Mean log10 power by radius."""
        return self.total / self.count


def radial_profiles(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b r"]:
    """log10 of the power on each ring of frequencies, r = min(h, w) // 2 + 1 rings (section 3, Durall et al. 2020).

    Ring k holds the frequencies of about k periods over the shorter side, in every direction (arXiv:2003.01826, Eq. 3,
    of power instead of magnitude); ring 0 is the mean brightness. Power is averaged over a ring and channels, and is
    that of white noise of unit deviation at 1. Frequencies beyond half a period a pixel, in the corners, are left out.
    Non-square images keep frequencies by length, not by place in the transform.
    """
    _, _, h, w = images.shape
    power = torch.fft.rfft2(images.detach().float(), norm="ortho").abs().square().mean(dim=1)  # (b, h, w // 2 + 1)
    ring, weight = _rings(h, w)
    rings = min(h, w) // 2 + 1
    weight, ring = weight.to(power.device), ring.to(power.device)
    flat = power.flatten(1).T * weight[:, None]  # (h * (w // 2 + 1), b)
    total = torch.zeros(rings + 1, len(images), dtype=flat.dtype, device=flat.device).index_add_(0, ring, flat)
    size = torch.zeros(rings + 1, dtype=flat.dtype, device=flat.device).index_add_(0, ring, weight)
    return (total[:rings] / size[:rings, None] + FLOOR).log10().T.contiguous()


def _rings(h: int, w: int) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"]]:
    """The ring of each frequency of a real transform, the last one for those left out, and how often it stands."""
    rows, columns = torch.fft.fftfreq(h), torch.fft.rfftfreq(w)
    side = min(h, w)
    ring = (torch.hypot(rows[:, None], columns) * side).round().long().clamp(max=side // 2 + 1)
    # A real image's transform is stored by half: all columns but the first and the last of an even width stand twice.
    twice = torch.full((len(columns),), 2.0)
    twice[0] = 1
    if w % 2 == 0:
        twice[-1] = 1
    return ring.flatten(), twice.expand(h, -1).flatten()


def spectrum(profiles: Float[Tensor, "b r"]) -> Spectrum:
    """The spectrum of a batch of `radial_profiles`."""
    return Spectrum(len(profiles), profiles.cpu().double().sum(dim=0))


def spectrum_distance(first: Spectrum, second: Spectrum) -> float:
    """Root mean square difference of two profiles over radii from 1 on, in powers of ten of power; 0 for equal ones.

    0.3 is a factor of two at every scale of detail.

    Raises:
        Undefined: a set has no image, images are too small for a ring, or their power is no number.
    """
    if min(first.count, second.count) < 1 or len(first.total) < 2:
        raise Undefined("a power spectrum needs an image of at least 2x2 pixels on each side")
    if not bool((first.total + second.total).isfinite().all()):
        raise Undefined("images hold values that are no numbers, or whose squares are none")
    return (first.profile - second.profile)[1:].square().mean().sqrt().item()


def spectrum_deviations(
    real: Float[Tensor, "n r"], fake: Float[Tensor, "m r"], drawn_real: Resample, drawn_fake: Resample
) -> Float[Tensor, " rounds"]:
    """How far `spectrum_distance` moves with other patients, from the profiles of single images, as `interval` takes
    it."""
    apart = _drawn_profile(real, drawn_real) - _drawn_profile(fake, drawn_fake)  # (rounds, r)
    return centred(apart[:, 1:].square().mean(dim=1).sqrt())


def _drawn_profile(profiles: Tensor, drawn: Resample) -> Tensor:
    return (drawn.weights @ profiles.cpu().double()) / drawn.weights.sum(dim=1, keepdim=True)
