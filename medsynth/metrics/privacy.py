"""Privacy: how many synthetic images are training images in disguise, and whether the critic gives patients away."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.auc import auc, auc_deviations
from medsynth.metrics.bootstrap import interval
from medsynth.metrics.nearest import Nearest
from medsynth.metrics.tail import low_tail
from medsynth.metrics.undefined import Undefined
from medsynth.seeds import fold

PERCENTILE = 1.0
COPY_SHARE = 0.5  # of the threshold: of phantoms, changed copies lay below 0.25 of it and other patients above 0.8
DIVISIONS = 200  # of the unseen patients into halves
FEWEST = 4  # patients that can be divided so
CHUNK, ROWS = 4096, 1024  # training images compared at once with so many of them: bounds memory


# ------------------------------------------------------------------------------------------------ duplicates


@dataclass(frozen=True)
class Duplicates:
    """How many synthetic images lie as close to a training image as unseen patients' images hardly ever do.

    rate: the share of synthetic images at or below `threshold`.
    expected: what `rate` is for new real images on average: about percentile / 100. More says: remembered.
    normal: where the rates of new patients lie; None with fewer than 4 of them.
    threshold: a distance, in the unit of the distances that were given.
    flagged: which synthetic images those are, nearest first.
    copies: those of them below half the threshold, where no image of another patient is to be found.
    """

    rate: float
    expected: float
    normal: tuple[float, float] | None
    threshold: float
    flagged: list[int]
    copies: list[int]


def duplicates(
    fake: Nearest,
    unseen: Nearest,
    *,
    unseen_groups: ndarray | None = None,
    percentile: float = PERCENTILE,
    seed: int = 0,
) -> Duplicates:
    """Flag synthetic images whose nearest training image is nearer than for all but `percentile` % of unseen ones.

    The threshold is an order statistic of the unseen images' distances (`medsynth.metrics.tail.low_tail`), so a
    generator of new patients is flagged `expected` often on average. But a patient who resembles one of the training
    brings all its slices, so `normal` tells how far real patients stray from that.

    Args:
        fake, unseen: from synthetic images, and from images of patients never trained on, to the same training images,
            by one measure: `medsynth.metrics.nearest.nearest`, or `medsynth.metrics.copies.nearest_copy`, which also
            finds mirrored, moved and brightened copies.
        unseen_groups: patient of each unseen image; None: every image is its own.
        percentile: above 0, below 100.
        seed: of the divisions behind `normal`.
    """
    tail = low_tail(unseen.distance, percentile / 100)
    holds = tail.holds(fake.distance)
    order = fake.distance.argsort(stable=True)
    certain = fake.distance.double() <= COPY_SHARE * tail.threshold
    return Duplicates(
        rate=holds.double().mean().item(),
        expected=tail.expected,
        normal=normal_rates(unseen.distance, unseen_groups, percentile / 100, seed=seed),
        threshold=tail.threshold,
        flagged=order[holds[order]].tolist(),
        copies=order[certain[order]].tolist(),
    )


def normal_rates(
    distance: Float[Tensor, " m"], groups: ndarray | None, share: float, *, seed: int = 0
) -> tuple[float, float] | None:
    """The central 95 % of the rate of half the patients by the threshold of the other half, over 200 divisions.

    None with fewer than 4 patients; groups: of the distances, None: each is its own.
    """
    return _of_halves(
        groups,
        len(distance),
        lambda first: low_tail(distance[first], share).share(distance[~first]),
        seed=seed,
    )


def _of_halves(
    groups: ndarray | None, n: int, figure: Callable[[Bool[Tensor, " n"]], float], *, seed: int
) -> tuple[float, float] | None:
    """The central 95 % of a figure of which images belong to one half of the patients, over 200 divisions."""
    members = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(members.max(initial=-1)) + 1
    if count < FEWEST:
        return None
    stream = np.random.default_rng(fold(seed, "duplicates"))
    divisions = (stream.permutation(count) < count // 2 for _ in range(DIVISIONS))
    figures = [figure(torch.from_numpy(first[members])) for first in divisions]
    low, high = np.quantile(figures, [0.025, 0.975])
    return float(low), float(high)


# ---------------------------------------------------------------------------------------------- authenticity


def authenticity(found: Nearest, train: Num[Tensor, "m d"], *, groups: ndarray | None = None) -> float:
    """The share of images that are no noisy version of a training image, 0 to 1, see `authentic`."""
    return authentic(found, train, groups=groups).double().mean().item()


def authentic(found: Nearest, train: Num[Tensor, "m d"], *, groups: ndarray | None = None) -> Bool[Tensor, " n"]:
    """Which images are no noisy version of a training image: copies are not.

    An image is authentic when its nearest training image lies farther from it than from that training image's own
    nearest training image (Alaa et al. 2022, arXiv:2102.08921). New real images do not reach 1: whether two points are
    each other's nearest is chance, so independent ones give from 1/3 in one dimension to 1/2 in many. Their share is
    therefore read beside that of unseen patients.

    Args:
        found: from the images to `train`, by root mean square difference (`medsynth.metrics.nearest.nearest`).
        train: the training vectors, m >= 2; 8-bit ones are compared as shares of 255, as `found` is.
        groups: (m,) patient of each training vector. Neighbouring slices of one patient resemble each other so much
            that everything would look authentic: with groups only other patients count as neighbours. None: all.
    """
    rows, members = found.index.unique(return_inverse=True)
    own = neighbour_distance(train, rows, groups=groups)[members]
    if bool(own.isinf().any()):
        raise Undefined("a training image has no other patient's to be compared with")
    return found.distance.double() > own


def normal_share(kept: Bool[Tensor, " m"], groups: ndarray | None, *, seed: int = 0) -> tuple[float, float] | None:
    """The central 95 % of the share of half the patients' images, over 200 divisions of unseen patients into halves.

    None with fewer than 4 patients; groups: of the images, None: each is its own.
    """
    return _of_halves(groups, len(kept), lambda first: kept[first].double().mean().item(), seed=seed)


def neighbour_distance(
    train: Num[Tensor, "m d"], rows: Int[Tensor, " n"], *, groups: ndarray | None = None
) -> Float[Tensor, " n"]:
    """Root mean square distance, float64, from each of these training vectors to its nearest other one.

    groups: (m,); with them the nearest one of another group, infinity where there is none. None: of all others.
    """
    kinds = torch.arange(len(train)) if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1])
    return torch.cat([_neighbour_distance(train, part, kinds) for part in rows.split(ROWS)])


def _neighbour_distance(
    train: Num[Tensor, "m d"], rows: Int[Tensor, " n"], kinds: Int[Tensor, " m"]
) -> Float[Tensor, " n"]:
    x = _shares(train[rows])
    best = torch.full((len(rows),), torch.inf)
    index = torch.zeros(len(rows), dtype=torch.long)
    for start in range(0, len(train), CHUNK):
        y = _shares(train[start : start + CHUNK])
        squares = torch.addmm((y**2).sum(dim=1), x, y.T, alpha=-2)  # without |x|^2, the same for every y
        squares[kinds[rows][:, None] == kinds[start : start + CHUNK]] = torch.inf
        found, place = squares.min(dim=1)
        index = torch.where(found < best, place + start, index)
        best = torch.minimum(found, best)
    exact = (_shares(train[rows]) - _shares(train[index])).double().square().mean(dim=1).sqrt()
    return torch.where(best.isinf(), torch.inf, exact)


def _shares(vectors: Tensor) -> Tensor:
    return (vectors.float() - 127.5) / 255 if vectors.dtype == torch.uint8 else vectors.float()


# ---------------------------------------------------------------------------------------- membership inference


@dataclass(frozen=True)
class Membership:
    """How well the critic's scores tell training images from images of patients never trained on.

    auc: 0.5 says nothing leaks, 1 that every training image is known. deviations: of `auc` with other patients, see
    `medsynth.metrics.auc.auc_deviations`; None when a side has one patient. accuracy: the share of training images
    among the n_train best scored; `chance` is its value for guesses.
    """

    auc: float
    deviations: Float[Tensor, " rounds"] | None
    accuracy: float
    chance: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where `auc` would lie with other patients, 95 %; None when a side has one patient."""
        return None if self.deviations is None else interval(self.auc, self.deviations, least=0.0, most=1.0)

    @property
    def leaks(self) -> bool | None:
        """Does the interval lie above 0.5? None without an interval."""
        return None if self.interval is None else self.interval[0] > 0.5


