"""Worse images get worse figures, over four nested levels of damage to the same images, by the figures' intervals.

A level adds to the one before it, with the same images and noise. From the first to the last level each figure worsens
by more than both intervals, and no step improves it beyond the interval of the level before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medsynth.metrics.bootstrap import interval, mean_deviations, resample
from medsynth.metrics.frechet import frechet_deviations, frechet_of_features
from medsynth.metrics.kernel import kernel_deviations, kernel_distance
from medsynth.metrics.ms_ssim import ms_ssim
from medsynth.metrics.prdc import neighbour_deviations, neighbours
from medsynth.metrics.random_features import RandomConvolutions
from medsynth.metrics.sliced_bootstrap import sliced_deviations
from medsynth.metrics.sliced_wasserstein import PatchSample, pyramid_distance
from medsynth.metrics.spectrum import radial_profiles, spectrum, spectrum_deviations, spectrum_distance

COUNT, SIDE = 200, 32
LEVELS = (1, 2, 3, 4)
BLURS = (1, 4, 12, 24)  # how often images are smoothed by [1 2 1] / 4, which leaves no frequency out
BINOMIAL = torch.outer(*torch.tensor([[1.0, 2.0, 1.0]] * 2))[None, None] / 16
HIGHER_IS_BETTER = {"precision", "recall", "density", "coverage"}
DRAWN = resample(range(COUNT), name="real", rounds=200), resample(range(COUNT), name="fake", rounds=200)


@dataclass(frozen=True)
class Figure:
    """A figure and its interval, turned so that more is worse."""

    value: float
    low: float
    high: float


def phantoms(classes: Tensor, *, seed: int) -> Tensor:
    """A body with two organs of varying place, size and grey, and fine texture; in class 1 with a bright lesion."""
    stream = torch.Generator().manual_seed(seed)
    count = len(classes)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")

    def ellipse(across: float, down: float, wide: float, high: float) -> Tensor:
        a, b, w, h = torch.rand(4, count, 1, 1, generator=stream) * 0.2 - 0.1
        inside = 1 - ((x - across - a) / (wide + w)) ** 2 - ((y - down - b) / (high + h)) ** 2
        return torch.sigmoid(8 * inside)

    grey = torch.rand(3, count, 1, 1, generator=stream) * 0.3
    images = -0.9 + (0.6 + grey[0]) * ellipse(0, 0, 0.8, 0.7)
    images += (0.2 + grey[1]) * ellipse(-0.35, 0, 0.25, 0.3) + (0.1 + grey[2]) * ellipse(0.35, 0.1, 0.2, 0.3)
    images += 0.9 * classes[:, None, None] * ellipse(-0.3, -0.1, 0.3, 0.3)
    images += 0.05 * torch.randn(images.shape, generator=stream)
    return images.clamp(-1, 1)[:, None]


CLASSES = torch.arange(COUNT) % 2


@cache
def real() -> Tensor:
    return phantoms(CLASSES, seed=0)


@cache
def original() -> Tensor:
    """The synthetic images before any damage: as good as real ones."""
    return phantoms(CLASSES, seed=1)


def blur(level: int) -> Tensor:
    images = original()
    for _ in range(BLURS[level - 1]):
        images = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="circular"), BINOMIAL)
    return images


def noise(level: int) -> Tensor:
    drawn = torch.randn(original().shape, generator=torch.Generator().manual_seed(2))
    return (original() + 0.08 * level * drawn).clamp(-1, 1)


def shift(level: int) -> Tensor:
    return original().roll(2 * level, dims=-1)


def duplication(level: int) -> Tensor:
    """A third, ninth, ... of the images, each as often as is needed."""
    return original()[torch.arange(COUNT) % (COUNT // 3**level)]


def imbalance(level: int) -> Tensor:
    """A quarter, half, three quarters and all of the images of class 1 make way for class 0."""
    lost = (CLASSES == 1) & (torch.arange(COUNT) // 2 % 4 < level)
    return torch.where(lost[:, None, None, None], phantoms(0 * CLASSES, seed=3), original())


Damage = Callable[[int], Tensor]


@cache
def features(damage: Damage | None, level: int) -> Tensor:
    return RandomConvolutions(1)(damage(level) if damage else real())


def frechet(damage: Damage, level: int) -> tuple[float, Tensor]:
    sides = features(None, 0), features(damage, level)
    return frechet_of_features(*sides), frechet_deviations(*sides, *DRAWN)


def kid(damage: Damage, level: int) -> tuple[float, Tensor]:
    sides = features(None, 0), features(damage, level)
    return kernel_distance(*sides).mean, kernel_deviations(*sides, *DRAWN)


@cache
def manifold(damage: Damage, level: int) -> dict[str, tuple[float, Tensor]]:
    sides = features(None, 0), features(damage, level)
    found, moved = neighbours(*sides), neighbour_deviations(*sides, *DRAWN)
    return {name: (getattr(found, name), moved[name]) for name in HIGHER_IS_BETTER}


def swd(damage: Damage, level: int) -> tuple[float, Tensor]:
    sides = patches(real()), patches(damage(level))
    levels = pyramid_distance(*sides)
    moved = [sliced_deviations(a, b, *DRAWN) for a, b in zip(*sides, strict=True)]
    return sum(levels) / len(levels), torch.stack(moved).mean(dim=0)


def patches(images: Tensor) -> list[Tensor]:
    sample = PatchSample()
    sample.update(images)
    return [found[:, :40].flatten(0, 1) for found in sample.compute()]  # 40 patches an image


def power(damage: Damage, level: int) -> tuple[float, Tensor]:
    sides = radial_profiles(real()), radial_profiles(damage(level))
    return spectrum_distance(*map(spectrum, sides)), spectrum_deviations(*sides, *DRAWN)


def alike(damage: Damage, level: int) -> tuple[float, Tensor]:
    """MS-SSIM of each image with a partner that stands at a random place."""
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(4))
    values = ms_ssim(damage(level)[order], damage(level)[order.roll(1)])
    return values.double().mean().item(), mean_deviations(values, DRAWN[1])


FIGURES = {"frechet": frechet, "kid": kid, "swd": swd, "spectrum": power, "ms_ssim": alike}
FIDELITY = ("frechet", "kid", "precision", "density")
CASES = [
    *((blur, name) for name in (*FIDELITY, "swd", "spectrum")),
    *((noise, name) for name in (*FIDELITY, "swd", "spectrum")),
    *((shift, name) for name in FIDELITY),  # patches and the power spectrum do not know where things lie
    *((duplication, name) for name in ("recall", "coverage", "ms_ssim")),
    *((imbalance, name) for name in ("frechet", "kid", "coverage")),
]


def measure(name: str, damage: Damage, level: int) -> Figure:
    better = name in HIGHER_IS_BETTER
    value, deviations = manifold(damage, level)[name] if better else FIGURES[name](damage, level)
    low, high = interval(value, deviations)
    return Figure(-value, -high, -low) if better else Figure(value, low, high)


@pytest.mark.parametrize(("damage", "name"), CASES, ids=[f"{damage.__name__} {name}" for damage, name in CASES])
def test_more_damage_is_a_worse_figure(damage: Damage, name: str):
    found = [measure(name, damage, level) for level in LEVELS]
    assert found[-1].low > found[0].high
    for before, after in pairwise(found):
        assert after.value >= before.low
