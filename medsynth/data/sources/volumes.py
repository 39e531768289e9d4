"""What all sources of volumes share: which slices are read, how they are cut, and that no volume is held to do it."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from medsynth.data.intensity import Intensity
from medsynth.data.picture import UNKNOWN, BadImage, Picture
from medsynth.data.sources.grid import Grid, Planes, Volume
from medsynth.data.sources.source import Listing, Load, Record, Source, check_choice, walk_files
from medsynth.data.sources.survey import Findings, Profiles, survey
from medsynth.data.volume import PLANES, Upright, ending
from medsynth.errors import UserError

SLICES = ("all", "organ", "lesion", "range")
CROPS = ("none", "body", "organ")
NOT_FINITE = ("reject", "air")
SEGMENTED = ("organ", "lesion")


class Reading(TypedDict, total=False):
    """What every source of volumes can be told about reading them: see VolumeSource, which has the defaults."""

    slices: str
    slice_range: Sequence[float | int]
    min_area_mm2: float | int
    organ_labels: Sequence[int] | int | None
    lesion_labels: Sequence[int] | int
    crop: str
    margin_mm: float | int
    plane: str
    not_finite: str


class VolumeSource(Source):
    """Volumes as slices; subclasses list them, with a Volume as the `detail` of each record.

    slices: "all"; "organ" or "lesion": those that show at least min_area_mm2 of it; "range": those whose middle lies
        between two fractions of the volume, slice_range, from the head, the front or the patient's right.
    organ_labels: the mask's labels that are the organ; None: all but 0.  lesion_labels: those that are the lesion.
    crop: "body": one box for the volume around the patient; "organ": around the organ; with margin_mm on each side.
    plane: "axial", "coronal" or "sagittal"; slices come in the order of the file.
    not_finite: what NaN and infinite voxels do: "reject" the record, or, noted, become its lowest value ("air").

    A codec that must be fitted is fitted to each file's foreground. A few planes are in memory at once, or, where
    slices lie across the order of the file, 1.2 volumes of the largest file's size.
    """

    channels: Sequence[int] = (1,)

    def __init__(
        self,
        root: str | Path,
        *,
        slices: str = "all",
        slice_range: Sequence[float | int] = (0.0, 1.0),
        min_area_mm2: float | int = 0.0,
        organ_labels: Sequence[int] | int | None = None,
        lesion_labels: Sequence[int] | int = (2,),
        crop: str = "none",
        margin_mm: float | int = 0.0,
        plane: str = "axial",
        not_finite: str = "reject",
    ) -> None:
        check_choice("slices", slices, SLICES)
        check_choice("crop", crop, CROPS)
        check_choice("plane", plane, tuple(PLANES))
        check_choice("not_finite", not_finite, NOT_FINITE)
        for name, amount in (("min_area_mm2", min_area_mm2), ("margin_mm", margin_mm)):
            if not isinstance(amount, int | float) or not 0 <= amount < math.inf:
                raise UserError(f"data.{name}={amount} must be a number of at least 0")
        if len(slice_range) != 2 or not 0 <= slice_range[0] < slice_range[1] <= 1:
            raise UserError(f"data.slice_range={list(slice_range)} must be two rising fractions from 0 to 1")
        self.root = Path(root)
        self.slices, self.slice_range, self.min_area_mm2 = slices, slice_range, min_area_mm2
        organ = None if organ_labels is None else _labels("organ_labels", organ_labels)
        self.labels_of = {"organ": organ, "lesion": _labels("lesion_labels", lesion_labels)}
        self.crop, self.margin_mm, self.plane, self.not_finite = crop, margin_mm, plane, not_finite

    @abstractmethod
    def records(self) -> Listing:
        """Every volume of the layout; no header is opened. Raises UserError for a wrong layout."""

    def with_unused(self, listing: Listing) -> Listing:
        """The listing with a note on the volumes below `root` that no record uses and that are not rejected."""
        used = {entry.path for entry in listing.rejected}
        for record in listing.records:
            used |= {*record.detail.images, *record.detail.condition, record.detail.mask}
        unused = [path for path in walk_files(self.root) if ending(path) and path not in used]
        names = ", ".join(path.name for path in unused[:3]) + (", ..." if len(unused) > 3 else "")
        note = f"{len(unused):,} volumes are not used, as nothing asks for them: {names}"
        return replace(listing, notes=[*listing.notes, note]) if unused else listing

    def read(self, record: Record, intensity: Intensity) -> Iterator[Load]:
        """The slices that were asked for, in the order of the file. Raises BadImage; it names the other files."""
        volume: Volume = record.detail
        grid = Grid.open(record.path, volume, self.plane)
        profiles = self._profiles(grid)
        numbers = self._numbers(grid.upright, profiles.get(self.slices))
        is_air, is_body = self.not_finite == "air", self.crop == "body"
        found = survey(grid, intensity, unit=self.unit, is_air=is_air, is_body=is_body)
        bounds = profiles["organ"].bounds() if self.crop == "organ" else found.body
        cutter = _Cutter(grid, found, _box(grid.upright, bounds, float(self.margin_mm)))
        for number, planes in grid.planes(numbers, self.unit):
            yield partial(cutter.picture, number, planes)

    def _profiles(self, grid: Grid) -> dict[str, Profiles]:
        """Where the labels lie that slices or the box are chosen by. Raises BadImage where there are none."""
        asked = {"data.slices": self.slices, "data.crop": self.crop}
        wanted = {value: key for key, value in asked.items() if value in SEGMENTED}
        if not wanted:
            return {}
        if grid.mask is None:
            needs = ", ".join(f"{key}={value}" for key, value in asked.items() if value in SEGMENTED)
            raise BadImage(f"no segmentation beside it, which {needs} needs")
        with grid.naming(grid.mask):
            return dict(zip(wanted, Profiles.of(grid.mask, [self.labels_of[name] for name in wanted]), strict=True))

    def _numbers(self, upright: Upright, profile: Profiles | None) -> list[int]:
        """The slices that were asked for. Raises BadImage when there are none."""
        if self.slices == "all":
            return list(range(upright.slices))
        if profile is None:
            first, last = self.slice_range
            found = [number for number in range(upright.slices) if first <= upright.depth(number) <= last]
            if not found:
                raise BadImage(f"none of its {upright.slices} slices lies in data.slice_range={list(self.slice_range)}")
            return found
        areas = profile.counts[upright.axis] * upright.pixel_mm2
        found = np.flatnonzero((areas > 0) & (areas >= self.min_area_mm2)).tolist()
        if not found:
            most = f"at most {areas.max():,.0f} mm2" if areas.any() else "nothing"
            least = f" where data.min_area_mm2={self.min_area_mm2:g}" if areas.any() else ""
            labels = self.labels_of[self.slices]
            which = f" (label {' or '.join(map(str, labels))})" if labels else ""
            raise BadImage(f"its segmentation shows {most} of the {self.slices}{which} on a slice{least}")
        return found


def _labels(name: str, labels: Sequence[int] | int) -> tuple[int, ...]:
    """The labels of a mask that data.`name` says. Raises UserError for what is none."""
    found = (labels,) if isinstance(labels, int) else tuple(labels)
    if not found or not all(isinstance(label, int) and 0 < label < UNKNOWN for label in found):
        raise UserError(f"data.{name}={labels} must be labels from 1 to {UNKNOWN - 1}, as in [1, 2]")
    return found


def check_once(kind: str, target: Sequence[str], condition: Sequence[str]) -> None:
    """Raise UserError for a modality or suffix that data.target and data.condition name twice."""
    names = [*target, *condition]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(
            f"data.target={list(target)} and data.condition={list(condition)} name the {kind} {twice} more than once: "
            "each can be one channel, or what it is made from"
        )


@dataclass(frozen=True)
class _Box:
    """The part of each picture that is kept; `bottom` and `right` are behind it."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, picture: Shaped[ndarray, "h w"]) -> Shaped[ndarray, "y x"]:
        """That part."""
        return picture[self.top : self.bottom, self.left : self.right]


