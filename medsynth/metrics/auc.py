"""The area under the ROC curve, and where it would lie for other patients."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.bootstrap import ROUNDS, centred, resample, widening
from medsynth.metrics.undefined import Undefined


def auc(higher: Float[Tensor, " n"], lower: Float[Tensor, " m"]) -> float:
    """How often a score of `higher` exceeds one of `lower`, ties counted half: 1 is perfect, 0.5 is guessing.

    The statistic of Mann and Whitney 1947 over n m, which is the area under the ROC curve (Hanley and McNeil 1982).
    """
    places, n = _places(higher, lower)
    return _area(places[:n], places[n:], np.ones(n), np.ones(len(places) - n))


def auc_deviations(
    higher: Float[Tensor, " n"],
    lower: Float[Tensor, " m"],
    *,
    higher_groups: ndarray,
    lower_groups: ndarray,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Float[Tensor, " rounds"] | None:
    """Deviations of `auc`, as `medsynth.metrics.bootstrap.interval` takes them, over `rounds` draws of whole patients
    with replacement; None when a side has one.

    Images of a patient come and go together (Field and Welsh 2007, the cluster bootstrap): drawing single images would
    give an interval several times too narrow. It is widened for the patients of the smaller side: without that, it lay
    above 0.5 for a critic that knows nobody 20 times of 100 with 2 patients, and 7 times with 4. Scores of two critics
    for the same images meet the same draws, so that their deviations can be subtracted.

    Args:
        higher_groups, lower_groups: (n,) and (m,) patient, or whatever stands for one, of each score.
    """
    places, n = _places(higher, lower)
    try:
        first = resample(higher_groups, name="higher scores", rounds=rounds, seed=seed)
        second = resample(lower_groups, name="lower scores", rounds=rounds, seed=seed)
    except Undefined:
        return None
    weights = zip(first.weights.numpy(), second.weights.numpy(), strict=True)
    drawn = torch.tensor([_area(places[:n], places[n:], *pair) for pair in weights], dtype=torch.float64)
    return max(widening(side.groups) for side in (first, second)) * centred(drawn)


def _places(higher: Tensor, lower: Tensor) -> tuple[ndarray, int]:
    """The rank of each score among the different values of both sides, and how many belong to the first side."""
    scores = torch.cat([higher, lower]).detach().cpu().double().numpy()
    return np.unique(scores, return_inverse=True)[1], len(higher)


def _area(higher: ndarray, lower: ndarray, higher_weights: ndarray, lower_weights: ndarray) -> float:
    values = max(higher.max(), lower.max()) + 1
    at = np.bincount(lower, lower_weights, minlength=values)
    below = np.cumsum(at) - 0.5 * at
    return float((below[higher] * higher_weights).sum() / (higher_weights.sum() * lower_weights.sum()))
