"""Real images by patient: two halves that share none, between which real against real is measured, and fair samples."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from medsynth.seeds import fold


def halves(
    groups: ndarray, labels: Int[ndarray, " n"], *, seed: int = 0
) -> tuple[Int[ndarray, " a"], Int[ndarray, " b"]]:
    """Divide images into two sets of about the same size and class mixture, group by group.

    The largest group comes first, equal ones in the order of a hash, and each goes to the half that has less of its
    classes. Deterministic: the same images give the same halves on every machine.

    Args:
        groups: (n,) patient, or whatever stands for one, of each image.
        labels: (n,) class of each image; the same number everywhere without classes.

    Returns:
        Positions 0 <= p < n of each half, in random order; the second is empty when there is only one group.
    """
    names, members = np.unique(groups, return_inverse=True)
    _, classes = np.unique(labels, return_inverse=True)
    mixtures = np.zeros((len(names), classes.max(initial=0) + 1), dtype=np.int64)
    np.add.at(mixtures, (members, classes), 1)
    order = sorted(range(len(names)), key=lambda g: (-mixtures[g].sum(), fold(seed, str(names[g])), str(names[g])))
    held = np.zeros((2, mixtures.shape[1]), dtype=np.int64)
    side = np.zeros(len(names), dtype=np.int64)
    for group in order:
        # How many images of this group's classes each half holds already, then how many in all.
        fullness = [(int(held[half] @ mixtures[group]), int(held[half].sum())) for half in (0, 1)]
        side[group] = int(fullness[1] < fullness[0])
        held[side[group]] += mixtures[group]
    shuffle = np.random.default_rng(fold(seed, "halves"))
    first, second = (shuffle.permutation(np.flatnonzero(side[members] == half)) for half in (0, 1))
    return first, second


def in_turn(groups: ndarray, random: np.random.Generator) -> Int[ndarray, " n"]:
    """All positions of (n,) `groups`, so that each group gives one before any gives two; otherwise in random order."""
    order = random.permutation(len(groups))
    _, members = np.unique(groups[order], return_inverse=True)
    together = np.argsort(members, kind="stable")
    begins = np.searchsorted(members[together], members[together])  # where the group of each begins
    turn = np.empty(len(groups), dtype=np.int64)
    turn[together] = np.arange(len(groups)) - begins
    return order[np.argsort(turn, kind="stable")]