def _box(upright: Upright, bounds: Sequence[tuple[int, int]] | None, margin_mm: float) -> _Box:
    """The box in pictures around bounds along the stored axes, grown by the margin, inside the picture."""
    edges = []
    for axis, spacing in zip((upright.row, upright.column), upright.spacing, strict=True):
        first, last = (0, upright.shape[axis]) if bounds is None else bounds[axis]
        margin = math.ceil(margin_mm / spacing - 1e-9)
        edges += upright.within(axis, max(0, first - margin), min(upright.shape[axis], last + margin))
    return _Box(*edges)


@dataclass(frozen=True)
class _Cutter:
    """Makes pictures of planes as stored, on any thread."""

    grid: Grid
    found: Findings
    box: _Box

    def picture(self, number: int, planes: Planes) -> Picture:
        """The picture of a slice. Raises BadImage for values that are not finite, unless they become the lowest."""
        grid, images = self.grid, len(self.grid.images)
        notes = list(grid.notes)
        values = [self._values(i, number, planes[i], notes) for i in range(len(grid.pictures))]
        geometry = grid.upright.geometry(number)
        height, width = grid.upright.size
        return Picture(
            _channels(values[:images]),
            mode=grid.images[0].dtype.newbyteorder("=").name,
            size=(width, height),
            codecs=self.found.codecs[:images],
            mask=np.ascontiguousarray(self._cut(planes[-1])) if grid.mask is not None else None,
            condition=_channels(values[images:]) if grid.condition else None,
            condition_codecs=self.found.codecs[images:],
            geometry=geometry.shifted(row=float(self.box.top), column=float(self.box.left)),
            notes=tuple(notes),
        )

    def _cut(self, stored: Shaped[ndarray, "a b"]) -> Shaped[ndarray, "h w"]:
        return self.box.cut(self.grid.upright.picture(stored))

    def _values(self, i: int, number: int, stored: Shaped[ndarray, "a b"], notes: list[str]) -> Float[ndarray, "h w"]:
        file = self.grid.pictures[i]
        values = file.values(self._cut(stored))
        if file.dtype.kind != "f" or (finite := np.isfinite(stored)).all():
            return values
        fill, count = self.found.lowest[i], int(finite.size - finite.sum())
        if fill is None:
            with self.grid.naming(file):
                raise BadImage(
                    f"{count:,} voxels of slice {number} are NaN or infinite; data.not_finite=air takes them for air"
                )
        notes.append(f"{count:,} voxels that were not finite became {fill:g}")
        return np.where(np.isfinite(values), values, np.float32(fill))


def _channels(values: Sequence[Float[ndarray, "h w"]]) -> Float[ndarray, "h w *c"]:
    """One as it is, several as the last axis."""
    return values[0] if len(values) == 1 else np.stack(values, axis=-1)
