"""The frame of the abdomen: outline, fat, muscle wall, lungs, spine, ribs, pelvis and scanner table, in HU."""

import math
from dataclasses import dataclass

import numpy as np

from medsynth.data.phantoms.canvas import INFINITE, Canvas, Field, Lattice, Patch, Plane, Solid, band, ramp, rise

AIR, LUNG, FAT, MUSCLE, CORTICAL_BONE, TABLE = -1000.0, -850.0, -105.0, 55.0, 900.0, 800.0


@dataclass(frozen=True)
class Noises:
    """Value noise of one patient, coarse (organ outlines) to fine (texture)."""

    coarse: Lattice
    middle: Lattice
    fine: Lattice

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Noises":
        return cls(*(Lattice.random(rng, spacing_cm=s) for s in (3.2, 1.5, 0.6)))


@dataclass(frozen=True)
class Texture:
    """The noises of one patient on one slice, each (H, W) of unit variance."""

    coarse: Field
    middle: Field
    fine: Field

    @classmethod
    def on(cls, noises: Noises, plane: Plane) -> "Texture":
        return cls(noises.coarse.on(plane), noises.middle.on(plane), noises.fine.on(plane))


@dataclass(frozen=True)
class Build:
    """How a patient is built: half axes, fat and muscle thickness in cm, corner exponent, and where the bones lie."""

    half_width: float
    half_depth: float
    exponent: float
    fat: float
    muscle: float
    spine_y: float  # centre of the vertebral bodies
    lordosis: float  # how far, in cm, the spine sways
    disc_phase: float  # shift of the discs along z
    pelvis: float  # z of the iliac crests
    lung_base: float  # z of the deepest lung in the flank
    spongy: float  # HU inside bones

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Build":
        half_width = rng.uniform(13.5, 18.0)
        half_depth = half_width * rng.uniform(0.66, 0.8)
        fat = rng.uniform(0.6, 1.0) + (half_width - 13.5) * rng.uniform(0.1, 0.55)
        return cls(
            half_width, half_depth, rng.uniform(2.0, 2.4), fat, rng.uniform(1.3, 1.9),
            spine_y=0.94 * half_depth - fat - rng.uniform(6.0, 6.7), lordosis=rng.uniform(0.2, 0.9),
            disc_phase=rng.uniform(0.0, 3.4), pelvis=rng.uniform(9.0, 11.5), lung_base=rng.uniform(-9.0, -6.5),
            spongy=rng.uniform(170.0, 320.0),
        )  # fmt: skip

    def sway(self, z: Field) -> Field:
        """How far back (cm) the spine lies at level z compared with the upper lumbar spine."""
        return -self.lordosis * (np.sin(z / 9.0 - 0.6) + 0.6)

    def depth(self, plane: Plane) -> Field:
        """Distance (H, W) under the skin in cm, measured along the line to the middle of the body; negative outside."""
        waist = 1.0 - 0.06 * np.exp(-(((plane.z - self.pelvis + 3.0) / 5.0) ** 2)) + 0.05 * rise(plane.z, 12.0, 22.0)
        groove = 1.0 - 0.035 * np.exp(-((plane.x / 2.2) ** 2))
        back = np.where(plane.y > 0, 0.94 * self.half_depth, self.half_depth).astype(np.float32)
        across = (np.abs(plane.x) / (self.half_width * waist)) ** self.exponent
        along = (np.abs(plane.y) / (back * waist * np.where(plane.y > 0, groove, 1.0))) ** self.exponent
        radius = (across + along + 1e-6) ** (1.0 / self.exponent)
        return np.sqrt(plane.x**2 + plane.y**2) * (1.0 / radius - 1.0)


