"""Frames of DICOM objects put together to series: in order of place, with the geometry of the volume they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from medsynth.data.dicom import Frame, Header, Stored
from medsynth.data.dicom_picture import values
from medsynth.data.intensity import Intensity, modality_unit
from medsynth.data.picture import Geometry, Picture
from medsynth.data.volume import PLANES, Upright

SAME_PLACE_MM = 0.01  # frames closer to each other lie in one plane: echoes, phases, time points
GAP = 1.5  # steps of a series; a longer one is a gap
UNEVEN = 0.02  # of a step; more is an uneven series
LPS = np.diag([-1.0, -1.0, 1.0])  # the axes of DICOM to those of RAS
UNPLACED = {"position": (0.0, 0.0, 0.0), "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}


Group = list[tuple[Header, Frame]]
"""Frames that belong together, each with the header of its object."""


@dataclass(frozen=True)
class Place:
    """Where a frame lies in its volume.

    volume: how the volume lies, whose axes are column, row and plane, and how its pictures are turned.
    number: of the frame's plane.  step: to the next plane, millimetres in RAS.
    """

    volume: Upright
    number: int
    step: tuple[float, float, float]


@dataclass(frozen=True)
class Shot:
    """One frame of a series."""

    stored: Stored
    frame: Frame
    modality: str
    place: Place | None

    def values(self, inflated: bytes | None = None) -> Float[ndarray, "h w *rgb"]:
        """As stored, in HU, signal or fractions of white. inflated: all frames of a deflated object."""
        return values(self.stored, self.frame, self.modality, inflated)

    def picture(self, codecs: Sequence[Intensity], inflated: bytes | None = None) -> Picture:
        """The upright picture. Raises BadImage."""
        found, geometry = self.values(inflated), None
        if self.place is not None:
            found, geometry = _upright(found, self.frame, self.place)
        return Picture(
            found, mode=self.stored.mode, size=(self.stored.columns, self.stored.rows), is_colour=found.ndim == 3,
            codecs=codecs, geometry=geometry,
        )  # fmt: skip


@dataclass(frozen=True)
class Series:
    """All that is read at once, in order from the first plane along the normal.

    missing: planes that seem to lack, by the usual step.  uneven: whether steps differ otherwise.
    repeated: whether planes were taken several times.
    """

    shots: tuple[Shot, ...]
    missing: int = 0
    uneven: bool = False
    repeated: bool = False

    @property
    def path(self) -> Path:
        """Its first file."""
        return self.shots[0].stored.path


def group(headers: Sequence[Header]) -> list[Group]:
    """Frames that belong together, groups in the order of their first file.

    CT, MR, PT, and NM with positions: frames of one SeriesInstanceUID (of one folder where there is none) that agree in
    size, pixel size and direction, so that a localiser is a series of its own. All others: the frames of one object.
    """
    groups: dict[tuple[object, ...], Group] = {}
    for header in headers:
        flat = header.modality == "NM" and header.frames[0].position is None
        single = flat or modality_unit(header.modality) == "grey"
        series = header.path if single else header.identity.series or header.path.parent
        form = (header.stored.rows, header.stored.columns, header.stored.samples)
        for frame in header.frames:
            like = () if single else (_rounded(frame.orientation, 2), _rounded(frame.spacing, 3))
            groups.setdefault((header.modality, series, form, *like), []).append((header, frame))
    return list(groups.values())


def _rounded(numbers: Sequence[float] | None, digits: int) -> tuple[float, ...] | None:
    # -0.0 and 0.0 are one direction
    return None if numbers is None else tuple(round(number, digits) + 0.0 for number in numbers)


def arrange(group: Sequence[tuple[Header, Frame]]) -> Series:
    """A group in order: by position along the normal, then by instance and frame number."""
    rest = [(header.number, header.path, frame.number) for header, frame in group]
    if any(frame.position is None or frame.orientation is None for _, frame in group):
        order = sorted(range(len(group)), key=lambda i: rest[i])
        return _unplaced([group[i] for i in order])
    normal = _normal(group[0][1])
    depths = np.array([np.dot(_lps(frame), normal) for _, frame in group])
    planes = _planes(depths)
    order = sorted(range(len(group)), key=lambda i: (planes[i], rest[i]))
    return _placed([group[i] for i in order], [planes[i] for i in order], np.sort(depths), normal)


def _lps(frame: Frame) -> Float[ndarray, "3"]:
    return np.array(frame.position, dtype=np.float64)


def _normal(frame: Frame) -> Float[ndarray, "3"]:
    row, column = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    return np.cross(row, column)


def _planes(depths: Float[ndarray, " n"]) -> list[int]:
    """The number of the plane that each frame lies in."""
    order = np.argsort(depths, kind="stable")
    planes = np.empty(len(depths), dtype=np.int64)
    planes[order] = np.cumsum(np.diff(depths[order], prepend=depths[order[0]]) > SAME_PLACE_MM)
    return planes.tolist()


def _unplaced(group: Sequence[tuple[Header, Frame]]) -> Series:
    """Frames without a position; those with a pixel size are given the origin and an axial direction for its sake."""
    shots = []
    for header, frame in group:
        place = None
        if frame.spacing is not None:
            frame = replace(frame, **UNPLACED)
            step = (0.0, 0.0, frame.thickness or 1.0)
            place = Place(_lying(_affine(frame, step), header.stored, 1), 0, step)
        shots.append(Shot(header.stored, frame, header.modality, place))
    return Series(tuple(shots))


def _placed(
    group: Sequence[tuple[Header, Frame]], planes: Sequence[int], depths: Float[ndarray, " n"],
    normal: Float[ndarray, "3"],
) -> Series:  # fmt: skip
    firsts = [planes.index(plane) for plane in range(planes[-1] + 1)]
    places = np.stack([LPS @ _lps(group[i][1]) for i in firsts])  # (planes, 3)
    if len(firsts) == 1:
        steps = (LPS @ normal * (group[0][1].thickness or 1.0))[None]
    else:
        steps = np.diff(places, axis=0, append=(2 * places[-1] - places[-2])[None])
    first, stored = group[0][1], group[0][0].stored
    whole = _affine(first, steps[0] if len(firsts) == 1 else (places[-1] - places[0]) / (len(firsts) - 1))
    volume = _lying(whole, stored, len(firsts))
    shots = tuple(
        Shot(header.stored, frame, header.modality, _place(volume, plane, steps[plane], frame))
        for (header, frame), plane in zip(group, planes, strict=True)
    )
    missing, uneven = _gaps(np.diff(depths)[np.diff(depths) > SAME_PLACE_MM])
    return Series(shots, missing, uneven, repeated=len(firsts) < len(group))


def _place(volume: Upright, plane: int, step: Float[ndarray, "3"], frame: Frame) -> Place | None:
    x, y, z = step.tolist()
    return Place(volume, plane, (x, y, z)) if frame.spacing is not None else None


def _gaps(steps: Float[ndarray, " n"]) -> tuple[int, bool]:
    """How many planes lack between others, and whether the remaining steps differ."""
    if not len(steps):
        return 0, False
    usual = float(np.median(steps))
    in_steps = steps / usual
    missing = int(np.sum(np.rint(in_steps[in_steps > GAP]) - 1))
    return missing, bool((np.abs(in_steps[in_steps <= GAP] - 1) > UNEVEN).any())


def _affine(frame: Frame, step: Sequence[float] | Float[ndarray, "3"]) -> Float[ndarray, "4 4"]:
    """(column, row, plane, 1) to millimetres in RAS, with `step` as the third column. PS3.3 C.7.6.2.1.1."""
    columns, rows = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = frame.spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = LPS @ columns * between_columns, LPS @ rows * between_rows
    affine[:3, 2], affine[:3, 3] = step, LPS @ _lps(frame)
    return affine


def _lying(affine: Float[ndarray, "4 4"], stored: Stored, planes: int) -> Upright:
    """Pictures are the planes of the volume, whichever of the patient's they come nearest to."""
    from nibabel.orientations import io_orientation

    plane = next(name for name, axis in PLANES.items() if axis == io_orientation(affine)[2, 0])
    return Upright.lying((stored.columns, stored.rows, planes), affine, plane)


def _upright(
    found: Float[ndarray, "h w *rgb"], frame: Frame, place: Place
) -> tuple[Float[ndarray, "y x *rgb"], Geometry]:
    """The picture as radiologists hang it, and where it lies: its own position, whatever the steps of the series."""
    volume = place.volume
    layers = [found] if found.ndim == 2 else [found[..., layer] for layer in range(found.shape[-1])]
    turned = [np.ascontiguousarray(volume.picture(layer.T)) for layer in layers]
    affine = replace(volume, affine=_affine(frame, place.step)).geometry(0).affine
    geometry = Geometry(affine, volume.affine, volume.shape, place.number)
    return turned[0] if found.ndim == 2 else np.stack(turned, axis=-1), geometry
