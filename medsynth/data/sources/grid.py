"""The files of one patient that lie voxel on voxel, read together plane by plane."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from medsynth.data.decode import MIN_SIDE
from medsynth.data.fingerprint import AIR_HU
from medsynth.data.picture import UNKNOWN, BadImage
from medsynth.data.volume import Upright, open_volume
from medsynth.data.voxels import VolumeFile, by

SAME_PLACE = 0.5  # voxels by which two files on one grid may lie apart: up to there, equal indices are the nearest
HELD = 1.2  # volumes of the largest file's size that may be held, where slices lie across the order of the files
WHOLE = 1e-3  # how far from a whole number a label may lie, for files that store labels scaled

Planes = tuple[Shaped[ndarray, "_ _"], ...]


@dataclass(frozen=True)
class Volume:
    """The paths of a record, all on one grid: one a channel, those of the condition, and the mask's."""

    images: tuple[Path, ...]
    mask: Path | None = None
    condition: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Grid:
    """The files of a Volume, opened. `record` is the path that rejected files are named by."""

    record: Path
    images: tuple[VolumeFile, ...]
    condition: tuple[VolumeFile, ...]
    mask: VolumeFile | None
    upright: Upright

    @classmethod
    def open(cls, record: Path, volume: Volume, plane: str) -> "Grid":
        """Read all headers. Raises BadImage where one is bad or the files do not lie on one grid."""
        opened = {}
        for path in (*volume.images, *volume.condition, *((volume.mask,) if volume.mask else ())):
            with _naming(path, record):
                opened[path] = open_volume(path)
                _check_place(opened[path], opened[volume.images[0]])
        upright = Upright.of(opened[volume.images[0]], plane)
        if min(upright.size) < MIN_SIDE:
            raise BadImage(f"{plane} slices have {upright.size[1]}x{upright.size[0]} pixels: they hold no picture")
        images, condition = (tuple(opened[path] for path in paths) for paths in (volume.images, volume.condition))
        return cls(record, images, condition, opened[volume.mask] if volume.mask else None, upright)

    @property
    def pictures(self) -> tuple[VolumeFile, ...]:
        """The files of images and condition."""
        return *self.images, *self.condition

    @property
    def notes(self) -> tuple[str, ...]:
        """What the headers of the images say that a person should know."""
        return tuple(dict.fromkeys(note for file in self.pictures for note in file.notes))

    @contextmanager
    def naming(self, file: VolumeFile) -> Iterator[None]:
        """What is bad is said of this file, unless the record bears its name."""
        with _naming(file.path, self.record):
            yield

    def planes(self, numbers: Sequence[int], unit: str) -> Iterator[tuple[int, Planes]]:
        """The numbered slices, as stored, of each of `pictures` and the mask, whose labels are uint8.

        Raises BadImage for damage, and in the end for a file that showed nothing: one value, or only air in HU.
        """
        contents = [_Content(file, unit) for file in self.pictures]
        if self.upright.axis == 2:
            yield from self._slabs(numbers, contents)
        else:
            largest = max(file.bytes for file in self.pictures)
            held = sum(file.bytes for file in self.pictures) + (math.prod(self.upright.shape) if self.mask else 0)
            share = len(numbers) / self.upright.slices
            for part in np.array_split(numbers, math.ceil(share * held / (HELD * largest))):
                yield from self._block(part.tolist(), contents)
        for content in contents:
            with self.naming(content.file):
                content.check()

    def _slabs(self, numbers: Sequence[int], contents: Sequence["_Content"]) -> Iterator[tuple[int, Planes]]:
        """Slices that follow each other in the files."""
        wanted = frozenset(numbers)
        images = [self._slabs_of(content.file, wanted, content) for content in contents]
        masks = [self._labels(self.mask, wanted)] if self.mask else []
        for together in zip(*images, *masks, strict=True):
            yield together[0][0], tuple(stored for _, stored in together)

    def _slabs_of(
        self, file: VolumeFile, wanted: frozenset[int], content: "_Content"
    ) -> Iterator[tuple[int, Shaped[ndarray, "x y"]]]:
        with self.naming(file):
            for number, stored in file.slabs(wanted):
                content.see(stored)
                yield number, stored

    def _labels(self, mask: VolumeFile, wanted: frozenset[int]) -> Iterator[tuple[int, UInt8[ndarray, "x y"]]]:
        with self.naming(mask):
            for number, stored in mask.slabs(wanted):
                yield number, labels_of(mask, stored)

    def _block(self, numbers: Sequence[int], contents: Sequence["_Content"]) -> Iterator[tuple[int, Planes]]:
        """Slices that lie across the files: all files are read once and the part of these slices is kept.

        What is yielded is a copy, so that the block is freed before the next one is read.
        """
        x, y, z = self.upright.shape
        kept = (len(numbers), z, x + y - self.upright.shape[self.upright.axis])
        types = [*(content.file.dtype for content in contents), *([np.dtype(np.uint8)] if self.mask else [])]
        blocks = [np.empty(kept, dtype) for dtype in types]
        for k, planes in self._slabs(range(z), contents):
            for block, stored in zip(blocks, planes, strict=True):
                block[:, k] = stored[numbers, :] if self.upright.axis == 0 else stored[:, numbers].T
        for i, number in enumerate(numbers):
            yield number, tuple(block[i].copy().T for block in blocks)


