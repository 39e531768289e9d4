"""What a judgement holds of memorisation: nearest training images, changed copies, and noisy versions."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from medsynth.metrics.copies import nearest_copy
from medsynth.metrics.entries import Finding
from medsynth.metrics.nearest import COPY_DISTANCE, NEAR_QUANTILE, Nearest, near_share, nearest
from medsynth.metrics.privacy import authentic, duplicates, normal_rates, normal_share
from medsynth.metrics.undefined import Undefined

PAIRS = 12  # closest pairs named in an entry


@dataclass(frozen=True)
class Unseen:
    """Images of patients never trained on, which say what is normal.

    nearest: from each to the training images. groups: the patient of each; None: nobody knows.
    """

    thumbnails: UInt8[Tensor, "n d"]
    nearest: Nearest
    groups: ndarray | None

    def without_copies(self) -> "Unseen | None":
        """Those that are no training image: by the others, a copy would be normal. None if there are none."""
        kept = self.nearest.distance >= COPY_DISTANCE
        if not bool(kept.any()):
            return None
        found = Nearest(self.nearest.distance[kept], self.nearest.index[kept])
        return Unseen(self.thumbnails[kept], found, None if self.groups is None else self.groups[kept.numpy()])


def nearest_finding(found: Nearest, unseen: Unseen | None, *, n_train: int, thorough: bool) -> Finding:
    """How far synthetic images lie from their nearest training image, beside unseen patients' images.

    Args:
        found: from synthetic images to training images, of which there are `n_train`.
        thorough: also where the share of near images of new patients lies.
    """
    extra: dict[str, Any] = {
        "n_train": n_train,
        "copies": found.copies(),
        "quantiles": {"fake": found.quantiles()},
        "pairs": [{"fake": f, "train": t, "distance": d} for f, t, d in found.closest(PAIRS)],
    }
    real = None
    if unseen is not None:
        extra |= {"n_unseen": len(unseen.thumbnails), "copies_unseen": unseen.nearest.copies()}
    if unseen is not None and (others := unseen.without_copies()) is not None:
        real = others.nearest.distance.double().median().item()
        extra["near"] = near_share(found, others.nearest)
        if thorough:
            extra["near_normal"] = _listed(normal_rates(others.nearest.distance, others.groups, NEAR_QUANTILE))
        extra["quantiles"]["unseen"] = others.nearest.quantiles()
    return Finding(found.distance.double().median().item(), real, extra=extra)


def private_findings(
    thumbnails: UInt8[Tensor, "n d"],
    train: UInt8[Tensor, "m d"],
    unseen: Unseen | None,
    *,
    groups: ndarray | None,
    channels: int,
) -> dict[str, Finding]:
    """Copies that were mirrored, moved or recoloured, and the share of images that are nobody's noisy version.

    groups: the patient of each training image; None: nobody knows. channels: of all images.
    """
    others = unseen and unseen.without_copies()
    if others is None:
        reason = "every unseen image is a training image" if unseen else "no images of unseen patients to calibrate by"
        return {name: Finding(None, reason=reason) for name in ("duplicates", "authenticity")}
    try:
        fake, real = (authentic(one, train, groups=groups) for one in (nearest(thumbnails, train), others.nearest))
        extra = {"normal": _listed(normal_share(real, others.groups))}
        noisy = Finding(_share(fake), _share(real), extra=extra)
    except Undefined as undefined:
        noisy = Finding(None, reason=undefined.reason)
    return {"duplicates": _changed(thumbnails, train, others, channels=channels), "authenticity": noisy}


def _changed(thumbnails: Tensor, train: Tensor, unseen: Unseen, *, channels: int) -> Finding:
    found, others = (nearest_copy(side, train, channels=channels) for side in (thumbnails, unseen.thumbnails))
    copies = duplicates(found, others, unseen_groups=unseen.groups)
    extra = {
        "n_patients": None if unseen.groups is None else len(set(unseen.groups.tolist())),
        "normal": _listed(copies.normal),
        "threshold": copies.threshold,
        "copies": len(copies.copies),
        "pairs": [
            {"fake": number, "train": int(found.index[number]), "distance": found.distance[number].item()}
            for number in copies.flagged[:PAIRS]
        ],
    }
    return Finding(copies.rate, copies.expected, extra=extra)


def _share(kept: Tensor) -> float:
    return kept.double().mean().item()


def _listed(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)
