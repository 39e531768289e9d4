"""The kernel distance (KID): an unbiased maximum mean discrepancy between two feature sets."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator
from medsynth.metrics.bootstrap import Resample, centred
from medsynth.metrics.frechet import check_numbers, check_spread

SUBSETS = 100
SUBSET_SIZE = 1000  # both as in Binkowski et al. 2018
RESAMPLED = 2000  # images a side that the bootstrap looks at, which bounds its memory
ROWS = 512  # vectors whose kernel is summed at once: fewer stay in the cache, but make two threads wait for each other


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets; no deviation when one subset holds every image."""

    mean: float
    deviation: float | None
    subset_size: int


def polynomial_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """k(x, y) = (x . y / d + 1)^3, section 4 of Binkowski et al. 2018 (arXiv:1801.01401)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """The unbiased estimate of MMD^2, Eq. 4 of Binkowski et al. 2018; negative by chance for equal distributions.

    n and m are at least 2 and may differ.
    """
    x, y = _lifted(x), _lifted(y)
    return _pairs(x) + _pairs(y) - 2 * _cubes(x, y) / (len(x) * len(y))


def _lifted(x: Tensor) -> Tensor:
    """Vectors whose inner products are x . y / d + 1, so that no pass over the matrix is needed for that."""
    return torch.cat((x / x.shape[1] ** 0.5, torch.ones_like(x[:, :1])), dim=1)


def _pairs(x: Tensor) -> float:
    """The mean kernel of two distinct vectors of a set, each pair looked at once."""
    n, total = len(x), 0.0
    for start in range(0, n, ROWS):
        rows, rest = x[start : start + ROWS], x[start + ROWS :]
        total += _cubes(rows, rows) - rows.square().sum(dim=1).pow(3).sum().item() + 2 * _cubes(rows, rest)
    return total / (n * (n - 1))


def _cubes(x: Tensor, y: Tensor) -> float:
    """The sum of the cubes of all inner products."""
    total = 0.0
    for rows in x.split(ROWS):
        products = (rows @ y.T).flatten()
        total += torch.dot(products.square(), products).item()
    return total


def kernel_distance(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, seed: int = 0) -> KernelDistance:
    """The KID of two feature sets over 100 seeded subsets of min(n, m, 1000) vectors.

    Below 1,000 images a subset is the whole smaller set, so that nothing is left to draw when n == m: one is enough.

    Raises:
        Undefined: a set is of one vector, or holds values that are no numbers.
    """
    check_spread(len(real), len(fake))
    check_numbers(real, fake)
    size = min(len(real), len(fake), SUBSET_SIZE)
    rounds = 1 if size == len(real) == len(fake) else SUBSETS
    stream = generator(seed, "kernel distance")
    values = torch.tensor(
        [squared_mmd(_subset(real, size, stream), _subset(fake, size, stream)) for _ in range(rounds)],
        dtype=torch.float64,
    )
    deviation = values.std(correction=0).item() if rounds > 1 else None
    return KernelDistance(values.mean().item(), deviation, size)


def kernel_deviations(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], drawn_real: Resample, drawn_fake: Resample
) -> Float[Tensor, " rounds"]:
    """How far `squared_mmd` moves with other patients, as `medsynth.metrics.bootstrap.interval` takes it.

    A patient drawn twice makes no pairs with itself, and the pairs that are lost so are made up for. Of more than
    2,000 images a side the first 2,000 are looked at.
    """
    x, y = (features[:RESAMPLED].cpu().double() for features in (real, fake))
    first, second = drawn_real.first(len(x)), drawn_fake.first(len(y))
    between = ((first.weights @ polynomial_kernel(x, y)) * second.weights).sum(dim=1)
    between /= first.weights.sum(dim=1) * second.weights.sum(dim=1)
    kept = max(len(x) / len(real), len(y) / len(fake))
    return centred(_drawn_pairs(x, first) + _drawn_pairs(y, second) - 2 * between, kept=kept)


def _drawn_pairs(x: Tensor, drawn: Resample) -> Tensor:
    """The mean kernel of two distinct images in each round (rounds,).

    Between two of G groups E[w_g w_h] is 1 - 1/G, which is made up for; pairs within a group count w_g times.
    """
    w, groups = drawn.weights, drawn.groups
    names, index = groups.unique(return_inverse=True)
    kernel = polynomial_kernel(x, x).fill_diagonal_(0)
    own = torch.zeros(len(x), len(names), dtype=torch.float64).index_add_(1, index, kernel)
    own = own.gather(1, index[:, None])[:, 0]  # (n,) each image's kernel with others of its group
    partners = index.bincount()[index].double() - 1
    made_up = len(names) / max(1, len(names) - 1)
    total = (((w @ kernel) * w).sum(dim=1) - w.square() @ own) * made_up + w @ own
    count = (w.sum(dim=1).square() - w.square() @ (partners + 1)) * made_up + w @ partners
    return total / count.clamp(min=1)


def _subset(features: Tensor, size: int, stream: torch.Generator) -> Tensor:
    if size < len(features):
        features = features[torch.randperm(len(features), generator=stream)[:size]]
    return features.cpu().double()
