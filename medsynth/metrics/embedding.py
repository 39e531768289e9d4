"""Where synthetic images lie among real ones: features projected to two or three dimensions, and their density."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.frechet import Moments

CELLS = 64  # of a density's grid, each way
SPREAD = 0.15  # of the points' range, added around them so that densities fall to about 0 within the grid
MOST_LOST = 0.5  # of the mass 1 of a density on its grid, which has 0.98 to 1.02 where the grid is fine enough
MOST_POINTS = 2000  # that a density is made from: bounds time


# ------------------------------------------------------------------------------------- principal components


@dataclass(frozen=True)
class Basis:
    """Mean and leading principal axes of the real images' features. float64.

    axes: (k, d), orthonormal, of falling variance; the largest entry of each is positive, so that pictures of two runs
    are not mirror images.  variances: (k,) of the real features along them.  total: variance of all d.
    """

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "k d"]
    variances: Float[Tensor, " k"]
    total: float

    def project(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Coordinates along the axes, float64, from the real mean."""
        return (features.cpu().double() - self.mean) @ self.axes.T

    def explained(self) -> list[float]:
        """The share of the real variance along each axis; zeros when there is no variance."""
        return (self.variances / self.total).tolist() if self.total > 0 else [0.0] * len(self.axes)

    def explained_of(self, other: Moments) -> list[float]:
        """The share of another set's variance along each axis: much less than `explained` says it varies otherwise."""
        covariance = other.covariance()
        total = covariance.trace()
        along = torch.einsum("kd,de,ke->k", self.axes, covariance, self.axes)
        return (along / total).tolist() if total > 0 else [0.0] * len(self.axes)


def principal_axes(real: Moments, *, count: int = 3) -> Basis:
    """The `count` principal axes of real features (Pearson 1901), from the moments that the Fréchet distance keeps.

    Real features alone define them: every run and checkpoint is then shown in one basis, and a synthetic set cannot
    turn the axes to where it looks well. What it does elsewhere shows in `Basis.explained_of`. At least two images and
    `count` features.
    """
    assert real.mean.shape[0] >= count
    values, vectors = torch.linalg.eigh(real.covariance())
    values = values.clamp(min=0)
    axes = vectors.T.flip(0)[:count]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return Basis(
        real.mean, axes * largest.sign(), values.flip(0)[:count].clamp(min=0), values.clamp(min=0).sum().item()
    )


# -------------------------------------------------------------------------------------------------- densities


@dataclass(frozen=True)
class Frame:
    """The part of a plane that densities are compared on, and its grid of CELLS x CELLS points.

    low, high: the corners, in the unit of the points.
    """

    low: tuple[float, float]
    high: tuple[float, float]

    def axes(self) -> tuple[Float[ndarray, " cells"], Float[ndarray, " cells"]]:
        """The grid's coordinates along x and y."""
        first, second = (np.linspace(a, b, CELLS) for a, b in zip(self.low, self.high, strict=True))
        return first, second


def frame(*sets: Float[Tensor, "_n 2"]) -> Frame:
    """A frame around all points of all sets, with a margin of three bandwidths of `density` or more; never empty."""
    points = torch.cat([points.double() for points in sets])
    low, high = points.min(dim=0).values, points.max(dim=0).values
    widest = max(
        (3 * len(one) ** (-1 / 6) * one.double().std(dim=0).max().item() for one in sets if len(one) > 1), default=0
    )
    margin = torch.maximum(SPREAD * (high - low), torch.full_like(low, widest)) + 1e-6 * (1 + high.abs())
    (x0, y0), (x1, y1) = (low - margin).tolist(), (high + margin).tolist()
    return Frame((x0, y0), (x1, y1))


def density(points: Float[Tensor, "n 2"], where: Frame) -> Float[ndarray, "cells cells"] | None:
    """Gaussian kernel density estimate on a frame's grid, rows along y; it sums to about 1 / the area of a cell.

    Bandwidth by the rule of Scott 1992, n^(-1/6) times the covariance of the points; of more than 2,000 points the
    first 2,000. None when the points lie on a line or are fewer than 3, and so have no density, and when they are so
    close that it falls between the points of the grid.
    """
    chosen = points[:MOST_POINTS].cpu().double().numpy().T  # (2, n)
    if chosen.shape[1] < 3 or np.linalg.cond(np.cov(chosen)) > 1e12:
        return None
    from scipy.stats import gaussian_kde

    across, up = where.axes()
    x, y = np.meshgrid(across, up)
    found = gaussian_kde(chosen)(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    return _held(found, (across[1] - across[0]) * (up[1] - up[0]))


def line_density(values: Float[Tensor, " n"], low: float, high: float) -> Float[ndarray, " cells"] | None:
    """The same for numbers, at CELLS places from `low` to `high`; None when all are nearly equal, or there is one."""
    chosen = values[:MOST_POINTS].cpu().double().numpy()
    if len(chosen) < 2 or not chosen.std() > 1e-12 * (1 + abs(chosen).max()):
        return None
    from scipy.stats import gaussian_kde

    return _held(gaussian_kde(chosen)(np.linspace(low, high, CELLS)), (high - low) / (CELLS - 1))


def _held(values: ndarray, cell: float) -> ndarray | None:
    """The densities if the grid holds their mass, which it does not of peaks much narrower than a cell."""
    return values if abs(values.sum() * cell - 1) < MOST_LOST else None


def overlap(first: Float[ndarray, "*cells"], second: Float[ndarray, "*cells"]) -> float:
    """What two densities on one grid share, 0 to 1: the sum of the smaller of both (Weitzman 1970)."""
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def mass_levels(values: Float[ndarray, "cells cells"], shares: Sequence[float] = (0.9, 0.6, 0.3)) -> list[float]:
    """The densities above which these shares of all mass lie, so that a contour encloses that part of the images."""
    falling = np.sort(values, axis=None)[::-1]
    held = np.cumsum(falling) / falling.sum()
    return [float(falling[np.searchsorted(held, share)]) for share in shares]
