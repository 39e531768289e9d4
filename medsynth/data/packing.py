"""Making a Pack: read, render, write, group, split, check what was written, describe."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from medsynth.data.arrays import ArrayFile
from medsynth.data.covariates import add_missing, covariate_column
from medsynth.data.decode import strict_pillow
from medsynth.data.fingerprint import AIR_HU, file_table, fingerprint
from medsynth.data.pack import FORMAT, table_columns, to_float
from medsynth.data.picture import UNKNOWN, BadImage
from medsynth.data.progress import Progress, Say
from medsynth.data.render import Slice, quantise, render
from medsynth.data.series import Groups, Looks, normalise
from medsynth.data.settings import Settings
from medsynth.data.sources.source import Listing, Record, Rejected, Source
from medsynth.data.splits import Assignment, assign, check_leaks, format_assignment, read_assignment
from medsynth.errors import UserError

COPIED = 64  # training images that are augmented at once


@dataclass(frozen=True)
class Copies:
    """Transformed copies beside each training image: their number, their transform and data.flips."""

    count: int
    augment: Callable[..., Any]
    flips: str
    config: dict[str, Any]


def make_pack(
    settings: Settings, partial: Path, *, home: Path, key: str, copies: Copies | None, progress: Say
) -> list[str]:
    """Write a pack's files into `partial`, which will become `home`; returns the warnings of prepare.json."""
    listing = _list(settings)
    with _Arrays.open(partial, settings) as arrays:
        slices, records, rejected = _write_slices(settings, listing, arrays, progress=progress)
        looks = Looks(np.stack([s.thumbnail for s in slices]), [s.digest for s in slices])
        groups = settings.source.groups(records, looks)
        assignment, splits = _split(settings, records, groups, home.parent / "splits.csv")
        table = _table(settings, records, slices, groups, assignment)
        table |= _covariates(settings, records, slices, arrays)
        if copies is not None:
            table = _append_copies(
                arrays, table, copies, seed=settings.seed, bits=settings.decoder.bits, progress=progress
            )
        content = arrays.finish()
    np.savez(partial / "table.npz", allow_pickle=False, **table)
    _check_written(partial, settings, looks)
    write_beside(home.parent / "splits.csv", splits)
    facts = _facts(settings, table, slices, key=key, content=content)
    report = fingerprint(
        facts, records=records, slices=slices, looks=looks, groups=groups, assignment=assignment, rejected=rejected,
        notes=listing.notes, source=settings.source, folder=home,
    )  # fmt: skip
    add_missing(report, table, settings.covariates)
    (partial / "prepare.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    files = file_table(records, slices, assignment.splits, rejected, settings.source)
    (partial / "files.csv").write_text(files, encoding="utf-8")
    (partial / "pack.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return report["warnings"]


def _list(settings: Settings) -> Listing:
    """The source's listing. Raises UserError for a folder without images."""
    listing = _with_plain_names(settings.source.records())
    if not listing.records:
        lost = [f"{settings.source.name(entry.path)}: {entry.reason}" for entry in listing.rejected]
        named = f"; {len(lost):,} files cannot be used, the first: {lost[0]}" if lost else ""
        raise UserError(f"{settings.name}: no image in {settings.root} (data.root). {settings.source.origin}{named}")
    return listing


def _with_plain_names(listing: Listing) -> Listing:
    """Without the records whose names no table can hold."""
    wrong = [r for r in listing.records if any("\udc80" <= letter <= "\udcff" for letter in str(r.path))]
    rejected = [Rejected(record.path, "its name is not UTF-8; rename it") for record in wrong]
    kept = [record for record in listing.records if record not in wrong]
    return replace(listing, records=kept, rejected=[*listing.rejected, *rejected]) if wrong else listing


@dataclass(frozen=True)
class _Arrays:
    """The pack's growing files; masks and conditions become files with the first slice that has one."""

    images: ArrayFile
    masks: ArrayFile
    conditions: ArrayFile

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> "_Arrays":
        """Empty files. The number of channels of a condition is known with the first one."""
        side, dtype = settings.decoder.resolution, np.dtype(f"u{settings.decoder.bits // 8}")
        return cls(
            ArrayFile(folder / "images.npy", dtype, (settings.decoder.channels, side, side)),
            ArrayFile(folder / "masks.npy", np.dtype("u1"), (1, side, side), missing=UNKNOWN),
            ArrayFile(folder / "conditions.npy", dtype, None, missing=0),
        )

    def append(self, images: ndarray, mask: ndarray | None, condition: ndarray | None) -> None:
        """One slice of each; None where it has none."""
        for file, value in ((self.images, images), (self.masks, mask), (self.conditions, condition)):
            file.append(value)

    def cut(self, count: int) -> None:
        """Take back all but the first `count` slices."""
        for file in (self.images, self.masks, self.conditions):
            file.cut(count)

    def finish(self) -> str:
        """Make the files whole; returns the digest of all that they hold."""
        return digest([file.finish() for file in (self.images, self.masks, self.conditions)])

    def __enter__(self) -> "_Arrays":
        return self

    def __exit__(self, *exception: object) -> None:
        for file in (self.images, self.masks, self.conditions):
            file.close()


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _write_slices(
    settings: Settings, listing: Listing, arrays: _Arrays, *, progress: Say
) -> tuple[list[Slice], list[Record], list[Rejected]]:
    """Render all records into the files: the slices without their pixels, the record of each, and the rejected.

    A record that fails at any slice is taken back whole.
    """
    slices: list[Slice] = []
    owners: list[Record] = []
    kept: dict[Any, ndarray] = {}
    rejected = list(listing.rejected)
    side, count = settings.decoder.resolution, len(listing.records)
    progress(f"packing {settings.name} at {side}x{side}: {count:,} files or series from {settings.root}")
    with Progress(count, "files", say=progress) as bar:
        for record, results in _rendered(settings, listing.records):
            first = len(slices)
            try:
                for result in results:
                    arrays.append(result.pixels, result.mask, result.condition)
                    slices.append(_without_pixels(result, settings.source, kept))
                    owners.append(record)
                if len(slices) == first:
                    raise BadImage("gives no slice with these settings")
            except BadImage as reason:
                arrays.cut(first)
                del slices[first:], owners[first:]
                rejected.append(Rejected(record.path, str(reason)))
            bar.step()
    _tell_rejected(settings, rejected, total=count + len(listing.rejected), progress=progress)
    return slices, owners, rejected


def _without_pixels(rendered: Slice, source: Source, kept: dict[Any, ndarray]) -> Slice:
    """What is kept of a slice in memory, equal arrays once (`kept`). Where nobody compares, a thumbnail only says
    whether it is of one value; a CT slice of nothing but air, with or without a rim, counts as that."""
    look = normalise(rendered.thumbnail[None])[0] if source.compares else rendered.thumbnail
    if source.unit == "hu" and rendered.peak < AIR_HU:
        look = np.zeros_like(look)
    ranges = ("low", "high", "condition_low", "condition_high")
    found = {"pixels": rendered.pixels[:, :0, :0].copy()} | {name: getattr(rendered, name) for name in ranges}
    once = {name: kept.setdefault((values.shape, values.tobytes()), values) for name, values in found.items()}
    return replace(rendered, **once, mask=None, condition=None, thumbnail=look)


def _rendered(settings: Settings, records: Sequence[Record]) -> Iterator[tuple[Record, Iterator[Slice]]]:
    """Each record with its slices, in order; iterating these raises BadImage for a record that cannot be read.

    The source reads ahead on this thread, by a few slices and over the ends of records, while others render.
    """
    source, decoder = settings.source, settings.decoder
    threads = min(8, os.cpu_count() or 1)  # what is in flight is held in memory
    ahead: deque[Future[Slice] | BadImage | Record] = deque()

    def work() -> Iterator[Future[Slice] | BadImage | Record]:
        for record in records:
            yield record
            try:
                for load in source.read(record, decoder.intensity):
                    yield pool.submit(lambda load=load: render(load(), decoder, compares=source.compares))
            except BadImage as reason:
                yield reason

    def slices() -> Iterator[Slice]:
        while ahead and not isinstance(item := ahead[0], Record):
            ahead.popleft()
            look_ahead()
            try:
                if isinstance(item, BadImage):
                    raise item
                result = item.result()
            except BadImage:
                _skip(ahead, look_ahead)
                raise
            yield result

    def look_ahead() -> None:
        while len(ahead) < max(8, 2 * threads) and (item := next(waiting, None)) is not None:
            ahead.append(item)

    with strict_pillow(), ThreadPoolExecutor(threads) as pool:
        waiting = work()
        look_ahead()
        while ahead:
            record = ahead.popleft()
            look_ahead()
            assert isinstance(record, Record)
            yield record, slices()


def _skip(ahead: deque[Any], look_ahead: Any) -> None:
    """Drop what is left of the record that stands first."""
    while ahead and not isinstance(ahead[0], Record):
        ahead.popleft()
        look_ahead()


def _tell_rejected(settings: Settings, rejected: Sequence[Rejected], *, total: int, progress: Say) -> None:
    """Name the rejected files. Raises UserError when nothing is left."""
    if len(rejected) == total:
        raise UserError(
            f"{settings.name}: none of the {total:,} files in {settings.root} could be read; "
            f"the first, {settings.source.name(rejected[0].path)}: {rejected[0].reason}"
        )
    if rejected:
        progress(f"rejected {len(rejected):,} of {total:,} files (all in prepare.json):")
    for entry in rejected[:10]:
        progress(f"  {settings.source.name(entry.path)}: {entry.reason}")


def _split(settings: Settings, records: Sequence[Record], groups: Groups, path: Path) -> tuple[Assignment, str]:
    """Assign splits, honouring the splits.csv at `path`; also returns its extended text."""
    earlier = read_assignment(path)
    files = [settings.source.name(r.path) for r in records]
    published = [r.official_split for r in records]
    assignment = assign(
        groups.patients,
        [r.label or ("" if r.domain == "target" else r.domain) for r in records],
        shares=settings.shares,
        seed=settings.seed,
        fixed=published if any(published) else None,
        earlier=[earlier.get(file, (None, None))[1] for file in files],
    )
    rows = earlier | {f: (p, s) for f, p, s in zip(files, groups.patients, assignment.splits, strict=True)}
    return assignment, format_assignment(rows)


def write_beside(path: Path, text: str) -> None:
    """Write a file whole: beside its place, then renamed."""
    beside = path.with_suffix(".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _table(
    settings: Settings, records: Sequence[Record], slices: Sequence[Slice], groups: Groups, assignment: Assignment
) -> dict[str, ndarray]:
    """The columns of table.npz, as Pack describes them."""
    names = sorted({r.label for r in records if r.label is not None})
    columns = {
        "labels": np.array([names.index(r.label) if r.label is not None else -1 for r in records], dtype=np.int64),
        "class_names": np.array(names, dtype=str),
        "patients": np.array(groups.patients),
        "files": np.array([settings.source.name(r.path) for r in records]),
        "splits": np.array(assignment.splits),
        "domains": np.array([r.domain for r in records]),
        "copies": np.zeros(len(records), dtype=np.int64),
        "low": np.stack([s.low for s in slices]),
        "high": np.stack([s.high for s in slices]),
    }
    if depth := max(len(s.condition_low) for s in slices):
        unknown = np.full(depth, np.nan, dtype=np.float32)
        for name in ("condition_low", "condition_high"):
            ends = [getattr(s, name) for s in slices]
            columns[name] = np.stack([values if len(values) else unknown for values in ends])
    return columns | table_columns(slices)


def _covariates(
    settings: Settings, records: Sequence[Record], slices: Sequence[Slice], arrays: _Arrays
) -> dict[str, ndarray]:
    """The column of data.covariates (n, k); none where nobody asks."""
    labels, read = settings.mask_labels, arrays.masks.read
    columns = [covariate_column(name, records, slices, read, mask_labels=labels) for name in settings.covariates]
    return {"covariates": np.stack(columns, axis=1)} if columns else {}


def _append_copies(
    arrays: _Arrays, table: dict[str, ndarray], copies: Copies, *, seed: int, bits: int, progress: Say
) -> dict[str, ndarray]:
    """Write the transformed copies of the training images behind all slices; returns the longer table."""
    import torch

    from medsynth.augment.offline import copies as transformed

    chosen = np.flatnonzero((table["splits"] == "train") & (table["domains"] == "target"))
    progress(f"writing {copies.count:,} augmented copies of each of {len(chosen):,} training images")
    rows: list[int] = []
    with Progress(len(chosen), "images", say=progress) as bar:
        for first in range(0, len(chosen), COPIED):
            part = chosen[first : first + COPIED]
            views = {
                name: torch.from_numpy(pixels) if name == "mask" else to_float(torch.from_numpy(pixels))
                for name, file in (("image", arrays.images), ("mask", arrays.masks), ("condition", arrays.conditions))
                if (pixels := file.read(part)) is not None
            }
            for changed in transformed(
                views, augment=copies.augment, flips=copies.flips, copies=copies.count, seed=seed, first=first
            ):
                _append_views(arrays, changed, bits=bits)
                rows += part.tolist()
            bar.step(len(part))
    numbers = np.concatenate([np.repeat(np.arange(1, copies.count + 1), len(chosen[i : i + COPIED]))
                              for i in range(0, len(chosen), COPIED)])  # fmt: skip
    longer = {name: _longer(column, rows) for name, column in table.items() if name != "class_names"}
    longer["copies"][len(table["copies"]) :] = numbers
    return longer | {"class_names": table["class_names"]}


def _append_views(arrays: _Arrays, views: Mapping[str, Any], *, bits: int) -> None:
    images = quantise(views["image"].numpy(), bits=bits)
    masks = views["mask"].numpy() if "mask" in views else [None] * len(images)
    conditions = quantise(views["condition"].numpy(), bits=bits) if "condition" in views else [None] * len(images)
    for image, mask, condition in zip(images, masks, conditions, strict=True):
        arrays.append(image, mask, condition)


def _longer(column: ndarray, rows: Sequence[int]) -> ndarray:
    return np.concatenate([column, column[np.asarray(rows, dtype=np.int64)]])


def _check_written(partial: Path, settings: Settings, looks: Looks) -> None:
    """Read the table back. Raises UserError when a patient or an image stands in two splits."""
    with np.load(partial / "table.npz", allow_pickle=False) as table:
        original = table["copies"] == 0
        splits, patients = table["splits"][original].tolist(), table["patients"][original].tolist()
        strays = sorted(set(table["splits"][~original]) - {"train"})
    leaks = check_leaks(splits, patients, looks.digests, looks.flat)
    if leaks or strays:
        what = leaks[0] if leaks else "an augmented copy"
        raise UserError(f"{settings.name}: {what} stands in two splits ({len(leaks):,} such); nothing was kept")


def _facts(
    settings: Settings, table: dict[str, ndarray], slices: Sequence[Slice], *, key: str, content: str
) -> dict[str, Any]:
    """The content of pack.json."""
    labels, class_names = table["labels"].tolist(), table["class_names"].tolist()
    decoder = settings.decoder
    provides = ["image"]
    if class_names and min(labels) >= 0:
        provides.append("label")
    if all(s.labels is not None and UNKNOWN not in s.labels for s in slices):
        provides.append("mask")
    if all(len(s.condition_low) for s in slices) or "condition" in table["domains"]:
        provides.append("condition")
    if settings.covariates:
        provides.append("covariates")
    values = table["covariates"].tolist() if settings.covariates else []
    domains = table["domains"].tolist() if "condition" in table["domains"] else []
    return {
        "format": FORMAT,
        "name": settings.name,
        "key": key,
        "content": digest([content, labels, class_names, table["splits"].tolist(), domains, *values]),
        "resolution": decoder.resolution,
        "channels": decoder.channels,
        "bits": decoder.bits,
        "stored": decoder.stored.config(),
        "provides": provides,
        "covariate_names": list(settings.covariates),
    }
