"""prepare.json: what a dataset looks like to someone who has not opened a file of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsynth.data.decode import Slice
from medsynth.data.series import Groups, Looks, identical
from medsynth.data.sources.source import Record, Source, walk_files
from medsynth.data.splits import EXCLUDED, SPLITS, Assignment

UNLABELLED = "(no label)"


def fingerprint(
    facts: Mapping[str, Any], *, records: Sequence[Record], slices: Sequence[Slice], looks: Looks, groups: Groups,
    assignment: Assignment, rejected: Sequence[Mapping[str, str]], source: Source, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """The content of prepare.json: counts by class, split and patient, sizes, modes, and every file left out."""
    files = [r.path.relative_to(source.root).as_posix() for r in records]
    labels = [r.label or UNLABELLED for r in records]
    duplicates = [[files[i] for i in images] for images in identical(looks).values()]
    known = {str(r.path) for r in records} | {str(source.root / entry["file"]) for entry in rejected}
    ignored = Counter(p.suffix.lower() or "(none)" for p in walk_files(source.root) if str(p) not in known)
    return {
        **{key: facts[key] for key in ("name", "key", "content", "resolution", "channels", "bits", "intensity")},
        "pack": str(folder),
        "root": str(source.root),
        "origin": source.origin,
        "images": len(records),
        "patients": len(set(groups.patients)),
        "classes": dict(sorted(Counter(labels).items())),
        "splits": {split: _split_counts(split, labels, groups.patients, assignment.splits) for split in SPLITS},
        "groups": {"kind": groups.kind, "classes": _group_sizes(labels, groups.patients), **groups.report},
        "sizes": dict(Counter(f"{w}x{h}" for w, h in (s.size for s in slices)).most_common()),
        "modes": dict(Counter(s.mode for s in slices).most_common()),
        "rejected": list(rejected),
        "excluded": [
            {"file": files[i], "class": labels[i], "reason": f"'{groups.patients[i]}' also stands in another split"}
            for i in assignment.excluded
        ],
        "ignored": dict(ignored.most_common()),
        "duplicates": duplicates,
        "notes": source.notes(records),
        "warnings": [*groups.warnings, *_warnings(labels, slices, groups, assignment, looks)],
    }


def _split_counts(split: str, labels: Sequence[str], patients: Sequence[str], splits: Sequence[str]) -> dict[str, Any]:
    inside = [i for i, s in enumerate(splits) if s == split]
    return {
        "images": len(inside),
        "patients": len({patients[i] for i in inside}),
        "classes": dict(sorted(Counter(labels[i] for i in inside).items())),
    }


def _group_sizes(labels: Sequence[str], patients: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By class: how many groups have images in it and how many images each, largest first."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for label, patient in zip(labels, patients, strict=True):
        sizes[label][patient] += 1
    return {
        label: {"groups": len(counts), "sizes": sorted(counts.values(), reverse=True)}
        for label, counts in sorted(sizes.items())
    }


def _warnings(
    labels: Sequence[str], slices: Sequence[Slice], groups: Groups, assignment: Assignment, looks: Looks
) -> list[str]:
    """What may spoil a training, in plain words."""
    found = []
    for label, entry in _group_sizes(labels, groups.patients).items():
        largest, total = entry["sizes"][0], sum(entry["sizes"])
        if 2 * largest > total and total > 1:
            found.append(f"class {label}: one of {entry['groups']} {groups.kind} holds {largest:,} of {total:,} images")
    if assignment.small_classes:
        found.append(f"too few {groups.kind} for every split in class {', '.join(assignment.small_classes)}")
    if assignment.excluded:
        found.append(
            f"{len(assignment.excluded):,} images are taken out of training or validation: they, or a near-identical "
            "image, also stand in a published or earlier split (listed under 'excluded')"
        )
    crossing = sum(len({labels[i] for i in images}) > 1 for images in identical(looks).values())
    if crossing:
        found.append(f"{crossing:,} images occur identically in more than one class")
    dark = [s.peak for s in slices if s.mode.startswith("I;16") and s.peak < 0.25]
    if dark:
        found.append(
            f"{len(dark):,} 16-bit images are dark: their brightest value is {max(dark):.0%} of white; set data.white "
            "to the stored value that is white"
        )
    several = sum(s.frames > 1 for s in slices)
    if several:
        found.append(f"{several:,} files hold more than one picture; the first of each is used")
    empty = [split for split in SPLITS if split not in assignment.splits]
    if empty:
        found.append(f"no image in split {', '.join(empty)}")
    dropped = assignment.splits.count(EXCLUDED) - len(assignment.excluded)
    if dropped:
        found.append(f"{dropped:,} images stay out as in an earlier preparation (splits.csv)")
    return found
