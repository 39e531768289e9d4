"""The real side of a run's judgement, from its pack: which images are compared with which."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from medsynth.metrics.halves import halves
from medsynth.metrics.origin import Origin
from medsynth.metrics.real_sets import Patients, RealSets
from medsynth.metrics.settings import settings
from medsynth.metrics.suite import Yardstick
from medsynth.seeds import fold

if TYPE_CHECKING:
    from medsynth.data.pack import Pack


def real_sets(pack: "Pack", *, count: int) -> RealSets:
    """Halves of a pack's training split that share no patient, all of that split, and `val` and `test` as unseen.

    The choice is the same for every seed and checkpoint, so that their figures compare.
    """
    first, second = real_halves(pack, count=count)
    unseen = np.concatenate([pack.splits["val"], pack.splits["test"]])
    unseen = np.random.default_rng(fold(0, "unseen")).permutation(unseen)
    return RealSets(
        reference=pack.batches(first),
        held_out=pack.batches(second) if len(second) else None,
        train=pack.batches(pack.splits["train"]),
        unseen=pack.batches(unseen) if len(unseen) else None,
        patients=Patients(pack.patients[first], pack.patients[pack.splits["train"]], pack.patients[unseen]),
        origin=Origin(pack.name, pack.content, _digest(first, second, unseen)),
    )


def _digest(*indices: ndarray) -> str:
    return hashlib.sha256(json.dumps([part.tolist() for part in indices]).encode()).hexdigest()


def real_halves(pack: "Pack", *, count: int) -> tuple[Int[ndarray, " n"], Int[ndarray, " m"]]:
    """Equally many pack indices, `count` at most, of two halves of the training split that share no patient.

    The second is empty when all training images are of one patient.
    """
    train = pack.splits["train"]
    a, b = halves(pack.patients[train], pack.labels[train])
    n = min(count, len(a), len(b) or len(a))
    return train[a[:n]], train[b[:n]]


def yardstick(pack: "Pack", metrics: Mapping[str, Any], *, device: torch.device | None = None) -> Yardstick:
    """Measure a pack's real images for the `metrics` group, once for as many judgements as training asks for.

    Args:
        device: where the features of large networks are computed; None: the CPU.
    """
    return Yardstick.of(real_sets(pack, count=settings(metrics).count), config=metrics, device=device)
