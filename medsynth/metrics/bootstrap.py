"""How far a figure would move with other patients: images are drawn again with replacement, a patient's together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from medsynth.latent import generator
from medsynth.metrics.undefined import Undefined

ROUNDS = 1000
SHARE = 0.95  # of the rounds that an interval holds
PAIR_BLOCK = 4  # neighbouring pairs drawn together, for they share an image


@dataclass(frozen=True)
class Resample:
    """How often each image is drawn in each round.

    weights: 0, 1, 2 ..., the same for all images of a group; every round draws at least one image.
    groups: a number for what each image is drawn with, its patient.
    """

    weights: Float[Tensor, "rounds n"]
    groups: Int[Tensor, " n"]

    def first(self, count: int) -> "Resample":
        """The same draws of the first `count` images alone. A round without any of them draws each of them once."""
        weights = self.weights[:, :count]
        return Resample(torch.where(weights.any(dim=1, keepdim=True), weights, 1.0), self.groups[:count])


def resample(groups: Sequence[str | int] | ndarray, *, name: str, rounds: int = ROUNDS, seed: int = 0) -> Resample:
    """Draw as many groups as there are, with replacement, in each round (Efron 1979; by patient: Field and Welsh 2007).

    Images of one patient are alike, so that drawing them singly would give intervals that are too narrow.

    Args:
        groups: (n,) patient of each image, or each image's own number where patients are unknown.
        name: of the draws: two sets of one name, seed and number of groups are drawn alike, of two names independently.

    Raises:
        Undefined: all images are of one group.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise Undefined("images of one patient say nothing of how figures vary between patients")
    chosen = torch.randint(len(names), (rounds, len(names)), generator=generator(seed, "resample", name))
    drawn = torch.zeros(rounds, len(names), dtype=torch.float64)
    drawn.scatter_add_(1, chosen, torch.ones(1, 1, dtype=torch.float64).expand_as(chosen))
    index = torch.from_numpy(members.reshape(-1).astype(np.int64))
    return Resample(drawn[:, index], index)


def interval(
    estimate: float,
    deviations: Float[Tensor, " rounds"],
    *,
    share: float = SHARE,
    least: float = -torch.inf,
    most: float = torch.inf,
) -> tuple[float, float]:
    """Where the figure would lie with other patients: `estimate` and the central `share` of deviations from it.

    The interval of the difference of two runs judged by the same real images is that of the difference of their
    deviations, both taken with one `Resample` of the real side and independent ones of the synthetic sides.

    Args:
        deviations: of the draws from their mean. A draw holds fewer distinct images than the set, which moves figures
            that depend on the count; only how far draws lie apart is used.
        least, most: the range of the figure.
    """
    low, high = deviations.quantile(torch.tensor([(1 - share) / 2, (1 + share) / 2], dtype=torch.float64)).tolist()
    return min(max(estimate + low, least), most), min(max(estimate + high, least), most)


def mean_deviations(values: Float[Tensor, " n"], drawn: Resample) -> Float[Tensor, " rounds"]:
    """Deviations of the mean of one number an image, as `interval` takes them.

    Draws of few groups lie too close together, which `widening` makes up for.
    """
    draws = (drawn.weights @ values.double()) / drawn.weights.sum(dim=1)
    return widening(drawn.groups) * centred(draws)


def widening(groups: Int[Tensor, " n"], *, share: float = SHARE) -> float:
    """How much wider an interval of few groups must be than the draws of a mean say: 1.03 for 60 groups, 1.6 for 5.

    Draws of G groups have (G - 1) / G of the variance of a new sample's mean, and of so few groups that variance is
    itself uncertain, as Student's t knows and the draws do not (Davison and Hinkley 1997, section 2.6).
    """
    from scipy.special import ndtri, stdtrit

    count = max(2, len(groups.unique()))
    level = (1 + share) / 2
    return float(stdtrit(count - 1, level) / ndtri(level) * (count / (count - 1)) ** 0.5)


def chain_deviations(values: Float[Tensor, " n"], *, name: str) -> Float[Tensor, " rounds"]:
    """Deviations of the mean over the pairs of a chain of images, each with the one before it.

    Blocks of 4 pairs are drawn together: of 59 pairs, longer ones leave too few, and shorter ones forget that
    neighbours share an image.

    Args:
        name: of the draws, see `resample`.

    Raises:
        Undefined: there is no second block.
    """
    return mean_deviations(values, resample(np.arange(len(values)) // PAIR_BLOCK, name=name))


def centred(draws: Float[Tensor, " rounds"], *, kept: float = 1.0) -> Float[Tensor, " rounds"]:
    """Draws less their mean.

    kept: the share of the images that the draws were made of. Deviations of n images are about sqrt(n) times those of
        one (subsampling, Politis and Romano 1994), so those of a part shrink by the root of its share.
    """
    return (draws - draws.mean()) * kept**0.5
