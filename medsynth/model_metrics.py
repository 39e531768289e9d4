"""Figures that need the model itself: whom its critic knows, and what truncated latents trade."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from medsynth.batch import Batch
from medsynth.checkpoint import LoadedRun
from medsynth.latent import MODES, Truncation
from medsynth.metrics.comparison import names_of
from medsynth.metrics.entries import Finding, find
from medsynth.metrics.halves import in_turn
from medsynth.metrics.privacy import membership
from medsynth.sampling import CHUNK, idle, synthesise
from medsynth.seeds import fold

if TYPE_CHECKING:
    from medsynth.data.pack import Pack

Judge = Callable[[Iterator[Float[Tensor, "_b _c _h _w"]]], Mapping[str, Any]]
THRESHOLDS = (1.0, 0.8, 0.6, 0.4)
TRADED = ("frechet", "kid", "precision", "recall")  # of an extractor's features; MS-SSIM needs none


# ------------------------------------------------------------------------------------------------ membership


def membership_finding(loaded: LoadedRun, pack: "Pack", *, count: int, seed: int = 0) -> Finding:
    """How well the run's critic tells images it was trained on from those of unseen patients: 0.5 says not at all.

    The value is the area under the ROC curve of `realness`, training images against `val` and `test` together,
    see `medsynth.metrics.privacy.membership`. Images are as the pack holds them, without augmentation.

    Args:
        pack: that of the training.
        count: most images of a side, as evenly from all patients as they have them.
        seed: of their choice and of the interval.
    Returns a finding without a value, for a reason, where the model has no critic or there is nothing to compare.
    """
    if loaded.pack_content != pack.content:
        return Finding(None, reason="the images at hand are not those of the training, so nobody knows whom it saw")
    rest = np.concatenate([pack.splits["val"], pack.splits["test"]])
    sides = pack.splits["train"], rest if pack.usable is None else rest[pack.usable[rest]]
    if not len(sides[1]):
        return Finding(None, reason="no images of unseen patients to compare with")
    random = np.random.default_rng(fold(seed, "membership"))
    train, unseen = (side[in_turn(pack.patients[side], random)[:count]] for side in sides)
    scores = realness(loaded, pack, np.concatenate([train, unseen]))
    if scores is None:
        return Finding(None, reason="this model has no critic that could know anybody")
    if not bool(scores.isfinite().all()):
        return Finding(None, reason="the critic answers NaN or infinite scores")
    first, second = scores.split([len(train), len(unseen)])
    found = membership(first, second, train_groups=pack.patients[train], unseen_groups=pack.patients[unseen], seed=seed)
    extra = {
        "accuracy": found.accuracy,
        "chance": found.chance,
        "n_train": len(train),
        "n_unseen": len(unseen),
        "leaks": found.leaks,
    }
    return Finding(found.auc, 0.5, interval=found.interval, deviations=found.deviations, extra=extra)


def realness(loaded: LoadedRun, pack: "Pack", indices: Int[ndarray, " n"]) -> Float[Tensor, " n"] | None:
    """How real the run's critic finds these images of a pack, on the CPU; None where the model has no critic."""
    model: Any = loaded.model
    found = []
    for first in range(0, len(indices), CHUNK):
        batch = _batch(loaded, pack, indices[first : first + CHUNK])
        scores = model.realness(batch, masks=int(pack.mask_channel))
        if scores is None:
            return None
        found.append(scores.float().cpu())
    return torch.cat(found)


def _batch(loaded: LoadedRun, pack: "Pack", indices: Int[ndarray, " b"]) -> Batch:
    """Images as training sees them without augmentation, with all that a critic may be conditioned on."""
    device = loaded.model.device
    batch = Batch(image=pack.targets(indices).to(device), row=torch.arange(len(indices), device=device))
    if "label" in pack.provides:
        batch["label"] = torch.from_numpy(pack.labels[indices]).to(device)
    if pack.covariates is not None:
        batch["covariates"] = torch.from_numpy(loaded.attributes.scaled(pack.covariates[indices])).to(device)
    return batch


# ------------------------------------------------------------------------------------------------ truncation


@dataclass(frozen=True)
class Sweep:
    """What a run's images are worth at each truncation.

    rows: without truncation first, then in the order of the thresholds: `truncation` and `mode` (None for none), and
        `frechet`, `kid`, `precision`, `recall`, `ms_ssim`, each None where it could not be computed.
    reason: why there are no rows; None where there are.
    """

    rows: list[dict[str, Any]]
    reason: str | None = None


def truncation_sweep(
    loaded: LoadedRun,
    judge: Judge,
    thresholds: Sequence[float | int] = THRESHOLDS,
    *,
    count: int,
    seed: int = 0,
    mode: str | None = None,
    extractor: str = "random",
) -> Sweep:
    """Judge `count` images of the run without truncation and at each threshold: fidelity is bought with diversity
    (Brock et al. 2019, section 3.1 and figure 2, arXiv:1809.11096).

    Image k comes of one latent, truncated more or less, so that rows differ by truncation alone.

    Args:
        judge: images -> a judgement, such as `medsynth.metrics.suite.Yardstick(...).judge`.
        thresholds, mode: see `medsynth.latent.Truncation`; None takes its mode.
        extractor: whose features the distances are taken on.
    """
    steps = [Truncation(threshold, mode or MODES[0]) for threshold in thresholds]
    if all(idle(step, loaded.model) for step in steps):
        return Sweep([], "this run's generator brings latents to one length, so that scaling them changes nothing")
    return Sweep([
        _traded(judge(_synthetic(loaded, truncation, count=count, seed=seed)), truncation, extractor)
        for truncation in (None, *steps)
    ])  # fmt: skip


def _synthetic(
    loaded: LoadedRun, truncation: Truncation | None, *, count: int, seed: int
) -> Iterator[Float[Tensor, "_b _c _h _w"]]:
    """Images without the masks behind them."""
    made = synthesise(loaded.model, n=count, seed=seed, attributes=loaded.attributes, truncation=truncation)
    for images in made:
        yield images[:, : len(loaded.ranges)]


def _traded(judgement: Mapping[str, Any], truncation: Truncation | None, extractor: str) -> dict[str, Any]:
    called = {kind: names_of(extractor)[kind] for kind in TRADED} | {"ms_ssim": "ms_ssim"}
    found = {kind: find(judgement, name) for kind, name in called.items()}
    return {
        "truncation": truncation and truncation.threshold,
        "mode": truncation and truncation.mode,
        **{kind: one and one["value"] for kind, one in found.items()},
    }
