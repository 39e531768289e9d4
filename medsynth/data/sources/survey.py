"""What must be known of a whole volume before its first slice: where labels lie, its foreground, its body."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from medsynth.data.fingerprint import AIR_HU, DARK_SHARE
from medsynth.data.intensity import Intensity
from medsynth.data.picture import UNKNOWN, BadImage
from medsynth.data.sources.grid import Grid, labels_of
from medsynth.data.voxels import VolumeFile

SAMPLED = 2**20  # voxels at most that stand for a volume
SHARED = 0.1  # of the voxels: a value that so many have is no tissue but the background


@dataclass(frozen=True)
class Profiles:
    """How many voxels with certain labels lie in each plane across each of the three stored axes."""

    counts: tuple[Int[ndarray, " x"], Int[ndarray, " y"], Int[ndarray, " z"]]

    @classmethod
    def of(cls, mask: VolumeFile, wanted: Sequence[Sequence[int] | None]) -> "list[Profiles]":
        """One for each set of labels; None: every label above 0. Reads the mask once."""
        tables = [_table(labels) for labels in wanted]
        profiles = [Profiles(tuple(np.zeros(n, dtype=np.int64) for n in mask.shape)) for _ in wanted]  # type: ignore[arg-type]
        for number, stored in mask.slabs(range(mask.shape[2])):
            labels = labels_of(mask, stored)
            for table, profile in zip(tables, profiles, strict=True):
                shown = table[labels]
                x, y, z = profile.counts
                across = shown.sum(axis=1)
                x += across
                y += shown.sum(axis=0)
                z[number] = across.sum()
        return profiles

    def bounds(self) -> list[tuple[int, int]]:
        """First plane that shows the labels, and the one behind the last, for each axis. Raises BadImage for none."""
        found = [np.flatnonzero(counts) for counts in self.counts]
        if not found[0].size:
            raise BadImage("its segmentation shows nothing of the organ")
        return [(int(shown[0]), int(shown[-1]) + 1) for shown in found]


def _table(labels: Sequence[int] | None) -> Bool[ndarray, "256"]:
    table = np.zeros(256, dtype=bool)
    table[1:UNKNOWN] = labels is None
    table[list(labels or ())] = True
    return table


@dataclass(frozen=True)
class Sample:
    """Every `step`-th voxel of a volume along the two faster axes, and its lowest finite value, in the file's unit."""

    values: Float[ndarray, "x y z"]
    step: int
    lowest: float

    @classmethod
    def of(cls, file: VolumeFile) -> "Sample":
        """Read the volume once, a plane at a time. Raises BadImage when no voxel is finite."""
        x, y, z = file.shape
        step = math.ceil(math.sqrt(max(1.0, x * y * z / SAMPLED)))
        values = np.empty((len(range(0, x, step)), len(range(0, y, step)), z), dtype=np.float32)
        lowest = np.inf
        for number, stored in file.slabs(range(z)):
            values[..., number] = file.values(stored[::step, ::step])
            if stored.dtype.kind == "f":
                scaled = file.values(stored)
                lowest = min(lowest, np.min(scaled, where=np.isfinite(scaled), initial=np.inf))
        lowest = min(float(lowest), float(np.min(values, where=np.isfinite(values), initial=np.inf)))
        if not math.isfinite(lowest):
            raise BadImage("no voxel of it is finite")
        return cls(values, step, lowest)

    def background(self) -> float:
        """The value of what surrounds the patient: the most frequent one where a tenth of the voxels have it, as in MR
        whose surroundings were set to one value, and else the lowest."""
        finite = self.values[np.isfinite(self.values)]
        some = finite[:: max(1, finite.size >> 16)]
        values, counts = np.unique(some, return_counts=True)
        most = int(counts.argmax())
        return float(values[most]) if counts[most] >= SHARED * some.size else self.lowest

    def foreground(self) -> Float[ndarray, " n"]:
        """The finite values that are not the background. Raises BadImage when there are none."""
        background = self.background()
        found = self.values[np.isfinite(self.values) & (self.values != np.float32(background))]
        if not found.size:
            raise BadImage(f"every voxel is {background:g}")
        return found

    def body(self, unit: str) -> list[tuple[int, int]]:
        """Bounds of the largest connected part above air, in voxels, for each stored axis.

        Air: up to AIR_HU in HU, else up to DARK_SHARE of the way from the background to the 99.5th percentile of the
        foreground. Raises BadImage when all is air.
        """
        from scipy import ndimage

        dark = self.background()
        edge = AIR_HU if unit == "hu" else dark + DARK_SHARE * (float(np.percentile(self.foreground(), 99.5)) - dark)
        parts, count = ndimage.label(self.values > edge)  # type: ignore[misc]
        if count == 0:
            raise BadImage(f"no voxel is above {edge:g}: only air")
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        box = ndimage.find_objects(parts, max_label=largest)[largest - 1]
        steps = (self.step, self.step, 1)
        return [((s.start - 1) * step + 1, s.stop * step) for s, step in zip(box, steps, strict=True)]


@dataclass(frozen=True)
class Findings:
    """What was found out about the pictures' files of a Grid.

    codecs: fitted to the foreground of each, or none where the codec needs no fitting.
    lowest: the lowest finite value of each file of floats; None where nobody needs it.
    body: bounds of the patient in voxels along each stored axis; None where nobody asked.
    """

    codecs: tuple[Intensity, ...]
    lowest: tuple[float | None, ...]
    body: list[tuple[int, int]] | None


def survey(grid: Grid, intensity: Intensity, *, unit: str, is_air: bool, is_body: bool) -> Findings:
    """Read once what must be known beforehand. is_air, is_body: whether `lowest` and `body` are needed."""
    is_fitted = not _has_range(intensity)
    codecs, lowest, body = [], [], None
    for file in grid.pictures:
        wants_lowest, wants_body = is_air and file.dtype.kind == "f", is_body and file is grid.images[0]
        with grid.naming(file):
            sample = Sample.of(file) if is_fitted or wants_lowest or wants_body else None
            lowest.append(sample.lowest if sample and wants_lowest else None)
            codecs += [intensity.fit(sample.foreground())] if sample and is_fitted else []
            body = sample.body(unit) if sample and wants_body else body
    return Findings(tuple(codecs), tuple(lowest), body)


def _has_range(intensity: Intensity) -> bool:
    try:
        intensity.range()
    except ValueError:
        return False
    return True
