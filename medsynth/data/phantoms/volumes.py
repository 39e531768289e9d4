"""Volumes of one patient: an abdomen as CT and a head as MR in several registered contrasts, with labels."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int16, UInt8
from numpy import ndarray

from medsynth.data.phantoms import abdomen, head, trunk
from medsynth.data.phantoms.canvas import Canvas, Lattice, Plane, blur, grain, with_rician_noise
from medsynth.data.phantoms.contrasts import Contrast, Tones

AIR, OUTSIDE = -1024, -3024  # HU: the least value of a scanner, and what some write outside a round field of view


@dataclass(frozen=True)
class Volume:
    """Images of one grid; axes as `affine` (voxel indices to mm in RAS) says.

    images: by the name of the contrast, "ct" in HU.  labels: those of abdomen.py or head.py.
    """

    images: dict[str, Int16[ndarray, "x y z"]]
    labels: UInt8[ndarray, "x y z"]
    affine: Float[ndarray, "4 4"]

    def oriented(self, codes: str) -> "Volume":
        """The same volume stored with its axes pointing to `codes`, as in "LPS": voxels are moved, none is changed."""
        from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

        turn = ornt_transform(io_orientation(self.affine), axcodes2ornt(codes))
        images = {name: apply_orientation(image, turn) for name, image in self.images.items()}
        affine = self.affine @ inv_ornt_aff(turn, self.labels.shape)
        return Volume(images, apply_orientation(self.labels, turn), affine)

    def tilted(self, degrees: float) -> "Volume":
        """The same voxels lying in a scanner that was turned by `degrees` about the patient's left-right axis."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(4)
        turn[1:3, 1:3] = ((cos, -sin), (sin, cos))
        return replace(self, affine=turn @ self.affine)


def write_nifti(path: Path, values: ndarray, affine: Float[ndarray, "4 4"]) -> None:
    """Write a NIfTI-1 file, compressed if it is called so; its content is a function of the arguments alone."""
    import nibabel

    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    content = image.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0) if path.suffix == ".gz" else content)


@dataclass(frozen=True)
class Grid:
    """Axial slices from head to feet, each `columns` x `size` pixels of `side_cm` / `size`.

    centre: body point (x, y) in their middle, cm.  top, step: z of the first slice and from each to the next, cm.
    """

    size: int
    columns: int
    slices: int
    side_cm: float
    centre: tuple[float, float]
    top: float
    step: float

    def planes(self) -> list[Plane]:
        """The planes of the slices, in order."""
        levels = self.top + self.step * np.arange(self.slices)
        cut = (self.size - self.columns) // 2
        planes = [
            Plane.axial(self.size, side_cm=self.side_cm, centre=self.centre, level=float(level)) for level in levels
        ]
        return [replace(plane, x=plane.x[:, cut : cut + self.columns]) for plane in planes]

    @property
    def affine(self) -> Float[ndarray, "4 4"]:
        """Column, row and slice number to mm in RAS; a body's x, y and z point to left, back and feet."""
        pixel, first = self.side_cm / self.size, self.planes()[0]
        affine = np.diag([-10.0 * pixel, -10.0 * pixel, -10.0 * self.step, 1.0])
        affine[:3, 3] = -10.0 * float(first.x[0, 0]), -10.0 * float(first.y[0, 0]), -10.0 * self.top
        return affine


def _stacked(slices: Sequence[ndarray]) -> ndarray:
    """Slices (rows, columns) in order to voxels (column, row, slice), as files store them."""
    return np.stack(slices, axis=-1).swapaxes(0, 1)