def draw_wall(canvas: Canvas, build: Build, depth: Field, texture: Texture) -> Field:
    """Paint skin, subcutaneous fat, the layered muscle wall and abdominal fat; return the mask of the cavity (H, W)."""
    plane, pixel = canvas.plane, canvas.plane.pixel_cm
    canvas.cover(ramp(depth / pixel + 0.5), 30.0)
    under_skin = depth - 0.25
    canvas.cover(ramp(under_skin / pixel + 0.5), FAT + 6.0 * texture.middle)
    front = rise(plane.y, -0.2 * build.half_depth, -0.8 * build.half_depth)
    in_wall = depth - build.fat * (1.0 - 0.3 * front) - 0.25 * texture.coarse * min(build.fat, 1.0)
    canvas.cover(ramp(in_wall / pixel + 0.5), MUSCLE + 8.0 * texture.fine)
    flank = rise(np.abs(plane.x), 0.55 * build.half_width, 0.8 * build.half_width) * (1.0 - front)
    for part in (0.36, 0.68):  # the fat planes between the oblique muscles
        canvas.cover(0.5 * flank * band(in_wall - part * build.muscle, 0.2), FAT)
    thickness = build.muscle * (1.0 - 0.35 * front) + 5.0 * rise(plane.z, build.pelvis, build.pelvis + 9.0)
    cavity = ramp((in_wall - thickness) / pixel + 0.5)
    strands = rise(np.abs(texture.fine), 1.6, 2.4) * 60.0
    canvas.cover(cavity, FAT + strands + 8.0 * texture.middle)
    return cavity


def draw_legs(canvas: Canvas, build: Build, texture: Texture) -> None:
    """Paint fat planes between the muscles of hip and thigh and the gap between the legs."""
    z = build.pelvis
    if canvas.plane.z.max() < z:
        return
    below = rise(canvas.plane.z, z, z + 4.0)
    canvas.cover(0.75 * below * band(texture.coarse, 0.12) * (canvas.image > 0), FAT)
    canvas.fill(Solid((0.0, 0.0, z + 27.0), (2.4, INFINITE, 9.0)), FAT, warp=0.1 * texture.coarse)
    canvas.fill(Solid((0.0, 0.0, z + 28.5), (1.5, INFINITE, 8.5)), AIR)


def draw_lungs(canvas: Canvas, build: Build, cavity: Field) -> None:
    """Paint the lung bases that hang beside the diaphragm; liver and spleen are painted over their middle later."""
    z = canvas.plane.z
    if z.min() > build.lung_base + 3.0:
        return
    flank = np.abs(canvas.plane.x) / build.half_width
    dome = 1.0 - (np.abs(flank - 0.45) / 0.5) ** 2
    base = build.lung_base - 5.5 * np.maximum(dome, -0.3) + 0.35 * (canvas.plane.y - 3.0)
    canvas.cover(cavity * ramp((base - z) / 0.3), LUNG)
    canvas.cover(cavity * band(base - z, 0.45), MUSCLE)  # the diaphragm
    heart = Solid((2.5, -4.0, build.lung_base - 10.0), (5.5, 5.0, 6.0))
    canvas.fill(heart, 130.0, inside=cavity)


def bone(canvas: Canvas, solid: Solid, spongy: float, texture: Texture, *, warp: Field | None = None) -> None:
    """Paint a bone: a white shell 3.5 mm thick around a spongy inside of `spongy` HU."""
    thin = min(solid.radii)

    def shade(patch: Patch) -> Field:
        shell = ramp((patch.radius - 1.0) * thin / 0.35 + 1.5)
        inside = spongy + 60.0 * texture.fine[patch.window]
        return inside + shell * (CORTICAL_BONE - inside)

    canvas.fill(solid, shade, warp=warp)


