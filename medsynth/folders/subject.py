"""Folders of images as `evaluate` judges them: anyone's synthetic images against anyone's real ones."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from medsynth.errors import UserError, counted
from medsynth.folders.reader import EMPTY, Batches, Reader, readable
from medsynth.folders.views import LEAST, Found, View, check_alike, common_side, find
from medsynth.folders.window import Scale, choose_scale
from medsynth.metrics.halves import halves
from medsynth.metrics.origin import Origin
from medsynth.metrics.per_class import ClassSets
from medsynth.metrics.real_sets import Patients
from medsynth.metrics.statistics_cache import StatisticsCache, StatisticsKey
from medsynth.seeds import fold
from medsynth.subjects import Subject

DECODING = 1  # raise it whenever equal files and settings give other pixels: statistics kept before are of other images
MOST_CLASSES = 20  # more subfolders of equal names are patients rather than classes
UNLABELLED = "synthetic"  # what medsynth.generate calls images without a class


@dataclass(frozen=True)
class Sides:
    """The folders, opened: what stands in them and how it is read. notes: what a reader of the judgement must know."""

    real: Found
    fake: Found
    unseen: Found | None
    scale: Scale
    reader: Reader
    notes: list[str]


def open_sides(
    real: Path,
    fake: Path,
    *,
    unseen: Path | None = None,
    window: Sequence[float | int] | None = None,
    resolution: int | None = None,
    channels: int = 1,
    with_blanks: bool = False,
) -> Sides:
    """Find the pictures of the folders, leave out those that cannot be read, and choose what all are seen through.

    with_blanks: also slices of volumes and series that show next to nothing, such as of air. They are alike in all
        patients, so that they would pass for copies.

    Raises:
        UserError: a folder is none, holds a mixture or fewer than two readable images; kinds or sizes differ between
            folders; `window` is none.
    """
    named = {"real": real, "fake": fake} | ({"unseen": unseen} if unseen else {})
    found = {key: find(key, folder) for key, folder in named.items()}
    sides = list(found.values())
    notes = [note for side in sides for note in side.notes] + check_alike(sides)
    side = resolution or common_side(sides)
    modality = next((m for m in ("CT", "PT") if m in {one.modality for one in sides}), "MR")
    scale, told = choose_scale(found["real"], found["fake"], window=window, modality=modality)
    reader = Reader(scale.decoder(side, channels), modality, scale.white)
    for key, one in found.items():
        views, rejected = _readable(one, reader, scale, with_blanks=with_blanks)
        notes += [f"{key}: {line}" for line in rejected]
        if len(views) < LEAST:
            why = f" ({rejected[0]})" if rejected else ""
            held = counted(len(views), "readable image")
            raise UserError(f"{key}={one.root} holds {held}; judging needs at least {LEAST}{why}")
        found[key] = replace(one, views=views)
    return Sides(found["real"], found["fake"], found.get("unseen"), scale, reader, notes + told)


def folder_subject(
    real: Path,
    fake: Path,
    *,
    unseen: Path | None,
    resolution: int | None,
    channels: int,
    count: int,
    seed: int,
    window: Sequence[float | int] | None = None,
) -> Subject:
    """Two folders of images, of one size or resized to `resolution`; non-square ones are padded with the dark end.

    Image files, NIfTI volumes (axial slices; volumes of one slice as they are) and DICOM series. Halves of the real
    images share no volume, series or, where headers tell them apart, patient. Of single images patients are unknown:
    within each subfolder the first half in file-number order stands against the second, because neighbouring numbers
    tend to be of one patient.

    Args:
        window: see `medsynth.folders.window.choose_scale`.

    Raises:
        UserError: see `open_sides`.
    """
    sides = open_sides(real, fake, unseen=unseen, window=window, resolution=resolution, channels=channels)
    reals, fakes = sides.real.views, shuffled(sides.fake.views, seed)
    labels = classes_of(sides.real)
    a, b = _halves(sides.real, labels, seed=seed)
    n = min(count, len(a), len(b) or len(a), len(fakes))
    others = None if sides.unseen is None else _first_shuffled(sides.unseen.views, seed=seed, count=count)
    reader = sides.reader
    return Subject(
        reference=Batches([reals[i] for i in a[:n]], reader),
        held_out=Batches([reals[i] for i in b[:n]], reader) if len(b) else None,
        train=Batches(reals, reader),
        unseen=Batches(others, reader) if others else None,
        patients=_patients(sides, [reals[i] for i in a[:n]], others),
        fake=Batches(fakes[:n], reader),
        real_split=real.name,
        show_fake=lambda number: reader.tensor(fakes[number]),
        show_train=lambda number: reader.tensor(reals[number]),
        fake_name=lambda number: fakes[number].shown,
        warnings=[_of_patients(sides.real), *sides.notes],
        origin=_origin(sides, chosen=[a[:n], b[:n]], others=others),
        classes=_classes(sides, labels, (a, b), fakes),
    )


def shuffled(views: Sequence[View], seed: int) -> list[View]:
    """Views in a random order, the same for the same seed and number of images."""
    order = np.random.default_rng(fold(seed, "files")).permutation(len(views))
    return [views[i] for i in order]


def _first_shuffled(views: Sequence[View], *, seed: int, count: int) -> list[View]:
    """The same, of slices of volumes for the first `count`, which are measured; the others stay in file order.

    Image files stay as they are.
    """
    if all(view.slices == 1 for view in views):
        return list(views)
    order = np.random.default_rng(fold(seed, "unseen files")).permutation(len(views))
    return [views[i] for i in [*order[:count], *sorted(order[count:])]]


def _halves(found: Found, labels: Sequence[str], *, seed: int) -> tuple[Int[ndarray, " a"], Int[ndarray, " b"]]:
    """Two halves of the real images; the second is empty where either would hold fewer than two."""
    if found.grouped:
        groups, folders = np.array([view.group for view in found.views]), np.unique(labels, return_inverse=True)[1]
    else:
        folders, groups = blocks(found.views)
    a, b = halves(groups, folders, seed=seed)
    return (a, b) if min(len(a), len(b)) >= LEAST else (np.concatenate([a, b]), b[:0])


def blocks(views: Sequence[View]) -> tuple[Int[ndarray, " n"], ndarray]:
    """The subfolder of each image as a number, and the half of it (in file order) as a group's name."""
    _, labels = np.unique([str(view.path.parent) for view in views], return_inverse=True)
    groups = np.empty(len(views), dtype=object)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        for half, part in enumerate(np.array_split(members, 2)):
            groups[part] = f"{label}/{half}"
    return labels, groups.astype(str)