def membership(
    train: Float[Tensor, " n"],
    unseen: Float[Tensor, " m"],
    *,
    train_groups: ndarray,
    unseen_groups: ndarray,
    seed: int = 0,
) -> Membership:
    """Membership inference by the critic, which may score the images it learnt from higher: the white-box attack of
    LOGAN (Hayes et al. 2019, section 4.1, arXiv:1705.07663).

    Args:
        train, unseen: the critic's scores, higher for real, of training images and of images prepared alike that it
            never saw, unaugmented.
        train_groups, unseen_groups: (n,) and (m,) patient of each.
        seed: of the bootstrap over patients.
    """
    return Membership(
        auc=auc(train, unseen),
        deviations=auc_deviations(train, unseen, higher_groups=train_groups, lower_groups=unseen_groups, seed=seed),
        accuracy=_accuracy(train.detach().cpu().double(), unseen.detach().cpu().double()),
        chance=len(train) / (len(train) + len(unseen)),
    )


def _accuracy(train: Float[Tensor, " n"], unseen: Float[Tensor, " m"]) -> float:
    """The share of `train` among the n highest scores of both; equal scores at the border share its places."""
    border = torch.cat([train, unseen]).sort(descending=True).values[len(train) - 1]
    above, level = (train > border).sum(), (train == border).sum()
    places = len(train) - above - (unseen > border).sum()
    return ((above + places * level / (level + (unseen == border).sum())) / len(train)).item()
