"""The inception score, for Inception's classes or those of a classifier of the dataset's own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.metrics.bootstrap import Resample, centred
from medsynth.metrics.undefined import Undefined

SPLITS = 10  # as in Salimans et al. 2016


@dataclass(frozen=True)
class ClassSums:
    """What a set's class probabilities leave behind, in each split. float64.

    count: images. certainty: the sum over images of sum_c p log p, nats. total: the sum of p.
    """

    count: Int[Tensor, " s"]
    certainty: Float[Tensor, " s"]
    total: Float[Tensor, "s c"]


@dataclass(frozen=True)
class ClassifierScore:
    """Mean and standard deviation over splits of 1 to the number of classes; `smallest` is the images of a split."""

    mean: float
    deviation: float
    splits: int
    smallest: int


def class_sums(probabilities: Float[Tensor, "b c"], *, splits: int = SPLITS) -> ClassSums:
    """The sums of a batch of class probabilities, each row of which adds up to 1.

    Image number k belongs to split k modulo `splits`.
    """
    p = probabilities.detach().cpu().double()
    split = torch.arange(len(p)) % splits
    total = torch.zeros(splits, p.shape[1], dtype=torch.float64).index_add_(0, split, p)
    certainty = torch.zeros(splits, dtype=torch.float64).index_add_(0, split, torch.xlogy(p, p).sum(dim=1))
    return ClassSums(split.bincount(minlength=splits), certainty, total)


def classifier_score(sums: ClassSums) -> ClassifierScore:
    """exp of the mean divergence of p(class | image) from p(class), section 4 of Salimans et al. 2016 (1606.03498).

    High when single images are certain and all together varied; 1 for images that say nothing of any class. It knows
    no real images: a generator that shows one perfect image a class reaches the most there is. Depends on the images
    a split holds, so figures compare only at one count. Splits without an image are left out.

    Raises:
        Undefined: there is no image.
    """
    filled = sums.count > 0
    if not bool(filled.any()):
        raise Undefined("there is no image to classify")
    count = sums.count[filled].double()
    whole = sums.total[filled] / count[:, None]
    scores = (sums.certainty[filled] / count - torch.xlogy(whole, whole).sum(dim=1)).exp()
    return ClassifierScore(scores.mean().item(), scores.std(correction=0).item(), len(scores), int(count.min().item()))


def classifier_deviations(
    probabilities: Float[Tensor, "n c"], drawn: Resample, *, splits: int = SPLITS
) -> Float[Tensor, " rounds"]:
    """How far `classifier_score` moves with other images, as `interval` takes it: each split is drawn from itself.

    A split that a round draws no image of is left out of that round.
    """
    p = probabilities.detach().cpu().double()
    certainty = torch.xlogy(p, p).sum(dim=1)
    total = torch.zeros(len(drawn.weights), dtype=torch.float64)
    filled = torch.zeros_like(total)
    for first in range(min(splits, len(p))):
        weights = drawn.weights[:, first::splits]
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
        whole = weights @ p[first::splits]
        chosen = weights.any(dim=1)
        total += chosen * (weights @ certainty[first::splits] - torch.xlogy(whole, whole).sum(dim=1)).exp()
        filled += chosen
    return centred(total / filled)
