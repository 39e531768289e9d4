"""What prepare suggests for a dataset: settings of train and data, each with its reason.

The rules, of which the numbers are our choice unless a source stands beside them:
resolution: the largest power of two that is no longer than the median picture's short side, from 16 to 256. Twice the
    side costs four times the time, so more than 256 is for the user to ask for.
batch_size: 64 (the kidney study's), 32 from resolution 256 (the X-ray study's), halved until there are 16 training
    images for each place of the batch; 8 at the least, or what there is.
augment: affine_mild below 5,000 training images or 50 training patients, else none. The fewer images, the earlier a
    critic has learned them by heart (Karras et al. 2020, arXiv:2006.06676).
data.flips: none. Organs have sides, and no source here can say that its pictures have none.
data.balance: oversample where the largest class has over 3 times the training images of the smallest, else none.
data.bits: 16 where pictures are stored with more than 8 bits, else 8.
"""

from collections.abc import Mapping
from typing import Any

from medsynth.data.concerns import eight_bit

RESOLUTIONS = (16, 32, 64, 128, 256)
IMAGES_A_PLACE = 16  # training images for each place of the batch
LEAST = 8  # places of a batch, where there are so many images
FEW_IMAGES, FEW_PATIENTS = 5000, 50
UNEQUAL = 3  # largest over smallest class
SIDES = {
    "hu": "the liver, the heart and the stomach lie on one side, and a mirrored body is a rare disease",
    "signal": "left and right are told apart in MR, and a flip of sagittal slices turns front into back",
    "grey": "organs have sides; set it only where left and right, or top and bottom, cannot be told apart",
}


def advice(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The value and the reason of each suggested setting, by what the setting is called on the command line.

    report: the content of prepare.json, as fingerprint.py makes it.
    """
    resolution = _resolution(report)
    return {
        "resolution": resolution,
        "batch_size": _batch_size(report, resolution["value"]),
        "augment": _augment(report),
        "data.flips": _advice("none", SIDES[report["intensities"]["unit"]]),
        "data.balance": _balance(report),
        "data.bits": _bits(report),
    }


def _advice(value: Any, reason: str) -> dict[str, Any]:
    return {"value": value, "reason": reason}


def _resolution(report: Mapping[str, Any]) -> dict[str, Any]:
    side = report["short_side"]["median"]
    value = max((r for r in RESOLUTIONS if r <= side), default=RESOLUTIONS[0])
    why = (
        "and twice the side takes four times as long"
        if side >= 2 * RESOLUTIONS[-1]
        else "and more would only enlarge them"
    )
    return _advice(value, f"half of the pictures are at least {side:g} pixels on their short side, {why}")


def _batch_size(report: Mapping[str, Any], resolution: int) -> dict[str, Any]:
    images, patients = report["splits"]["train"]["images"], report["splits"]["train"]["patients"]
    start = 32 if resolution >= 256 else 64
    value = start
    while value > 1 and images < (IMAGES_A_PLACE if value > LEAST else 1) * value:
        value //= 2
    counts = f"{images:,} training images of {patients:,} {report['groups']['kind']}"
    if value < start:
        return _advice(value, f"{counts}: a larger batch would hold much of them at once, and its images be alike")
    return _advice(value, f"the batch of the published studies at this size; {counts} fill it many times")


def _augment(report: Mapping[str, Any]) -> dict[str, Any]:
    train, kind = report["splits"]["train"], report["groups"]["kind"]
    counts = f"{train['images']:,} training images of {train['patients']:,} {kind}"
    if train["images"] < FEW_IMAGES or train["patients"] < FEW_PATIENTS:
        return _advice("affine_mild", f"{counts} are few: a critic learns them by heart; small moves make them more")
    return _advice("none", f"{counts} are enough to do without, and moves can leak into generated images")


def _balance(report: Mapping[str, Any]) -> dict[str, Any]:
    sizes = [count for count in report["splits"]["train"]["classes"].values() if count]
    if len(sizes) < 2:
        return _advice("none", "there are no classes to balance")
    ratio = max(sizes) / min(sizes)
    if ratio > UNEQUAL:
        return _advice("oversample", f"the largest class has {ratio:.1f} times the training images of the smallest")
    return _advice("none", f"the largest class has no more than {max(ratio, 1):.1f} times the images of the smallest")


def _bits(report: Mapping[str, Any]) -> dict[str, Any]:
    coarse, total = eight_bit(report), report["images"]
    if coarse < total:
        return _advice(16, f"{total - coarse:,} of {total:,} images are stored with more than 8 bits")
    return _advice(8, "the pictures are stored with 8 bits")
