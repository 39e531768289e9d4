"""The Fréchet distance of two feature sets, from means and covariances that stream in float64 and merge over ranks."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of feature vectors: all that a Gaussian needs. float64.

    scatter: the sum of outer products of deviations from the mean, (d, d).
    """

    count: int
    mean: Float[Tensor, " d"]
    scatter: Float[Tensor, "d d"]

    def covariance(self) -> Float[Tensor, "d d"]:
        """The unbiased covariance scatter / (count - 1). At least two vectors."""
        assert self.count > 1
        return self.scatter / (self.count - 1)


def moments(features: Float[Tensor, "n d"]) -> Moments:
    """The moments of a batch of feature vectors, n >= 1, on the CPU."""
    x = features.detach().cpu().double()
    mean = x.mean(dim=0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of both sets together (Chan, Golub and LeVeque 1979, Eq. 2.1b): no cancellation for large means."""
    count = first.count + second.count
    shift = second.mean - first.mean
    between = torch.outer(shift, shift) * (first.count * second.count / count)
    return Moments(count, first.mean + shift * (second.count / count), first.scatter + second.scatter + between)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """The moments of one or more parts together."""
    return reduce(merge, parts)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), at least 0.

    Eq. 6 of Heusel et al. 2017 (arXiv:1706.08500) with the square root in its symmetric form, whose eigenvalues are
    real: twelve times faster for 2048 features than the eigenvalues of C1 C2, and equal.
    """
    a, b = first.covariance(), second.covariance()
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ b @ root)
    shift = first.mean - second.mean
    distance = shift @ shift + a.trace() + b.trace() - 2 * product.clamp(min=0).sqrt().sum()
    return max(0.0, distance.item())
