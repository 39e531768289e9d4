"""Volumes with a place in the patient: opening their files, and cutting them into upright pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from medsynth.data.metaimage import read_metaimage
from medsynth.data.nifti import read_nifti
from medsynth.data.picture import Geometry
from medsynth.data.voxels import VolumeFile

ENDINGS = (".nii.gz", ".nii", ".mhd", ".mha", ".hdr")
DETACHED = (".raw", ".zraw", ".img", ".img.gz")  # voxels of a header that lies beside them
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The axis of RAS that the slices of each plane follow each other along."""


def ending(path: Path) -> str:
    """How the name of a volume ends, as in ".nii.gz"; empty for other and for hidden files."""
    name = path.name.lower()
    return next((e for e in ENDINGS if name.endswith(e) and not name.startswith(".")), "")


def stem(path: Path) -> str:
    """A volume's name without its ending."""
    return path.name[: len(path.name) - len(ending(path))]


def is_volume_part(path: Path) -> bool:
    """Whether a file is, by its name, a volume or the voxels of one."""
    return bool(ending(path)) or (path.name.lower().endswith(DETACHED) and not path.name.startswith("."))


def open_volume(path: Path) -> VolumeFile:
    """Read the header of a volume and compare it with the file. Raises BadImage with the reason.

    A last axis of 1 is no axis; a flat image is a volume of one plane. What says no orientation (qform and sform codes
    of 0, Analyze) is taken to lie as LAS, as nibabel takes it, and says so in its notes.
    """
    return (read_metaimage(path) if ending(path) in (".mhd", ".mha") else read_nifti(path)).check()


@dataclass(frozen=True)
class Upright:
    """How pictures of one plane are cut out of a volume so that they stand upright, whatever its affine.

    The stored axes nearest to the patient's are taken, nothing is resampled. An axial picture has the front of the
    patient at the top and the patient's right on the left, as radiologists look at it; a coronal one the head at the
    top and the patient's right on the left; a sagittal one the head at the top and the front on the left: rows and
    columns run to the back, left or feet. Slices come in stored order.

    axis, row, column: the stored axes along which slices follow each other, rows and columns.
    turned: of each stored axis, whether it runs to the right, front or head, so that pictures turn it round.
    """

    shape: tuple[int, int, int]
    affine: Float[ndarray, "4 4"]
    axis: int
    row: int
    column: int
    turned: tuple[bool, ...]

    @classmethod
    def of(cls, volume: VolumeFile, plane: str) -> "Upright":
        """That of a volume's "axial", "coronal" or "sagittal" pictures."""
        return cls.lying(volume.shape, volume.affine, plane)

    @classmethod
    def lying(cls, shape: tuple[int, int, int], affine: Float[ndarray, "4 4"], plane: str) -> "Upright":
        """The same for voxels that lie so, whatever file they are from."""
        from nibabel.orientations import io_orientation

        orientation = io_orientation(affine)  # of each stored axis: the nearest of RAS, and the direction
        stored = np.argsort(orientation[:, 0]).tolist()
        column, row = (axis for axis in range(3) if axis != PLANES[plane])
        turned = tuple((orientation[:, 1] > 0).tolist())
        return cls(shape, affine, stored[PLANES[plane]], stored[row], stored[column], turned)

    @property
    def slices(self) -> int:
        """How many there are."""
        return self.shape[self.axis]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a picture."""
        return self.shape[self.row], self.shape[self.column]

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres from row to row and from column to column."""
        row, column = (float(np.linalg.norm(self.affine[:3, axis])) for axis in (self.row, self.column))
        return row, column

    @property
    def pixel_mm2(self) -> float:
        """The area of a pixel, also of one whose sides are not square to each other."""
        return float(np.linalg.norm(np.cross(self.affine[:3, self.row], self.affine[:3, self.column])))

    def picture(self, stored: Shaped[ndarray, "a b"]) -> Shaped[ndarray, "h w"]:
        """A slice, whose axes are the two other stored ones in their order, as an upright view."""
        upright = stored if self.row < self.column else stored.T
        return upright[self._steps(self.row), self._steps(self.column)]

    def _steps(self, axis: int) -> slice:
        return slice(None, None, -1 if self.turned[axis] else 1)

    def geometry(self, number: int) -> Geometry:
        """Where the picture of a slice lies; `number` counts as stored."""
        indices = np.zeros((4, 4))  # (column, row, slice, 1) of the picture to indices of the volume
        for position, axis in enumerate((self.column, self.row)):
            indices[axis, position] = -1 if self.turned[axis] else 1
            indices[axis, 3] = self.shape[axis] - 1 if self.turned[axis] else 0
        indices[self.axis, 2], indices[self.axis, 3], indices[3, 3] = 1, number, 1
        return Geometry(self.affine @ indices, self.affine, self.shape, number)

    def depth(self, number: int) -> float:
        """How far down a slice lies, 0 to 1: from the head, the front or the patient's right."""
        from_start = (number + 0.5) / self.slices
        return 1 - from_start if self.turned[self.axis] else from_start

    def within(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """Where first ... last - 1 of a stored axis lie in upright pictures, again with the end behind it."""
        return (self.shape[axis] - last, self.shape[axis] - first) if self.turned[axis] else (first, last)