def _patients(sides: Sides, reference: Sequence[View], unseen: Sequence[View] | None) -> Patients:
    """The groups of each set; nobody's where every image is a group of its own."""

    def groups(views: Sequence[View] | None, side: Found | None) -> ndarray | None:
        return np.array([view.group for view in views]) if views and side and side.grouped else None

    return Patients(
        groups(reference, sides.real),
        groups(sides.real.views, sides.real),
        groups(unseen, sides.unseen),
        stands_for="patients" if sides.real.patients else "volumes",
    )


def _of_patients(real: Found) -> str:
    if real.grouped and real.patients:
        return "halves of the real images share no patient, by the headers"
    if real.grouped:
        return "patients are unknown: each volume or series is taken for a patient of its own"
    return (
        "patients are unknown: real against real compares the first half of each subfolder, in the order of file "
        "numbers, with the second"
    )


# ------------------------------------------------------------------------------------------------------------ classes


def classes_of(found: Found) -> list[str]:
    """The class of each image: by the manifest.csv of medsynth.generate, else the first subfolder; "" for none."""
    manifest = _manifest(found.root)
    labels = []
    for view in found.views:
        below = view.path.relative_to(found.root)
        label = manifest.get(below.as_posix(), below.parts[0] if len(below.parts) > 1 else "")
        labels.append("" if label == UNLABELLED else label)
    return labels