@contextmanager
def _naming(path: Path, record: Path) -> Iterator[None]:
    try:
        yield
    except BadImage as reason:
        raise reason if path == record else BadImage(f"{path.name}: {reason}") from reason


def _check_place(file: VolumeFile, first: VolumeFile) -> None:
    """Raises BadImage unless each voxel of a file lies nearest to the one of the first that has its indices.

    Files that were resampled apart differ by parts of a voxel, as the masks of DeepMedic's BraTS examples at 2 mm do.
    """
    if file.shape != first.shape:
        raise BadImage(f"its {by(file.shape)} voxels are not the {by(first.shape)} of {first.path.name}")
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*first.shape, 1]
    offsets = (file.affine - first.affine) @ corners.T
    if np.abs(np.linalg.solve(first.affine, offsets)).max() > SAME_PLACE + WHOLE:
        apart = np.linalg.norm(offsets[:3], axis=0).max()
        raise BadImage(f"lies up to {apart:,.1f} mm from where {first.path.name} lies: their affines differ")


def labels_of(file: VolumeFile, stored: Shaped[ndarray, "x y"]) -> UInt8[ndarray, "x y"]:
    """A plane of a mask as labels 0 ... 254. Raises BadImage for other values."""
    if file.slope != 1 or file.inter != 0:
        stored = file.values(stored)
    if stored.dtype.kind == "f":
        whole = np.rint(stored)
        if not (np.isfinite(stored).all() and np.abs(stored - whole).max() <= WHOLE):
            raise BadImage("its labels are not whole numbers")
        stored = whole
    if stored.min() < 0 or stored.max() >= UNKNOWN:
        raise BadImage(
            f"holds labels from {stored.min():g} to {stored.max():g}: 0 to {UNKNOWN - 1} are read, so 1 for 255"
        )
    return stored.astype(np.uint8, copy=False)


class _Content:
    """Whether a file shows anything: two values, and in HU one above air. Looks at no more planes than it takes."""

    def __init__(self, file: VolumeFile, unit: str) -> None:
        self.file, self.least = file, AIR_HU if unit == "hu" else -math.inf
        self.low, self.high = math.inf, -math.inf

    @property
    def is_shown(self) -> bool:
        """So far."""
        return self.high > self.low and self.high > self.least

    def see(self, stored: Shaped[ndarray, "x y"]) -> None:
        """One more plane; NaN is nothing."""
        if self.is_shown:
            return
        ends = self.file.values(np.array([np.fmin.reduce(stored, axis=None), np.fmax.reduce(stored, axis=None)]))
        self.low, self.high = (
            float(np.fmin.reduce(ends, initial=self.low)),
            float(np.fmax.reduce(ends, initial=self.high)),
        )

    def check(self) -> None:
        """Raises BadImage unless something was shown."""
        if self.high == self.low:
            raise BadImage(f"every voxel that was read is {self.low:g}")
        if not self.is_shown:
            raise BadImage(f"nothing that was read is above {self.least:g} HU: only air")