def draw_spine(canvas: Canvas, build: Build, texture: Texture) -> None:
    """Paint back muscles, psoas, vertebral bodies with discs, and the arches, through the swayed plane."""
    canvas = canvas.on(canvas.plane.shifted_back(build.sway(canvas.plane.z)))
    y, z = build.spine_y, canvas.plane.z
    for side in (-1.0, 1.0):
        canvas.fill(Solid((side * 2.9, y + 4.3, 0.0), (2.7, 1.9, INFINITE)), MUSCLE + 3.0, warp=0.08 * texture.middle)
        canvas.fill(Solid((side * 6.4, y + 3.0, 6.0), (2.0, 1.2, 9.0)), MUSCLE, warp=0.1 * texture.middle)
        psoas = Solid((side * 3.9, y + 0.2, 9.5), (2.1, 2.2, 11.5), lean=(side * 0.17, -0.12))
        canvas.fill(psoas, MUSCLE + 4.0, warp=0.05 * texture.middle)
    phase = np.mod(z + build.disc_phase, 3.4)
    in_body = ramp((1.25 - np.abs(phase - 1.7)) / canvas.plane.pixel_cm + 0.5)  # 1 in a vertebra, 0 in a disc
    endplate = in_body * ramp((np.abs(phase - 1.7) - 0.85) / 0.3)
    upper = 1.0 - 0.25 * rise(z, 4.0, -14.0)
    width, depth = float(2.5 * upper.mean()), float(1.75 * upper.mean())

    def vertebra(patch: Patch) -> Field:
        rows = patch.window[0] if z.shape[0] > 1 else slice(None)
        shell = np.maximum(ramp((patch.radius - 1.0) * depth / 0.35 + 1.4), endplate[rows])
        inside = build.spongy + 50.0 * texture.fine[patch.window]
        bony = inside + shell * (CORTICAL_BONE - inside)
        return 90.0 + in_body[rows] * (bony - 90.0)

    above_sacrum = canvas.spread(rise(z, build.pelvis + 3.4, build.pelvis + 2.8))
    canvas.fill(Solid((0.0, y, 0.0), (width, depth, INFINITE)), vertebra, inside=above_sacrum)
    _draw_arch(canvas, y + depth, build, texture, in_body)


def _draw_arch(canvas: Canvas, y: float, build: Build, texture: Texture, in_body: Field) -> None:
    """Paint one arch a vertebra behind `y`: laminae around the canal, transverse and spinous processes."""
    z = canvas.plane.z
    first = math.floor((float(z.min()) + build.disc_phase - 1.7) / 3.4)
    last = math.ceil((float(z.max()) + build.disc_phase - 1.7) / 3.4)
    for middle in (3.4 * k + 1.7 - build.disc_phase for k in range(first, last + 1)):
        if middle > build.pelvis + 6.0:
            continue
        bone(canvas, Solid((0.0, y + 2.7, middle + 0.7), (0.42, 1.6, 1.3)), 500.0, texture)
        for side in (-1.0, 1.0):
            process = Solid((side * 2.6, y + 1.3, middle), (2.3, 0.45, 0.75), turn=side * 0.3)
            bone(canvas, process, 500.0, texture)
            place = (side * 1.15, y + 1.6, middle + 0.6)
            lamina = Solid(place, (0.5, 1.2, 1.9), turn=side * 0.6, lean=(side * 0.15, 0.0))
            bone(canvas, lamina, 500.0, texture)
    canvas.fill(Solid((0.0, y + 0.75, 0.0), (0.95, 0.8, INFINITE)), 20.0)
    canvas.fill(Solid((0.0, y + 0.75, 0.0), (0.55, 0.45, INFINITE)), 48.0)


def draw_ribs(canvas: Canvas, build: Build, depth: Field) -> None:
    """Paint ribs that run down from back to front inside the wall: arcs in axial, dots in coronal slices."""
    plane = canvas.plane
    forward = (build.half_depth - plane.y) / (2.0 * build.half_depth)
    along = plane.z - 9.0 * forward + 1.0 + 0.12 * np.abs(plane.x)
    if float(along.min()) > 0.0:
        return
    number = np.floor(along / 3.1)
    thick = np.abs(along - 3.1 * number - 1.55)
    ends = rise(forward + 0.13 * number, 0.45, 0.38) * (number < 0)  # upper ribs reach further forward
    ends = ends * rise(forward, 0.9, 0.8) * rise(np.abs(plane.x), 2.5, 3.5)
    middle = build.fat + 0.55 * build.muscle
    radius = np.sqrt((thick / 0.75) ** 2 + ((depth - middle) / 0.48) ** 2)
    mask = ends * ramp((1.0 - radius) * 0.5 / plane.pixel_cm + 0.5)
    canvas.cover(mask, 350.0 + 600.0 * ramp((radius - 0.45) / 0.3))