def _manifest(root: Path) -> dict[str, str]:
    try:
        with (root / "manifest.csv").open(newline="") as stream:
            return {row["file"]: row["class"] for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError, csv.Error):
        return {}


def _classes(
    sides: Sides, labels: Sequence[str], both: tuple[ndarray, ndarray], fakes: Sequence[View]
) -> dict[str, ClassSets]:
    """The images of each class that both folders have; none where there are fewer than two, or too many of them."""
    of_fake = dict(zip(((v.path, v.number) for v in sides.fake.views), classes_of(sides.fake), strict=True))
    shared = sorted(set(labels) & set(of_fake.values()) - {""})
    if not 2 <= len(shared) <= MOST_CLASSES:
        return {}
    made = {}
    for name in shared:
        first, second = ([sides.real.views[i] for i in half if labels[i] == name] for half in both)
        own = [view for view in fakes if of_fake[view.path, view.number] == name]
        if first:
            held_out = Batches(second, sides.reader) if second else None
            made[name] = ClassSets(Batches(first, sides.reader), held_out, Batches(own, sides.reader))
    return made


# -------------------------------------------------------------------------------------------------------------- cache


def _origin(sides: Sides, *, chosen: Sequence[ndarray], others: Sequence[View] | None) -> Origin:
    """Where the real images' statistics are kept: under their names, sizes and times, and all that decides pixels."""
    shown = [f"{view.name} {view.number}" for view in sides.real.views]
    unseen = [f"{view.name} {view.number}" for view in others or ()]
    files = [_files(side) for side in (sides.real, sides.unseen) if side is not None]
    content = _digest(files, shown, unseen, _settings(sides.reader, sides.scale))
    return Origin("folder", content, _digest([part.tolist() for part in chosen]))


def _readable(found: Found, reader: Reader, scale: Scale, *, with_blanks: bool) -> tuple[list[View], list[str]]:
    """The views that decode and show something, and what was left out. Files that were all well before are not read.

    A single image is kept whatever it shows.
    """
    cache = StatisticsCache()
    key = StatisticsKey(_digest(_files(found), _settings(reader, scale)), "readable", len(found.views))
    known = cache.load(key)
    if known is None:
        good, blank, rejected = readable(found.views, reader)
        if not rejected:
            cache.save(key, {"good": np.array(good, dtype=np.int64), "blank": np.array(blank, dtype=np.int64)})
    else:
        good, blank, rejected = known["good"].tolist(), known["blank"].tolist(), []
    sizes = Counter(view.group for view in found.views)
    empty = set() if with_blanks else {i for i in blank if sizes[found.views[i].group] > 1}
    told = (
        [f"next to nothing shows on {counted(len(empty), 'slice')} of volumes and series: not judged"] if empty else []
    )
    return [found.views[i] for i in good if i not in empty], rejected + told


def _files(found: Found) -> list[Any]:
    """The name, size and time of change of every file, in the order of views."""
    told: dict[Path, tuple[str, int, int]] = {}
    for view in found.views:
        if view.path not in told:
            status = view.path.stat()
            told[view.path] = view.path.relative_to(found.root).as_posix(), status.st_size, status.st_mtime_ns
    return [found.kind, found.modality, *told.values()]


def _settings(reader: Reader, scale: Scale) -> Mapping[str, Any]:
    decoder = reader.decoder
    return {
        "decoding": DECODING,
        "empty": EMPTY,
        "modality": reader.modality,
        "window": scale.window,
        "levels": scale.levels,
        "white": scale.white,
        "resolution": decoder.resolution,
        "channels": decoder.channels,
        "bits": decoder.bits,
    }


def _digest(*told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
