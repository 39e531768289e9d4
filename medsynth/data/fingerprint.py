"""prepare.json: what a dataset looks like to someone who has not opened a file of it."""

import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from medsynth.data.advice import advice
from medsynth.data.concerns import UNLABELLED, concerns
from medsynth.data.picture import UNKNOWN
from medsynth.data.render import Slice
from medsynth.data.series import Groups, Looks, identical
from medsynth.data.sources.source import Record, Rejected, Source, walk_files
from medsynth.data.splits import SPLITS, Assignment

PERCENTILES = (0.5, 5, 25, 50, 75, 95, 99.5)
AIR_HU = -500.0  # halfway between air (-1000 HU) and water (0 HU)
DARK_SHARE = 0.1  # of the range of the pooled values: below it lies the background of pictures without a unit


def fingerprint(
    facts: Mapping[str, Any], *, records: Sequence[Record], slices: Sequence[Slice], looks: Looks, groups: Groups,
    assignment: Assignment, rejected: Sequence[Rejected], notes: Sequence[str], source: Source, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """The content of prepare.json: counts by class, split and patient, what the pictures are like, every file left out,
    what may spoil a training, and what is suggested for it.

    facts: pack.json.  records, slices: one of each per packed image, in order.
    """
    names = _names(records, slices, source)
    labels = [r.label or UNLABELLED for r in records]
    report = {
        **{key: facts[key] for key in ("name", "key", "content", "resolution", "channels", "bits", "stored")},
        "pack": str(folder),
        "root": str(source.root),
        "origin": source.origin,
        "images": len(records),
        "patients": len(set(groups.patients)),
        "classes": dict(sorted(Counter(labels).items())),
        "splits": {split: _split_counts(split, labels, groups.patients, assignment.splits) for split in SPLITS},
        "groups": {"kind": groups.kind, "classes": _group_sizes(labels, groups.patients), **groups.report},
        **_pictures(records, slices, unit=source.unit),
        "integrity": _integrity(records, rejected, source),
        "rejected": [{"file": source.name(entry.path), "reason": entry.reason} for entry in rejected],
        "excluded": [
            {"file": names[i], "class": labels[i], "reason": f"'{groups.patients[i]}' also stands in another split"}
            for i in assignment.excluded
        ],
        "ignored": _ignored(records, rejected, source),
        "duplicates": [[names[i] for i in images] for images in identical(looks).values()],
        "notes": [*notes, *_grouped([(note, name) for s, name in zip(slices, names, strict=True) for note in s.notes])],
    }
    found = concerns(report, labels=labels, slices=slices, assignment=assignment, looks=looks)
    return {**report, "warnings": [*groups.warnings, *found], "advice": advice(report)}


def file_table(
    records: Sequence[Record],
    slices: Sequence[Slice],
    splits: Sequence[str],
    rejected: Sequence[Rejected],
    source: Source,
) -> str:
    """The text of files.csv: every file or series with its split, its number of images, a digest of all their decoded
    values, and what was noted; rejected ones with the reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "split", "images", "digest", "notes"))
    for first, last in _runs(records):
        digest = hashlib.sha256("".join(s.digest for s in slices[first:last]).encode()).hexdigest()[:32]
        said = "; ".join(sorted({note for s in slices[first:last] for note in s.notes}))
        name = source.name(records[first].path)
        writer.writerow((name, splits[first], last - first, digest, said))
    writer.writerows((source.name(entry.path), "rejected", 0, "", entry.reason) for entry in rejected)
    return text.getvalue()


def _runs(records: Sequence[Record]) -> list[tuple[int, int]]:
    """The first image of each record and the one after its last: images of a record stand together."""
    bounds, first = [], 0
    for _, run in groupby(records, key=id):
        last = first + sum(1 for _ in run)
        bounds.append((first, last))
        first = last
    return bounds


def _names(records: Sequence[Record], slices: Sequence[Slice], source: Source) -> list[str]:
    """The file of each image, with the number of the slice where the file is a volume."""
    numbers = [None if s.geometry is None else s.geometry.number for s in slices]
    paths = [source.name(r.path) for r in records]
    return [path if k is None else f"{path} [{k}]" for path, k in zip(paths, numbers, strict=True)]


def _split_counts(split: str, labels: Sequence[str], patients: Sequence[str], splits: Sequence[str]) -> dict[str, Any]:
    inside = [i for i, s in enumerate(splits) if s == split]
    return {
        "images": len(inside),
        "patients": len({patients[i] for i in inside}),
        "classes": dict(sorted(Counter(labels[i] for i in inside).items())),
        "patients_of_classes": dict(
            sorted(Counter(label for label, _ in {(labels[i], patients[i]) for i in inside}).items())
        ),
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


def _pictures(records: Sequence[Record], slices: Sequence[Slice], *, unit: str) -> dict[str, Any]:
    """What the pictures are like, before they were resized."""
    runs = _runs(records)
    return {
        "sizes": dict(Counter(f"{w}x{h}" for w, h in (s.size for s in slices)).most_common()),
        "short_side": _spread(min(s.size) for s in slices),
        "modes": dict(Counter(s.mode for s in slices).most_common()),
        "images_a_file": _spread(last - first for first, last in runs),
        **_geometry([slices[first] for first, _ in runs]),
        "intensities": _intensities(np.stack([s.quantiles for s in slices]), unit=unit),
        "masks": _masks(slices),
    }


def _geometry(volumes: Sequence[Slice]) -> dict[str, Any]:
    """Spacings in mm, as stored and of packed pixels, and orientations of files that say them, one slice of each."""
    known = [(s.geometry, s.placement[2:]) for s in volumes if s.geometry is not None]
    packed = [(g.spacing[0] * steps[0], g.spacing[1] * steps[1]) for g, steps in known]
    return {
        "spacings_mm": _spreads([g.spacing for g, _ in known]),
        "packed_mm": _spreads(packed),
        "orientations": dict(Counter(g.orientation for g, _ in known).most_common()),
    }


def _spreads(spacings: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    return {
        axis: {**_spread(values), "different": len({round(value, 3) for value in values})}
        for axis, values in zip(("row", "column", "slice"), zip(*spacings, strict=True), strict=False)
    }


def _spread(values: Iterable[float]) -> dict[str, float]:
    every = np.fromiter(values, dtype=np.float64)
    return {"min": _digits(every.min()), "median": _digits(np.median(every)), "max": _digits(every.max())}


def _digits(value: Any) -> float:
    """Five significant digits."""
    return float(f"{float(value):.5g}")


def _intensities(quantiles: Float[ndarray, "n q"], *, unit: str) -> dict[str, Any]:
    """Percentiles of all pictures' values together, every picture with the same weight, and of their foreground.

    A picture is stood for by the middles between its evenly spaced quantiles; several channels by the first.
    Foreground is what lies above AIR_HU, or above DARK_SHARE of the range of pictures without a unit.
    """
    middles = (quantiles[:, 1:] + quantiles[:, :-1]) / 2
    low, high = float(quantiles.min()), float(np.percentile(middles, PERCENTILES[-1]))
    edge = AIR_HU if unit == "hu" else low + DARK_SHARE * (high - low)
    return {
        "unit": unit,
        "min": _digits(low),
        "max": _digits(quantiles.max()),
        "percentiles": _percentiles(middles),
        "foreground": {"above": _digits(edge), "percentiles": _percentiles(middles[middles > edge])},
    }


def _percentiles(values: Float[ndarray, "..."]) -> dict[str, float]:
    if not values.size:
        return {}
    return {f"{p:g}": _digits(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}


def _masks(slices: Sequence[Slice]) -> dict[str, Any]:
    """Images with a mask, the share of them that shows each label, and the share with pixels that nobody labelled."""
    shown = [set(s.labels) for s in slices if s.labels is not None]
    if not shown:
        return {}
    counts = Counter(label for labels in shown for label in labels)
    unknown = counts.pop(UNKNOWN, 0)
    return {
        "images": len(shown),
        "labels": {str(label): _digits(count / len(shown)) for label, count in sorted(counts.items())},
        "unknown": _digits(unknown / len(shown)),
    }


def _integrity(records: Sequence[Record], rejected: Sequence[Rejected], source: Source) -> dict[str, Any]:
    """How many files there are and what became of them; files.csv holds a digest of every one that was decoded."""
    files = source.files()
    return {
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files if path.exists()),
        "read": len(_runs(records)),
        "rejected": len(rejected),
        "reasons": _reasons([entry.reason for entry in rejected]),
        "table": "files.csv",
    }


def _ignored(records: Sequence[Record], rejected: Sequence[Rejected], source: Source) -> dict[str, int]:
    """Files below the root that are neither images nor tables of this layout, by how their names end."""
    known = {*source.files(), *(r.path for r in records), *(entry.path for entry in rejected)}
    return dict(Counter(p.suffix.lower() or "(none)" for p in walk_files(source.root) if p not in known).most_common())


def _reasons(texts: Sequence[str]) -> dict[str, int]:
    """How often each reason occurs, most frequent first; those that differ in numbers alone stand under the first."""
    kinds = Counter(map(_without_numbers, texts))
    examples = {_without_numbers(text): text for text in reversed(texts)}
    alike = {
        kind: " (and the like)" if len({t for t in texts if _without_numbers(t) == kind}) > 1 else "" for kind in kinds
    }
    return {examples[kind] + alike[kind]: count for kind, count in kinds.most_common()}


def _without_numbers(text: str) -> str:
    """A remark without what differs from file to file."""
    return re.sub(r"\d[\d.,]*", "#", text)


def _grouped(remarks: Sequence[tuple[str, str]]) -> list[str]:
    """Remarks on images as one line a kind, with how many there are and the first (all of them: files.csv)."""
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for note, name in remarks:
        kinds[_without_numbers(note)].append((note, name))
    return [
        f"{name}: {note}" + (f", and {len(kind) - 1:,} images more like it (files.csv)" if len(kind) > 1 else "")
        for kind in kinds.values()
        for note, name in kind[:1]
    ]