def draw_pelvis(canvas: Canvas, build: Build, texture: Texture) -> None:
    """Paint sacrum, iliac wings, hip sockets, femora and pubic bones."""
    if canvas.plane.z.max() < build.pelvis - 1.0:
        return
    y, z, wide = build.spine_y, build.pelvis, build.half_width / 15.5
    taper = canvas.spread(0.09 * (canvas.plane.z - z - 5.0)) + 0.05 * texture.middle
    sacrum = Solid((0.0, y + 1.8, z + 6.4), (3.9, 1.8, 5.0), lean=(0.0, 0.3))
    bone(canvas, sacrum, build.spongy - 40.0, texture, warp=taper)
    bony = canvas.spread(canvas.image > 150.0)
    for side, level in ((-1.0, 5.0), (1.0, 5.0), (-0.8, 7.4), (0.8, 7.4)):  # foramina of the sacral nerves
        canvas.fill(Solid((side * 1.7, 0.0, z + level), (0.42, INFINITE, 0.32)), 60.0, inside=bony)
    for side in (-1.0, 1.0):
        parts = (
            Solid((8.3, y - 1.0, z + 5.4), (0.85, 5.5, 6.2), turn=-0.35, lean=(-0.55, -0.05)),
            Solid((5.3, y + 2.6, z + 5.5), (1.0, 1.9, 4.2), lean=(-0.35, 0.1)),
            Solid((8.0, y - 2.5, z + 12.6), (2.0, 3.0, 3.2), lean=(-0.2, 0.0)),
            Solid((4.2, y - 5.5, z + 16.0), (3.6, 1.1, 1.0)),
            Solid((5.0, y + 0.5, z + 17.5), (1.0, 2.2, 3.4), lean=(0.1, 0.0)),
        )
        femur = (
            Solid((11.6, y - 1.0, z + 16.0), (2.6, 1.6, 1.5), lean=(0.5, 0.0)),
            Solid((12.4, y - 0.5, z + 23.0), (1.5, 1.5, 9.0), lean=(-0.1, 0.0)),
        )
        for solid in (*parts, *femur):
            (px, py, pz) = solid.centre
            placed = Solid((px * wide, py, pz), solid.radii, solid.turn, solid.lean)
            bone(canvas, placed if side > 0 else placed.mirrored(), build.spongy, texture)
        head = Solid((side * 9.2 * wide, y - 2.2, z + 13.6), (2.5, 2.5, 2.5))
        canvas.fill(head.scaled(1.13), 70.0)
        bone(canvas, head, build.spongy + 80.0, texture)


def draw_table(canvas: Canvas, back: float, shape: tuple[float, float, float]) -> None:
    """Paint the table of an axial slice under y = `back`; `shape`: hollow (1/cm), thickness and half width in cm."""
    hollow, thickness, half = shape
    x, y = np.abs(canvas.plane.x), canvas.plane.y - back
    pixel = canvas.plane.pixel_cm
    width = rise(x, half + 0.3, half)
    canvas.cover(width * _line(y + hollow * x**2, pixel), TABLE)
    canvas.cover(rise(x, 0.62 * half, 0.6 * half) * _line(y - thickness, pixel), TABLE)
    strut = y - thickness + (x - 0.61 * half) * 0.75
    canvas.cover(width * (x > 0.6 * half) * (y > 0.6 - hollow * x**2) * _line(strut, pixel), TABLE)


def _line(distance: Field, pixel_cm: float) -> Field:
    return ramp((max(0.14, 0.7 * pixel_cm) - np.abs(distance)) / pixel_cm + 0.5)
