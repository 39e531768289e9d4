"""The kernel distance (KID): an unbiased maximum mean discrepancy between two feature sets."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator

SUBSETS = 100
SUBSET_SIZE = 1000  # both as in Binkowski et al. 2018


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets; the deviation is 0 when one subset holds every image."""

    mean: float
    deviation: float
    subset_size: int


def polynomial_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """k(x, y) = (x . y / d + 1)^3, section 4 of Binkowski et al. 2018 (arXiv:1801.01401)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """The unbiased estimate of MMD^2, Eq. 4 of Binkowski et al. 2018; negative by chance for equal distributions.

    n and m are at least 2 and may differ.
    """
    n, m = len(x), len(y)
    xx, yy, xy = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    within_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    within_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    return (within_x + within_y - 2 * xy.mean()).item()


def kernel_distance(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, seed: int = 0) -> KernelDistance:
    """The KID of two feature sets over 100 seeded subsets of min(n, m, 1000) vectors.

    Below 1,000 images a subset is the whole smaller set, so that nothing is left to draw when n == m: one is enough.
    """
    real, fake = real.cpu().double(), fake.cpu().double()
    size = min(len(real), len(fake), SUBSET_SIZE)
    rounds = 1 if size == len(real) == len(fake) else SUBSETS
    stream = generator(seed, "kernel distance")
    values = torch.tensor(
        [squared_mmd(_subset(real, size, stream), _subset(fake, size, stream)) for _ in range(rounds)],
        dtype=torch.float64,
    )
    return KernelDistance(values.mean().item(), values.std(correction=0).item(), size)


def _subset(features: Tensor, size: int, stream: torch.Generator) -> Tensor:
    if size == len(features):
        return features
    return features[torch.randperm(len(features), generator=stream)[:size]]
