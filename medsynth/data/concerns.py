"""What may spoil a training, in plain words, one sentence each."""

from collections.abc import Mapping, Sequence
from typing import Any

from medsynth.data.render import Slice
from medsynth.data.series import Looks, identical
from medsynth.data.splits import EXCLUDED, SPLITS, Assignment

UNLABELLED = "(no label)"
FEW = 15  # patients of a class, below which a model shows these patients and not the class
MIXED = 1.5  # largest over smallest spacing, above which one pixel means different things
DARK = 0.25  # of white
EIGHT_BITS = frozenset(("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "uint8", "int8"))


def concerns(
    report: Mapping[str, Any],
    *,
    labels: Sequence[str],
    slices: Sequence[Slice],
    assignment: Assignment,
    looks: Looks,
) -> list[str]:
    """Warnings about the data that `report` describes (see fingerprint.py)."""
    return [
        *_about_classes(report, labels, assignment),
        *_about_splits(labels, assignment, looks),
        *_about_pictures(report, slices, looks),
        *_about_spacings(report),
        *_about_masks(report),
    ]


def eight_bit(report: Mapping[str, Any]) -> int:
    """How many images are stored with 8 bits or less."""
    return sum(count for mode, count in report["modes"].items() if mode in EIGHT_BITS)


def _about_classes(report: Mapping[str, Any], labels: Sequence[str], assignment: Assignment) -> list[str]:
    found, kind = [], report["groups"]["kind"]
    for label, entry in report["groups"]["classes"].items():
        groups, largest, total = entry["groups"], entry["sizes"][0], sum(entry["sizes"])
        unlabelled = "the dataset" if len(report["classes"]) == 1 else "the part without a class"
        who = unlabelled if label == UNLABELLED else f"class {label}"
        if groups < FEW:
            found.append(
                f"{who} has {groups:,} {kind}: expect a model that repeats them, however many images there are"
            )
        if 2 * largest > total and total > 1:
            found.append(f"{who}: one of {groups:,} {kind} holds {largest:,} of {total:,} images")
    if small := [label for label in assignment.small_classes if label]:
        found.append(f"too few {kind} for every split in class {', '.join(small)}")
    if "" in assignment.small_classes:
        found.append(f"too few {kind} for every split")
    without = labels.count(UNLABELLED) if len(report["classes"]) > 1 else 0
    if without:
        found.append(f"{without:,} of {len(labels):,} images have no class, so models that need labels cannot train")
    return found


def _about_splits(labels: Sequence[str], assignment: Assignment, looks: Looks) -> list[str]:
    found = []
    if assignment.excluded:
        found.append(
            f"{len(assignment.excluded):,} images are taken out of training or validation: they, or a near-identical "
            "image, also stand in a published or earlier split (listed under 'excluded')"
        )
    crossing = sum(len({labels[i] for i in images}) > 1 for images in identical(looks).values())
    if crossing:
        found.append(f"{crossing:,} images occur identically in more than one class: one of the labels is wrong")
    if empty := [split for split in SPLITS if split not in assignment.splits]:
        found.append(f"no image in split {', '.join(empty)}")
    if dropped := assignment.splits.count(EXCLUDED) - len(assignment.excluded):
        found.append(f"{dropped:,} images stay out as in an earlier preparation (splits.csv)")
    return found


def _about_pictures(report: Mapping[str, Any], slices: Sequence[Slice], looks: Looks) -> list[str]:
    found, total, resolution = [], len(slices), report["resolution"]
    if dark := [s.peak for s in slices if s.mode.startswith("I;16") and s.peak < DARK]:
        found.append(
            f"{len(dark):,} 16-bit images are dark: their brightest value is {max(dark):.0%} of white; set data.white "
            "to the stored value that is white"
        )
    if several := sum(s.frames > 1 for s in slices):
        found.append(f"{several:,} files hold more than one picture; the first of each is used")
    if flat := int(looks.flat.sum()):
        found.append(f"{flat:,} of {total:,} images are of a single colour")
    if report["bits"] == 16 and (coarse := eight_bit(report)):
        found.append(f"{coarse:,} of {total:,} images are stored with 8 bits: data.bits=16 adds nothing to them")
    if small := sum(min(s.size) < resolution for s in slices):
        found.append(
            f"{small:,} of {total:,} images are smaller than resolution={resolution} and were enlarged: no detail is "
            "gained by it"
        )
    return found


def _about_spacings(report: Mapping[str, Any]) -> list[str]:
    """Pixels are judged as packed, since resizing may have made them alike; axes of equal spacings are named together.
    How far slices lie apart changes no picture, but how many there are of an organ."""
    found: dict[str, list[str]] = {}
    for axis, spread in report["packed_mm"].items():
        if mixed := _mixed(spread):
            found.setdefault(f"spacings of packed pixels {mixed}: the same organ has different sizes", []).append(axis)
    if mixed := _mixed(report["spacings_mm"].get("slice", {"min": 0, "max": 0})):
        found[f"spacings {mixed}: volumes of thin slices show the same organ more often"] = ["slice"]
    return [f"{' and '.join(axes)} {text}" for text, axes in found.items()]


def _mixed(spread: Mapping[str, Any]) -> str:
    if spread["max"] <= MIXED * spread["min"]:
        return ""
    return f"run from {spread['min']:g} to {spread['max']:g} mm ({spread['different']:,} different ones)"


def _about_masks(report: Mapping[str, Any]) -> list[str]:
    masks, total = report["masks"], report["images"]
    if not masks:
        return []
    found = []
    if missing := total - masks["images"]:
        found.append(f"masks are missing for {missing:,} of {total:,} images, so models that need masks cannot train")
    if masks["unknown"]:
        found.append(f"{masks['unknown']:.0%} of the masks have pixels that nobody labelled")
    if set(masks["labels"]) <= {"0"}:
        found.append("all masks are empty")
    return found
