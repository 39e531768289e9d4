"""The kernel distance (KID): an unbiased maximum mean discrepancy between two feature sets."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator

SUBSETS = 100
SUBSET_SIZE = 1000  # both as in Binkowski et al. 2018
ROUNDS = 1000  # of the bootstrap
RESAMPLED = 2000  # images a side that the bootstrap looks at, which bounds its memory


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


def kernel_interval(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, share: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Where `squared_mmd` of other images like these would lie: the central `share` of ROUNDS bootstrap draws.

    Images of both sides are drawn with replacement (Efron 1979). An image drawn twice makes no pair with itself, and
    the pairs that are lost so are made up for, so that draws centre on the estimate. Of more than 2,000 images a side
    the first 2,000 are looked at: the interval is then too wide, never too narrow.
    """
    x, y = (features[:RESAMPLED].cpu().double() for features in (real, fake))
    drawn = torch.zeros(ROUNDS, dtype=torch.float64)
    stream = generator(seed, "kernel interval")
    weights = []
    for features in (x, y):
        n = len(features)
        chosen = torch.randint(n, (ROUNDS, n), generator=stream)
        weight = torch.zeros(ROUNDS, n, dtype=torch.float64).scatter_add_(1, chosen, torch.ones(ROUNDS, n).double())
        kernel = polynomial_kernel(features, features).fill_diagonal_(0)
        drawn += ((weight @ kernel) * weight).sum(dim=1) / (n - 1) ** 2
        weights.append(weight / n)
    drawn -= 2 * ((weights[0] @ polynomial_kernel(x, y)) * weights[1]).sum(dim=1)
    low, high = drawn.quantile(torch.tensor([(1 - share) / 2, (1 + share) / 2], dtype=torch.float64)).tolist()
    return low, high


def _subset(features: Tensor, size: int, stream: torch.Generator) -> Tensor:
    if size == len(features):
        return features
    return features[torch.randperm(len(features), generator=stream)[:size]]
