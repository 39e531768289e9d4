"""Which images of a run are usable: a detector taught on the run's real images, and what it says of synthetic ones.

loaded, pack = subjects.load(run, checkpoint="last", root=None)
detector = detector_of([run], pack)           # within a minute, or read from RUN/quality.pt
finding = usable_finding(detector, images)    # the usable-image ratio beside that of new real images
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from medsynth.checkpoint import load_run
from medsynth.data.pack import Pack
from medsynth.errors import UserError, say
from medsynth.metrics import quality
from medsynth.metrics.bootstrap import mean_deviations, resample
from medsynth.metrics.comparison import drawn_again
from medsynth.metrics.entries import Finding
from medsynth.metrics.halves import in_turn
from medsynth.metrics.quality import Detector, load_detector, save_detector, train_detector
from medsynth.metrics.real_sets import Images
from medsynth.metrics.undefined import Undefined
from medsynth.sampling import synthesise
from medsynth.seeds import fold
from medsynth.subjects import sha256

IMAGES = 2000  # real ones at most, to train on as well as for the threshold
LEAST, PATIENTS = 100, 5  # images and patients at least, of either
EARLY = 500  # samples of all early checkpoints together
STEPS = quality.STEPS
BLIND = 0.7  # of the AUC: below it a score says little
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def detector_of(runs: Sequence[Path], pack: Pack) -> Detector:
    """The detector of what nobody would use, for the images of `runs`, which were all trained on `pack`.

    Taught on real training images and, where runs keep one, on samples of `checkpoints/early.ckpt`, without masks. It
    depends on nothing else, so every seed and checkpoint of a run meets the same one. That of a single run is kept in
    RUN/quality.pt as long as both stay as they are.

    Raises Undefined for too few images or patients, UserError for an early checkpoint that cannot be read.
    """
    known, held_out = real_choice(pack)
    early = [path for run in runs if (path := run / "checkpoints" / "early.ckpt").exists()]
    origin = _digest(pack.content, known.tolist(), held_out.tolist(), STEPS, EARLY, [sha256(path) for path in early])
    kept = runs[0] / "quality.pt" if len(runs) == 1 else None
    if kept is not None and (found := _read(kept, origin)) is not None:
        return found
    say(f"teaching the quality detector {len(known):,} real images and as many spoilt ones: within a minute or two")
    detector = train_detector(
        pack.tensor(known),
        pack.tensor(held_out),
        early=early_samples(early, channels=pack.channels) if early else None,
        steps=STEPS,
    )
    if kept is not None and os.access(kept.parent, os.W_OK):
        save_detector(detector, kept, origin=origin)
    return detector


def _read(path: Path, origin: str) -> Detector | None:
    try:
        return load_detector(path, origin=origin)
    except UserError:  # none yet, or of other images: it is taught anew
        return None


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps([quality.FORMAT, *facts]).encode()).hexdigest()


def early_samples(checkpoints: Sequence[Path], *, channels: int) -> Float[Tensor, "n c h w"]:
    """500 samples of early checkpoints, of each equally many, without what lies behind their first `channels`."""
    held = []
    for path in checkpoints:
        run = load_run(path.parent.parent, checkpoint=str(path))
        batches = synthesise(run.model, n=max(1, EARLY // len(checkpoints)), seed=0, attributes=run.attributes)
        held += [images[:, :channels] for images in batches]
    return torch.cat(held)


def real_choice(pack: Pack) -> tuple[Int[ndarray, " n"], Int[ndarray, " m"]]:
    """Pack indices of at most 2,000 real images to train a detector on, and of as many of other patients.

    The first come from the training split, each patient's in turn; the others are `val` and `test`, and where those are
    fewer than 100 images of 5 patients, patients of the training split as well. Always the same for one pack. Raises
    Undefined when either is smaller than that.
    """
    train, held_out = pack.splits["train"], np.concatenate([pack.splits["val"], pack.splits["test"]])
    for patient in sorted(set(pack.patients[train]), key=lambda name: fold(0, "usable", str(name))):
        if _enough(pack, held_out):
            break
        its = pack.patients[train] == patient
        if _enough(pack, train[~its]):
            train, held_out = train[~its], np.concatenate([held_out, train[its]])
    if not (_enough(pack, train) and _enough(pack, held_out)):
        everything = np.concatenate([train, held_out])
        raise Undefined(
            f"a quality detector needs {LEAST} images of {PATIENTS} patients or series to learn from and as many of "
            f"others; the data have {len(everything):,} images of {len(set(pack.patients[everything])):,}"
        )
    random = np.random.default_rng(fold(0, "usable"))
    return train[in_turn(pack.patients[train], random)[:IMAGES]], random.permutation(held_out)[:IMAGES]


def _enough(pack: Pack, indices: Int[ndarray, " n"]) -> bool:
    return len(indices) >= LEAST and len(set(pack.patients[indices])) >= PATIENTS


def blindness(detector: Detector) -> str | None:
    """Why the detector's scores say nothing; None when they do."""
    if detector.auc >= BLIND:
        return None
    return (
        f"the quality detector tells real from spoilt images with an AUC of {detector.auc:.2f} only: {BLIND} is needed"
    )


def scores_of(detector: Detector, batches: Images) -> Float[Tensor, " n"]:
    """The score of each image, 0 to 1, of batches (b, d, h, w); channels behind those that it knows are left out."""
    return torch.cat([detector.score(images[:, : detector.channels]) for images in batches])


def usable_finding(detector: Detector, fake: Images, *, drawn: str = "synthetic") -> Finding:
    """The usable-image ratio of synthetic images, batches (b, d, h, w), beside what new real images would have.

    It counts images that are spoilt in a way the detector knows; smeared anatomy of the right grey levels may pass, and
    without an early checkpoint much of what an unfinished generator makes. So it is an upper bound, and stands beside
    fidelity. The interval draws synthetic images again, by the same detector; `drawn` names the draws. Its entry also
    holds the detector's AUC and threshold, whether it knows early samples, and quantiles of the scores.
    """
    extra = {"auc": detector.auc, "threshold": detector.tail.threshold, "early": detector.early}
    if (reason := blindness(detector)) is not None:
        return Finding(None, reason=reason, extra=extra)
    scores = scores_of(detector, fake)
    quantiles = scores.double().quantile(torch.tensor(QUANTILES, dtype=torch.float64))
    spread = {f"{q:g}": value for q, value in zip(QUANTILES, quantiles.tolist(), strict=True)}
    found = Finding(detector.usable(scores), real=1 - detector.tail.expected, extra={**extra, "scores": spread})
    try:
        is_usable = (~detector.tail.holds(scores)).double()
        moved = mean_deviations(is_usable, resample(range(len(scores)), name=drawn))
    except Undefined:  # of one image
        return found
    return drawn_again(found, moved, least=0.0, most=1.0)
