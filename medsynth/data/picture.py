"""One slice as a source hands it over, before it is resized and packed, and where it lies in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from medsynth.data.intensity import Intensity

UNKNOWN = 255  # in a mask: nobody has said what this pixel is


class BadImage(Exception):
    """A file that cannot become slices; the message is the reason, for `rejected` in prepare.json."""


@dataclass(frozen=True)
class Geometry:
    """Where a slice lies, in float64 as the file says it, so that an export can put it back exactly.

    affine: takes (column, row, 0, 1) of the picture to millimetres in RAS; its third column is the step to the next
        slice of the volume.
    source_affine: voxel indices of the stored volume to millimetres in RAS.  source_shape: voxels of the stored volume.
    number: the slice's index along its axis of the stored volume.
    """

    affine: Float[ndarray, "4 4"]
    source_affine: Float[ndarray, "4 4"]
    source_shape: tuple[int, int, int]
    number: int

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from row to row, from column to column, and from slice to slice."""
        column, row, step = (float(np.linalg.norm(self.affine[:3, axis])) for axis in range(3))
        return row, column, step

    @property
    def orientation(self) -> str:
        """Where the axes of the stored volume point, as in "LPS"."""
        from nibabel.orientations import aff2axcodes

        return "".join(code or "?" for code in aff2axcodes(self.source_affine))

    def shifted(self, *, row: float, column: float) -> "Geometry":
        """The geometry of a picture cut out of this one whose first pixel is (row, column) here."""
        affine = self.affine.copy()
        affine[:, 3] = self.affine @ np.array([column, row, 0.0, 1.0])
        return replace(self, affine=affine)


@dataclass(frozen=True)
class Picture:
    """A slice at full size, upright (the first row is the head's or the front's end), in the source's unit.

    values: (h, w), or (h, w, c) with c = 3 for colour and the number of modalities otherwise.
    codecs: one a channel, fitted over the whole volume; empty: fitted to these values.
    mask: label values; UNKNOWN where nobody said.  condition: what `values` are to be made from in translation.
    mode: pixel type as stored ("L", "RGB", "int16").  size: (width, height) as stored.  frames: pictures in the file.
    """

    values: Float[ndarray, "h w *c"]
    mode: str
    size: tuple[int, int]
    is_colour: bool = False
    codecs: Sequence[Intensity] = ()
    mask: UInt8[ndarray, "h w"] | None = None
    condition: Float[ndarray, "h w *d"] | None = None
    condition_codecs: Sequence[Intensity] = ()
    geometry: Geometry | None = None
    frames: int = 1
    notes: Sequence[str] = field(default=())
