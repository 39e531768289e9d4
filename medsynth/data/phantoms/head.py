"""The head as MRI shows it: scalp, skull, folded cortex, ventricles, skull base and lesions, in several contrasts.

Grey levels are on the scale of an 8-bit image (0..255) for an average patient; the sizes of offsets and textures are
those of t1ce.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medsynth.data.phantoms.canvas import INFINITE, Canvas, Field, Lattice, Patch, Plane, Solid, band, ramp, rise
from medsynth.data.phantoms.contrasts import Tones

Finding = Literal["glioma", "meningioma", "notumor", "pituitary"]
FLUID, GREY, WHITE, NECROSIS, OEDEMA, TUMOUR = 1, 2, 3, 4, 5, 6  # labels; 0 is all that is not within the meninges
SELLA = (0.0, -2.2, 5.0)  # where the pituitary lies, cm


@dataclass(frozen=True)
class Head:
    """One patient: half axes and layers in cm, folding of the cortex, size of the ventricles, value noise."""

    half_width: float
    half_length: float
    half_height: float
    scalp: float
    skull: float
    folds: int  # sulci round the circumference
    atrophy: float  # width of sulci and ventricles, about 1
    fat: float  # brightness of fat, about 1
    contrast: float  # white matter over grey matter, about 1
    coarse: Lattice
    middle: Lattice
    fine: Lattice

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Head":
        width = rng.uniform(7.0, 8.0)
        return cls(
            half_width=width,
            half_length=width * rng.uniform(1.18, 1.34),
            half_height=rng.uniform(8.8, 9.6),
            scalp=rng.uniform(0.5, 0.85),
            skull=rng.uniform(0.5, 0.75),
            folds=int(rng.integers(20, 28)),
            atrophy=rng.uniform(0.7, 1.5),
            fat=rng.uniform(0.75, 1.2),
            contrast=rng.uniform(0.8, 1.4),
            coarse=Lattice.random(rng, spacing_cm=3.0),
            middle=Lattice.random(rng, spacing_cm=1.3),
            fine=Lattice.random(rng, spacing_cm=0.5),
        )

    def depth(self, plane: Plane) -> Field:
        """Distance (H, W) under the skin in cm along the line to the middle of the slice; negative outside."""
        height = math.sqrt(max(0.02, 1.0 - (min(float(plane.z[0, 0]), 0.0) / self.half_height) ** 2))
        narrow = 1.0 - 0.07 * rise(-plane.y, 0.0, self.half_length)
        across = np.abs(plane.x) / (self.half_width * height * narrow)
        along = np.abs(plane.y) / (self.half_length * height)
        radius = (across**2.2 + along**2.2 + 1e-6) ** (1 / 2.2)
        return np.sqrt(plane.x**2 + plane.y**2) * (1.0 / radius - 1.0)


@dataclass(frozen=True)
class Section:
    """One slice of a head while it is painted: canvas, labels, tones, noises, depth under scalp and skull (H, W)."""

    canvas: Canvas
    labels: NDArray[np.uint8]
    tones: Tones
    level: float
    coarse: Field
    middle: Field
    fine: Field
    depth: Field  # under the skin, cm
    inside: Field  # under the skull, cm

    @classmethod
    def on(cls, head: Head, plane: Plane, tones: Tones) -> "Section":
        """An empty section through `plane`: a layer of the image for each contrast of `tones`, and labels."""
        coarse = head.coarse.on(plane)
        depth = head.depth(plane) + 0.06 * coarse
        layers = np.zeros((np.size(tones.fluid), *depth.shape), np.float32)
        labels = np.zeros(depth.shape, np.uint8)
        return cls(
            Canvas(plane, layers, labels), labels, tones, float(plane.z[0, 0]),
            coarse, head.middle.on(plane), head.fine.on(plane), depth, depth - head.scalp - head.skull,
        )  # fmt: skip

    def over(self, distance: Field) -> Field:
        """The soft mask of `distance` > 0 (cm)."""
        return ramp(distance / self.canvas.plane.pixel_cm + 0.5)


def draw_shell(section: Section, head: Head) -> None:
    """Paint skin, scalp fat, the dark skull with its marrow, and the enhancing dura around fluid."""
    canvas, tones = section.canvas, section.tones
    fat = head.fat * tones.fat
    canvas.cover(section.over(section.depth), tones.skin)
    canvas.cover(section.over(section.depth - 0.18), fat + 14.0 * section.middle)
    if section.level > 0:  # the temporal muscle
        temple = rise(np.abs(canvas.plane.x), 4.5, 6.0) * rise(canvas.plane.y, 2.0, 0.0)
        canvas.cover(temple * section.over(section.depth - 0.4), tones.muscle)
    under = section.depth - head.scalp
    canvas.cover(section.over(under), tones.skull)
    marrow = band(under - 0.5 * head.skull, 0.22) * ramp(0.6 + 0.4 * section.coarse)
    canvas.cover(0.6 * marrow, 0.55 * fat)
    canvas.cover(section.over(section.inside), tones.dura)
    canvas.labelled(FLUID).cover(section.over(section.inside - 0.12), tones.fluid)


def draw_cerebrum(section: Section, head: Head) -> None:
    """Paint cortex and white matter: sulci are noise-warped radial ribbons with side branches that fade inwards."""
    canvas, plane, tones = section.canvas, section.canvas.plane, section.tones
    surface = section.inside - 0.25 * head.atrophy - 0.08 * section.middle
    angle = np.arctan2(plane.x, -plane.y)
    ribbon = np.sin(head.folds * angle + 3.2 * section.coarse + 1.9 * section.middle)
    period = 2.0 * math.pi * np.sqrt(plane.x**2 + plane.y**2) / head.folds  # cm from one sulcus to the next
    across = np.abs(1.0 - ribbon) ** 0.5 * period / 4.4  # cm from the middle of the nearest sulcus
    beyond = np.maximum(surface - 1.5 - 0.6 * section.coarse, 0.0)
    branch = 0.45 * np.abs(section.middle + 0.4 * section.fine) + np.maximum(surface - 1.9, 0.0)
    distance = np.minimum(np.minimum(np.sqrt(across**2 + beyond**2), branch + 0.06), surface)
    fissure = np.abs(plane.x + 0.06 * section.coarse)
    # the corpus callosum joins the halves in the middle
    is_split = rise(np.abs(plane.y) + 0.9 * max(0.0, -section.level - 3.0), 2.6, 3.4)
    distance = np.minimum(distance, fissure + 2.0 * (1.0 - is_split))
    white = tones.white + tones.white_gain * (head.contrast - 1.0)
    canvas.labelled(WHITE).cover(section.over(surface), white + 2.5 * section.middle)
    ribbon_of_grey = rise(distance, 0.42, 0.26) * section.over(surface)
    grey = tones.grey + tones.grey_gain * (head.contrast - 1.0)
    canvas.labelled(GREY).cover(ribbon_of_grey, grey + 3.0 * section.fine)
    gap = 0.07 * head.atrophy
    furrow = rise(distance, gap + 0.09, gap - 0.02) * section.over(section.inside - 0.1)
    canvas.labelled(FLUID).cover(furrow, tones.fluid)


def draw_falx(section: Section, head: Head) -> None:
    """Paint the enhancing falx and the sagittal sinus at its back and front end."""
    canvas, plane, tones = section.canvas.labelled(FLUID), section.canvas.plane, section.tones
    edge = rise(np.abs(plane.y) + 0.9 * max(0.0, -section.level - 3.0), 3.6, 4.4)
    within = section.over(section.inside - 0.05)
    canvas.cover(0.75 * edge * within * band(plane.x + 0.05 * section.coarse, 0.12), tones.falx)
    height = math.sqrt(max(0.02, 1.0 - (min(section.level, 0.0) / head.half_height) ** 2))
    back = head.half_length * height - head.scalp - head.skull
    canvas.fill(Solid((0.0, back - 0.25, 0.0), (0.42, 0.38, INFINITE)), tones.blood)
    canvas.fill(Solid((0.0, 0.2 - back, 0.0), (0.2, 0.22, INFINITE)), (170 / 205) * tones.blood)


def draw_ventricles(section: Section, head: Head) -> None:
    """Paint deep grey nuclei, the lateral and third ventricles with choroid plexus, and the Sylvian fissures."""
    canvas, tones, size = section.canvas.labelled(FLUID), section.tones, 0.75 + 0.25 * head.atrophy
    nuclei = canvas.labelled(GREY)
    warp = 0.1 * section.middle
    for side in (-1.0, 1.0):
        insula = Solid((side * 4.5, -0.8, 1.6), (0.3, 2.4, 2.6), turn=side * 0.25)
        nuclei.fill(insula.scaled(1.3), tones.grey, warp=0.3 * section.middle)
        canvas.fill(insula, tones.fluid + 8.0, warp=0.4 * section.middle)
        putamen = Solid((side * 2.7, -0.9, 0.6), (0.75, 2.0, 1.7), turn=side * 0.25)
        thalamus = Solid((side * 1.15, 1.3, 0.4), (1.0, 1.6, 1.5), turn=side * -0.35)
        for nucleus in (putamen, thalamus):
            nuclei.fill(nucleus, tones.grey + 4.0, warp=warp, soft_cm=0.25)
        caudate = Solid((side * 1.75, -2.6, -0.8), (0.7, 1.1, 2.3), turn=side * 0.3)
        nuclei.fill(caudate, tones.grey, warp=warp)
        horn = Solid((side * 1.15, -2.4, -1.1), (0.55 * size, 1.7 * size, 2.2), turn=side * 0.35)
        body = Solid((side * 1.3, 0.2, -2.2), (0.6 * size, 3.2 * size, 1.2), turn=side * -0.12)
        atrium = Solid((side * 2.5, 3.4, -0.5), (0.7 * size, 1.9 * size, 1.9), turn=side * -0.45)
        for part in (horn, body, atrium):
            canvas.fill(part, tones.ventricle, warp=warp)
        plexus = Solid((side * 2.3, 2.9, -0.3), (0.28, 0.7, 1.0), turn=side * -0.45)
        canvas.fill(plexus, tones.plexus, warp=0.3 * section.middle)
    canvas.fill(Solid((0.0, 0.3, 1.3), (0.16 * size + 0.06, 1.4, 1.3)), tones.fluid)
    cistern = Solid((0.0, -1.4, 3.0), (1.3, 0.9, 1.0))  # suprasellar
    canvas.fill(cistern, tones.fluid, warp=0.25 * section.middle)
    canvas.fill(Solid((0.0, 3.2, 0.8), (0.3, 0.3, 1.2)), (180 / 205) * tones.blood)  # Galen's vein


def draw_base(section: Section, head: Head) -> None:
    """Paint the low levels: cerebellum and brain stem behind, temporal lobes beside, orbits and sinuses in front."""
    canvas, tones, z = section.canvas, section.tones, section.level
    if z < 2.4:
        return
    tissue, labels = canvas.image.copy(), section.labels.copy()
    length = head.half_length
    low = float(rise(z, 2.4, 3.6))
    warp = 0.06 * section.middle
    _draw_cerebellum(section, low)
    face = rise(canvas.plane.y + 0.12 * np.abs(canvas.plane.x) ** 1.5, -2.6, -3.6)
    face = face * float(rise(z, 3.6, 4.4)) * section.over(section.depth - 0.35)
    canvas.cover(face, tones.muscle + 40.0 * section.middle)
    for side in (-1.0, 1.0):
        petrous = Solid((side * 4.6, 1.5, 5.6), (3.0, 0.75, 1.5), turn=side * -0.45)
        canvas.fill(petrous, tones.skull, warp=0.2 * section.middle)
        sigmoid = Solid((side * 6.2, 3.4, 5.8), (0.9, 1.5, 1.8), turn=side * 0.3)
        canvas.fill(sigmoid, (165 / 205) * tones.blood, warp=warp)
        lobe = Solid((side * 4.3, -1.4, 3.6), (2.3, 2.7, 2.7), turn=side * -0.25)
        within = section.over(section.inside - 0.15)
        canvas.labelled(FLUID).fill(lobe.scaled(1.09), tones.skull, warp=warp, inside=low * within)
        patch = canvas.patch(lobe, warp=warp, inside=within)
        if patch is not None:
            canvas.paint(patch, np.maximum(tissue[(..., *patch.window)], tones.cortex_floor))
            put_back = patch.mask > 0.5
            section.labels[patch.window][put_back] = labels[patch.window][put_back]
        _draw_orbit(section, head, side)
        canvas.fill(Solid((side * 1.25, -1.7, 5.0), (0.32, 0.5, 0.9)), (190 / 205) * tones.blood)  # cavernous sinus
    canvas.fill(Solid((0.0, -length, 5.6), (1.5, 0.9, 1.2)), (110 / 105) * tones.skin)
    canvas.fill(Solid((0.0, 3.4 - length, 5.2), (1.2, 2.3, 1.5)), tones.skull - 6.0, warp=0.25 * section.middle)
    canvas.fill(Solid((0.0, -3.6, 5.6), (1.2, 0.9, 0.9)), tones.skull - 6.0, warp=0.1 * section.middle)
    canvas.fill(Solid(SELLA, (0.6, 0.45, 0.4)), tones.gland)


def _draw_orbit(section: Section, head: Head, side: float) -> None:
    """Paint orbital fat, optic nerve, eye muscles and the eye of one side (-1: left in the picture)."""
    canvas, tones, length = section.canvas, section.tones, head.half_length
    orbit = Solid((side * 3.0, 3.2 - length, 5.0), (1.75, 2.6, 1.8), turn=side * -0.3)
    canvas.fill(orbit, 0.85 * head.fat * tones.fat, inside=section.over(section.depth - 0.2))
    canvas.fill(Solid((side * 2.5, 4.0 - length, 5.0), (0.28, 1.8, 0.3), turn=side * -0.4), tones.nerve)
    for wall in (-1.0, 1.0):
        muscle = Solid((side * 2.9 + wall * 1.0, 3.8 - length, 5.0), (0.25, 1.5, 0.8), turn=side * -0.3)
        canvas.fill(muscle, (120 / 72) * tones.muscle)
    eye = Solid((side * 3.25, 2.25 - length, 5.0), (1.2, 1.2, 1.2))
    canvas.fill(eye, lambda patch: tones.eye + ramp((patch.radius - 0.82) * 10.0) * (124.0 - tones.eye))


def _draw_cerebellum(section: Section, low: float) -> None:
    """Paint the posterior fossa: pons, fourth ventricle and cerebellar halves with fine folia."""
    canvas, tones = section.canvas, section.tones
    folia = 0.5 + 0.5 * np.sin(9.0 * canvas.plane.y + 2.0 * np.abs(canvas.plane.x) + 0.8 * section.middle)

    def cerebellum(patch: Patch) -> Field:
        core = rise(patch.radius + 0.15 * section.middle[patch.window], 0.65, 0.4)
        leaves = tones.grey + 8.0 + (22 / 14) * tones.grey_gain * folia[patch.window] ** 3
        return leaves + core * (tones.white - leaves)

    fossa = Solid((0.0, 4.2, 5.2), (5.3, 3.9, 3.0))
    tent = canvas.patch(fossa.scaled(1.06))
    if tent is not None:
        canvas.labelled(FLUID).paint(Patch(tent.window, tent.radius, tent.mask * low), (120 / 150) * tones.falx)
    canvas.labelled(GREY).fill(fossa, cerebellum, inside=section.over(section.inside - 0.2) * low)
    open_ = canvas.spread(_number(low))
    fluid = canvas.labelled(FLUID)
    fluid.fill(Solid((0.0, 0.4, 5.0), (2.0, 1.7, 3.0)), tones.fluid, inside=open_)
    canvas.labelled(WHITE).fill(Solid((0.0, 0.9, 5.0), (1.5, 1.3, 4.0)), tones.white - 6.0, inside=open_)
    fluid.fill(Solid((0.0, 2.5, 5.0), (0.65, 0.35, 1.5)), tones.fluid)
    fluid.fill(Solid((0.0, -0.6, 5.0), (0.22, 0.22, 3.0)), tones.blood)  # basilar artery


def _number(value: float) -> Field:
    return np.full((1, 1), value, np.float32)


@dataclass(frozen=True)
class Lesion:
    """A tumour of one kind."""

    finding: Finding
    solid: Solid
    oedema: float  # radius of the oedema in radii of the tumour

    @classmethod
    def random(cls, rng: np.random.Generator, head: Head, finding: Finding) -> "Lesion | None":
        """Draw place and size; None for `notumor`."""
        side = -1.0 if rng.random() < 0.5 else 1.0
        if finding == "notumor":
            return None
        if finding == "pituitary":
            radius = rng.uniform(0.9, 1.7)
            centre = (rng.uniform(-0.2, 0.2), SELLA[1] + rng.uniform(-0.2, 0.3), SELLA[2] - 0.5 * radius)
            return cls(finding, Solid(centre, (radius * rng.uniform(0.9, 1.2), radius, radius * 1.2)), 1.0)
        if finding == "glioma":
            radius = rng.uniform(1.5, 2.7)
            angle = rng.uniform(0.35, 2.8)
            centre = (side * 3.3 * math.sin(angle), -4.2 * math.cos(angle), rng.uniform(-4.0, 0.5))
            radii = (radius * rng.uniform(0.75, 1.1), radius, radius)
            return cls(finding, Solid(centre, radii, turn=rng.uniform(-1.5, 1.5)), rng.uniform(1.35, 1.8))
        radius = rng.uniform(1.4, 2.5)
        angle, level = rng.uniform(0.1, 3.0), rng.uniform(-4.5, 0.5)
        height = math.sqrt(1.0 - (min(level, 0.0) / head.half_height) ** 2)
        wall = head.scalp + head.skull + 0.75 * radius
        x = side * (head.half_width * height - wall) * math.sin(angle)
        y = -(head.half_length * height - wall) * math.cos(angle)
        solid = Solid((x, y, level), (radius, radius * rng.uniform(0.85, 1.2), radius), turn=side * angle)
        return cls(finding, solid, rng.uniform(1.1, 1.4))


def draw_lesion(section: Section, lesion: Lesion) -> None:
    """Paint oedema, then a ring around a dark core (glioma) or a bright even mass (meningioma, pituitary)."""
    canvas, tones, brain = section.canvas, section.tones, section.over(section.inside - 0.05)
    oedema, tumour = canvas.labelled(OEDEMA), canvas.labelled(TUMOUR)
    if lesion.finding == "glioma":
        warp = 0.16 * section.coarse + 0.1 * section.middle
        oedema.fill(lesion.solid.scaled(lesion.oedema), tones.oedema, warp=1.6 * warp, inside=brain, soft_cm=0.7)
        ring = canvas.patch(lesion.solid, warp=warp, inside=brain)
        if ring is not None:
            _draw_ring(section, ring)
    elif lesion.finding == "meningioma":
        swelling = tones.oedema - 3.0
        oedema.fill(lesion.solid.scaled(lesion.oedema), swelling, warp=0.1 * section.coarse, inside=brain, soft_cm=0.4)
        warp = 0.1 * section.coarse
        tumour.fill(
            lesion.solid, lambda patch: tones.meningioma + 6.0 * section.fine[patch.window], warp=warp, inside=brain
        )
    else:
        warp = 0.08 * section.middle
        canvas.labelled(FLUID).fill(lesion.solid.scaled(1.15), tones.fluid)
        tumour.fill(lesion.solid, lambda patch: tones.adenoma + 8.0 * section.middle[patch.window], warp=warp)


def _draw_ring(section: Section, ring: Patch) -> None:
    """Paint the tumour tissue of a glioma and the necrosis in its middle."""
    tones, window = section.tones, ring.window
    core = rise(ring.radius + 0.1 * section.fine[window], 0.78, 0.6)
    rim = tones.tumour + 18.0 * section.middle[window]
    colour = rim + core * (tones.necrosis + 6.0 * section.middle[window] - rim)
    section.canvas.labelled(TUMOUR).paint(ring, colour)
    section.canvas.labelled(NECROSIS).mark(Patch(window, ring.radius, ring.mask * core))


def draw(section: Section, head: Head, lesion: Lesion | None) -> None:
    """Paint the whole head and its lesion if it has one."""
    draw_shell(section, head)
    draw_cerebrum(section, head)
    draw_ventricles(section, head)
    draw_falx(section, head)
    draw_base(section, head)
    if lesion is not None:
        draw_lesion(section, lesion)