@dataclass(frozen=True)
class Abdomen:
    """A patient lying in a CT scanner."""

    body: abdomen.Body
    fill: float  # width of the body in that of the field of view
    offset: tuple[float, float]  # of the picture's middle from the body's, in fields of view
    length_cm: float
    noise_hu: float
    table: tuple[float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator, *, has_metastases: bool) -> "Abdomen":
        """Draw a patient who is normal but for the liver, in the portal phase or (one of four) without contrast."""
        build = trunk.Build.random(rng)
        body = abdomen.Body(
            build, abdomen.Enhancement.random(rng, ("portal", "portal", "portal", "plain")),
            abdomen.Kidneys.random(rng, build, "normal"), abdomen.random_bowel(rng, build), trunk.Noises.random(rng),
            abdomen.random_metastases(rng, build) if has_metastases else (),
        )  # fmt: skip
        table = (rng.uniform(0.003, 0.012), rng.uniform(2.5, 5.0), rng.uniform(17.0, 23.0))
        offset = (rng.uniform(-0.03, 0.03), rng.uniform(-0.01, 0.05))
        return cls(body, rng.uniform(0.8, 0.94), offset, rng.uniform(19.0, 25.0), rng.uniform(8.0, 18.0), table)

    def grid(self, size: int, slices: int) -> Grid:
        """The slices, from above the liver down; their distance follows from their number."""
        side = 2.0 * self.body.build.half_width / self.fill
        centre = (self.offset[0] * side, self.offset[1] * side)
        top = self.body.build.lung_base - 7.5
        return Grid(size, size, slices, side, centre, top, self.length_cm / slices)

    def volume(self, noise: np.random.Generator, *, size: int, slices: int, is_round: bool = False) -> Volume:
        """The CT volume, `size` x `size` x `slices`; is_round: nothing was measured outside a circle (OUTSIDE)."""
        grid = self.grid(size, slices)
        images, labels = [], []
        for plane in grid.planes():
            canvas = Canvas(plane, np.full((size, size), trunk.AIR, np.float32), np.zeros((size, size), np.uint8))
            self.body.draw(canvas)
            trunk.draw_table(canvas, 0.95 * self.body.build.half_depth, self.table)
            hu = blur(canvas.image) + self.noise_hu * grain(noise, (size, size))
            hu = np.maximum(np.rint(hu), AIR)
            if is_round:
                hu[self._is_outside(size)] = OUTSIDE
            images.append(hu.astype(np.int16))
            labels.append(canvas.labels)
        return Volume({"ct": _stacked(images)}, _stacked(labels), grid.affine)

    @staticmethod
    def _is_outside(size: int) -> ndarray:
        steps = np.arange(size) + 0.5 - size / 2
        return np.hypot(steps[:, None], steps[None, :]) > size / 2


@dataclass(frozen=True)
class Frame:
    """The field of view of a head scan in cm; the head lies in the middle with its vertex `above_cm` under the top."""

    side_cm: float
    width_cm: float
    length_cm: float
    above_cm: float

    def grid(self, anatomy: head.Head, size: int) -> Grid:
        """Cubic voxels; `size` of them along the longest side in the picture."""
        pixel = self.side_cm / size
        columns, slices = (max(2, round(length / pixel)) for length in (self.width_cm, self.length_cm))
        top = -anatomy.half_height - self.above_cm
        return Grid(size, columns, slices, self.side_cm, (0.0, 0.0), top, pixel)


HEAD = Frame(side_cm=24.0, width_cm=18.0, length_cm=16.5, above_cm=1.0)  # with the skin, down to the skull base


@dataclass(frozen=True)
class Patient:
    """A head lying in an MR scanner: how bright the receiver makes it, unevenly, and how noisy it is."""

    anatomy: head.Head
    lesion: head.Lesion | None
    shading: Lattice
    unevenness: float
    gains: tuple[float, ...]  # signal per grey level, in the order of `contrasts`
    noise: float  # grey levels

    @classmethod
    def random(cls, rng: np.random.Generator, finding: head.Finding, *, atrophy: float | None = None) -> "Patient":
        """Draw a patient; atrophy: see Head, None for a random one."""
        anatomy = head.Head.random(rng)
        if atrophy is not None:
            anatomy = replace(anatomy, atrophy=atrophy)
        lesion = head.Lesion.random(rng, anatomy, finding)
        gains = tuple(float(gain) for gain in np.exp(rng.uniform(np.log(1.0), np.log(12.0), 4)))
        return cls(anatomy, lesion, Lattice.random(rng, spacing_cm=9.0, nodes=8), rng.uniform(0.03, 0.12), gains,
                   rng.uniform(1.5, 4.0))  # fmt: skip

    def volume(
        self,
        noise: np.random.Generator,
        contrasts: Sequence[Contrast],
        *,
        size: int,
        frame: Frame,
        style: Literal["head", "brain"] = "head",
    ) -> Volume:
        """The registered volumes; style: "brain" is 0 outside the meninges, as after skull stripping."""
        grid, tones = frame.grid(self.anatomy, size), Tones.of(contrasts)
        gains = np.array(self.gains[: len(contrasts)], np.float32).reshape(-1, 1, 1)
        images, labels = [], []
        for plane in grid.planes():
            section = head.Section.on(self.anatomy, plane, tones)
            if section.level > -self.anatomy.half_height:
                head.draw(section, self.anatomy, self.lesion)
            marks = section.labels * (section.inside > 0.0)
            bias = np.exp(self.unevenness * self.shading.on(plane))
            signal = gains * with_rician_noise(noise, blur(section.canvas.image) * bias, self.noise)
            if style == "brain":
                signal = signal * (marks > 0)
            images.append(np.rint(signal).astype(np.int16))
            labels.append(marks)
        layers = {name: _stacked([image[k] for image in images]) for k, name in enumerate(contrasts)}
        return Volume(layers, _stacked(labels), grid.affine)
