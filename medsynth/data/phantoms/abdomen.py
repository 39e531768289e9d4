"""The organs of the abdomen: liver, spleen, bowel, vessels and kidneys, plain or with one kind of lesion, in HU."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medsynth.data.phantoms import trunk
from medsynth.data.phantoms.canvas import INFINITE, Canvas, Field, Patch, Point, Solid, ramp, rise
from medsynth.data.phantoms.trunk import AIR, FAT, Build, Texture

Finding = Literal["cyst", "normal", "stone", "tumor"]
LIVER, LIVER_LESION = 1, 2  # labels, as in LiTS


@dataclass(frozen=True)
class Enhancement:
    """HU of the organs in one contrast phase."""

    liver: float
    spleen: float
    cortex: float
    medulla: float
    aorta: float
    cava: float

    @classmethod
    def random(cls, rng: np.random.Generator, phases: Sequence[str] = ("plain", "arterial", "venous")) -> "Enhancement":
        """One of the `phases` ("plain", "arterial", "portal", "venous"), all as likely."""
        levels = {
            "plain": (58.0, 50.0, 46.0, 38.0, 45.0, 42.0),
            "arterial": (72.0, 105.0, 190.0, 85.0, 330.0, 90.0),
            "portal": (86.0, 100.0, 165.0, 130.0, 140.0, 128.0),
            "venous": (112.0, 122.0, 185.0, 150.0, 165.0, 150.0),
        }[phases[int(rng.integers(len(phases)))]]
        return cls(*(value * rng.uniform(0.93, 1.07) for value in levels))


@dataclass(frozen=True)
class Loop:
    """A piece of bowel: its solid and what fills it."""

    solid: Solid
    filling: Literal["fluid", "contrast", "gas", "stool"]


def random_bowel(rng: np.random.Generator, build: Build) -> tuple[Loop, ...]:
    """Draw stomach, colon frame and some twenty loops of small bowel for a patient."""
    wide, deep, y = build.half_width / 15.5, build.half_depth / 11.0, build.spine_y
    has_contrast = rng.random() < 0.4
    loops = []
    for _ in range(72):  # small bowel, in front of the spine
        centre = (rng.uniform(-6.5, 9.5) * wide, rng.uniform(-8.0, y - 3.5) * deep, rng.uniform(-4.0, 17.0))
        radius = rng.uniform(1.0, 1.7)
        radii = (radius * rng.uniform(0.9, 1.7), radius, radius * rng.uniform(0.9, 1.6))
        filling = "contrast" if has_contrast and rng.random() < 0.6 else rng.choice(["fluid", "fluid", "fluid", "gas"])
        loops.append(Loop(Solid(centre, radii, turn=rng.uniform(-1.5, 1.5)), filling))
    for z in np.arange(-1.0, 13.0, 2.6):  # ascending and descending colon
        for x in (-10.6, 11.2):
            place = (x * wide + rng.uniform(-0.4, 0.4), rng.uniform(0.5, 3.5), float(z) + rng.uniform(-0.5, 0.5))
            loops.append(Loop(Solid(place, (1.9, 1.9, 1.7)), rng.choice(["stool", "stool", "gas"])))
    sag = rng.uniform(1.0, 5.0)
    for x in np.arange(-8.5, 9.0, 2.7):  # transverse colon
        height = sag + rng.uniform(-0.8, 0.8) - 0.03 * float(x) ** 2
        place = (float(x) * wide, -7.0 * deep + rng.uniform(-0.5, 0.5), height)
        loops.append(Loop(Solid(place, (1.8, 1.6, 1.9)), rng.choice(["stool", "gas"])))
    stomach = Solid((5.5 * wide, -4.5 * deep, -6.5), (4.8, 3.2, 4.2), turn=-0.4, lean=(-0.25, 0.0))
    fundus = Solid((5.8 * wide, 0.5, -8.5), (3.6, 3.6 * deep, 3.2))
    loops.append(Loop(fundus, rng.choice(["fluid", "gas"])))
    return (*loops, Loop(stomach, "contrast" if has_contrast else "fluid"))


def draw_bowel(canvas: Canvas, loops: tuple[Loop, ...], cavity: Field, texture: Texture) -> None:
    """Paint each loop as a wall around its filling; gas floats to the front."""
    contents: dict[str, float] = {"fluid": 28.0, "contrast": 260.0, "gas": 20.0, "stool": 20.0}
    for loop in loops:
        warp = 0.12 * texture.middle
        patch = canvas.patch(loop.solid, warp=warp, inside=cavity)
        if patch is None:
            continue
        canvas.paint(patch, 52.0)
        inner = canvas.patch(loop.solid.scaled(0.76), warp=warp, inside=cavity)
        if inner is None:
            continue
        canvas.paint(inner, contents[loop.filling])
        rows = slice(None) if canvas.plane.y.shape[0] == 1 else inner.window[0]
        height = (loop.solid.centre[1] - canvas.plane.y[rows]) / loop.solid.radii[1]
        share = {"fluid": 0.55, "contrast": 0.45, "gas": -0.15, "stool": 2.0}[loop.filling]
        gas = ramp((height - share) * 6.0 + np.zeros_like(inner.mask))
        if loop.filling == "stool":
            gas = rise(texture.fine[inner.window], 0.1, 0.7)
        canvas.paint(Patch(inner.window, inner.radius, inner.mask * gas), AIR)


@dataclass(frozen=True)
class Kidneys:
    """Both kidneys of a patient and the finding in the one on `side` (-1: patient's right, 1: left)."""

    right: Solid
    left: Solid
    finding: Finding
    side: float
    lesions: tuple[Solid, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, build: Build, finding: Finding) -> "Kidneys":
        """Draw two kidneys beside the spine and, unless normal, lesions of random side, place and size."""
        wide = build.half_width / 15.5
        pair = []
        for side in (-1.0, 1.0):
            x, y = side * rng.uniform(6.2, 7.0) * wide, build.spine_y - rng.uniform(-0.3, 0.9)
            centre = (x, y, rng.uniform(-0.6, 0.6) - 0.7 * side)  # the right kidney lies lower
            radii = (rng.uniform(2.6, 3.1), rng.uniform(2.3, 2.8), rng.uniform(5.0, 6.0))
            lean = (side * rng.uniform(0.12, 0.25), -0.08)
            pair.append(Solid(centre, radii, turn=side * rng.uniform(0.3, 0.8), lean=lean))
        side = -1.0 if rng.random() < 0.5 else 1.0
        draw = {"normal": lambda *_: (), "cyst": _random_cyst, "stone": _random_stones, "tumor": _random_tumor}[finding]
        return cls(pair[0], pair[1], finding, side, draw(rng, pair[0] if side < 0 else pair[1], side))

    @property
    def focus(self) -> Point:
        """The body point that slices should be taken around: the first lesion, or a kidney without one."""
        return self.lesions[0].centre if self.lesions else (self.right if self.side < 0 else self.left).centre

    @property
    def reach(self) -> Point:
        """How far from `focus` (cm along x, y, z) slices still show the lesion, or the kidney without one."""
        if self.finding == "stone":
            return (1.4, 1.3, 2.6)
        if self.lesions:
            a, b, c = self.lesions[0].radii
            return (0.6 * a, 0.6 * b, 0.6 * c)
        return (2.0, 1.8, 4.0)


def _random_cyst(rng: np.random.Generator, kidney: Solid, side: float) -> tuple[Solid, ...]:
    radius = rng.uniform(2.5, 4.0)
    angle = rng.uniform(-1.2, 1.2)
    centre = kidney.at((side * math.cos(angle) * 0.95, math.sin(angle) * 0.95, rng.uniform(-0.45, 0.45)))
    return (Solid(centre, (radius, radius, radius * rng.uniform(0.95, 1.1))),)


def _random_stones(rng: np.random.Generator, kidney: Solid, side: float) -> tuple[Solid, ...]:
    """A few stones in the pelvis and calices, so spread along the kidney that most slices meet one."""
    level = rng.uniform(-0.15, 0.15)
    stones = []
    for step in (0.0, -0.22, 0.22, -0.4, 0.4):
        place = (-side * rng.uniform(0.0, 0.3), rng.uniform(-0.15, 0.15), level + step)
        size = rng.uniform(0.75, 1.1)
        radii = (size, size * rng.uniform(0.7, 1.0), size * 1.25)
        stones.append(Solid(kidney.at(place), radii, turn=rng.uniform(-1.0, 1.0)))
    return tuple(stones)


def _random_tumor(rng: np.random.Generator, kidney: Solid, side: float) -> tuple[Solid, ...]:
    radius = rng.uniform(3.4, 5.2)
    angle = rng.uniform(-1.4, 1.0)
    centre = kidney.at((side * math.cos(angle) * 0.6, math.sin(angle) * 1.0 - 0.3, rng.uniform(-0.4, 0.4)))
    radii = (radius, radius * rng.uniform(0.8, 1.0), radius * rng.uniform(0.9, 1.1))
    return (Solid(centre, radii, turn=rng.uniform(-1.0, 1.0)),)


def draw_kidneys(canvas: Canvas, kidneys: Kidneys, tone: Enhancement, cavity: Field, texture: Texture) -> None:
    """Paint perirenal fat, bean-shaped kidneys with cortex, pyramids, sinus and pelvis, then the lesions."""
    for side, kidney in ((-1.0, kidneys.right), (1.0, kidneys.left)):
        canvas.fill(kidney.scaled(1.25), FAT, inside=cavity, warp=0.12 * texture.coarse)

        def parenchyma(patch: Patch) -> Field:
            lobes = rise(texture.middle[patch.window] + 0.5 * texture.fine[patch.window], -0.3, 0.3)
            pyramid = lobes * rise(patch.radius, 0.84, 0.72)
            return tone.cortex - pyramid * (tone.cortex - tone.medulla) + 5.0 * texture.fine[patch.window]

        canvas.fill(kidney, parenchyma, warp=0.04 * texture.middle)
        inner = kidney.at((-side * 0.62, -0.05, 0.0))
        sinus = Solid(inner, (1.75, 0.85, 2.9), kidney.turn, kidney.lean)
        canvas.fill(sinus, FAT + 20.0, warp=0.22 * texture.middle)
        pelvis = Solid(kidney.at((-side * 0.75, -0.05, 0.05)), (1.5, 0.4, 1.6), kidney.turn, kidney.lean)
        canvas.fill(pelvis, 0.5 * tone.cava + 10.0, warp=0.2 * texture.middle)
    draw = {"normal": lambda *_: None, "cyst": _draw_cyst, "stone": _draw_stone, "tumor": _draw_tumor}[kidneys.finding]
    for lesion in kidneys.lesions:
        draw(canvas, lesion, tone, texture)


def _draw_cyst(canvas: Canvas, lesion: Solid, tone: Enhancement, texture: Texture) -> None:
    canvas.fill(lesion, lambda patch: 32.0 * ramp((patch.radius - 0.92) * 12.0))


def _draw_stone(canvas: Canvas, lesion: Solid, tone: Enhancement, texture: Texture) -> None:
    canvas.fill(lesion, 1500.0, warp=0.12 * texture.fine)


def _draw_tumor(canvas: Canvas, lesion: Solid, tone: Enhancement, texture: Texture) -> None:
    bright = 0.5 * tone.cortex + 85.0

    def mass(patch: Patch) -> Field:
        mottle = rise(texture.middle[patch.window] + 0.5 * texture.fine[patch.window], -0.7, 0.7)
        necrosis = rise(patch.radius + 0.2 * texture.middle[patch.window], 0.55, 0.3)
        solid = 20.0 + mottle * (bright - 20.0)
        return solid + 0.8 * necrosis * (12.0 - solid)

    canvas.fill(lesion, mass, warp=0.13 * texture.coarse + 0.05 * texture.middle)


def liver_lobes(build: Build) -> tuple[Solid, Solid]:
    """The right and the left lobe of the liver, before the cavity cuts them."""
    wide, deep, top = build.half_width / 15.5, build.half_depth / 11.0, build.lung_base
    right = Solid((-7.0 * wide, 0.0, top + 3.2), (7.4 * wide, 10.0 * deep, 9.5), lean=(-0.18, 0.0))
    left = Solid((-0.5 * wide, -5.5 * deep, top + 1.0), (7.0 * wide, 4.2 * deep, 5.5), turn=0.15, lean=(-0.3, 0.0))
    return right, left


def random_metastases(rng: np.random.Generator, build: Build) -> tuple[Solid, ...]:
    """Draw one to four lesions of the liver, the first large and in the middle of the right lobe."""
    right, left = liver_lobes(build)
    radii, lesions = [rng.uniform(1.8, 3.2), *rng.uniform(0.8, 1.8, int(rng.integers(0, 4)))], []
    for number, radius in enumerate(radii):
        lobe = left if number % 3 == 2 else right
        reach = 0.2 if number == 0 else 0.6
        x, y, z = rng.uniform(-reach, reach, 3)
        shape = (radius, radius * rng.uniform(0.7, 1.0), radius * rng.uniform(0.8, 1.1))
        lesions.append(Solid(lobe.at((float(x), float(y), float(z))), shape, turn=rng.uniform(-1.5, 1.5)))
    return tuple(lesions)


def draw_metastases(canvas: Canvas, lesions: tuple[Solid, ...], tone: Enhancement, texture: Texture) -> None:
    """Paint dark lesions, darkest in the middle, on what is labelled liver: the canvas must have labels."""
    if canvas.labels is None or not lesions:
        return
    liver = canvas.spread(canvas.labels == LIVER)

    def mass(patch: Patch) -> Field:
        necrosis = rise(patch.radius + 0.2 * texture.middle[patch.window], 0.6, 0.3)
        return 0.55 * tone.liver + 12.0 - 14.0 * necrosis + 5.0 * texture.fine[patch.window]

    for lesion in lesions:
        canvas.labelled(LIVER_LESION).fill(lesion, mass, inside=liver, warp=0.12 * texture.coarse)


def draw_upper_organs(canvas: Canvas, build: Build, tone: Enhancement, cavity: Field, texture: Texture) -> None:
    """Paint liver with vessels and gallbladder, spleen, and pancreas with duodenum."""
    wide, deep = build.half_width / 15.5, build.half_depth / 11.0
    top = build.lung_base
    right_lobe, left_lobe = liver_lobes(build)
    vessels = rise(texture.coarse**2 + texture.middle**2, 0.14, 0.05) * (tone.cava - tone.liver + 25.0)

    def liver(patch: Patch) -> Field:
        return tone.liver + vessels[patch.window] + 4.0 * texture.fine[patch.window]

    warp = 0.05 * texture.coarse
    for lobe in (left_lobe, right_lobe):
        canvas.labelled(LIVER).fill(lobe, liver, inside=cavity, warp=warp)
    canvas.fill(Solid((-5.0 * wide, -5.5 * deep, top + 9.0), (1.2, 1.7, 2.4), turn=0.5), 24.0, inside=cavity)
    spleen = Solid((11.0 * wide, 2.5 * deep, top + 2.5), (3.3, 5.6 * deep, 6.0), turn=-0.35, lean=(0.08, 0.0))
    canvas.fill(spleen, lambda patch: tone.spleen + 3.0 * texture.fine[patch.window], inside=cavity, warp=warp)
    for x, z in ((-4.2, 1.5), (-2.5, -0.8), (0.0, -1.6), (2.8, -2.4), (5.4, -3.2)):
        lump = Solid((x * wide, build.spine_y - 5.2, z), (2.0, 1.2, 1.4))
        canvas.fill(lump, 0.5 * tone.spleen + 25.0, inside=cavity, warp=0.15 * texture.middle)


def draw_vessels(canvas: Canvas, build: Build, tone: Enhancement, kidneys: Kidneys) -> None:
    """Paint aorta, vena cava, renal, mesenteric and iliac vessels, through the swayed plane of the spine."""
    canvas = canvas.on(canvas.plane.shifted_back(build.sway(canvas.plane.z)))
    y, fork = build.spine_y, build.pelvis - 0.5
    for side, kidney in ((-1.0, kidneys.right), (1.0, kidneys.left)):
        middle = kidney.centre[0] * 0.5
        vein = Solid((middle, y - 1.6, -0.4 + 0.4 * side), (abs(middle) - 0.7, 0.42, 0.45), turn=side * 0.12)
        canvas.fill(vein, tone.cava)
        artery = Solid((side * 4.0, y - 0.9, fork + 5.5), (0.75, 0.8, 6.6), lean=(side * 0.42, -0.1))
        canvas.fill(artery, 0.6 * tone.aorta + 0.4 * tone.cava)
    above_fork = canvas.spread(rise(canvas.plane.z, fork + 0.6, fork - 0.6))
    canvas.fill(Solid((-1.7, y - 2.5, 0.0), (1.35, 0.95, INFINITE)), tone.cava, inside=above_fork)
    canvas.fill(Solid((0.9, y - 2.6, 0.0), (1.05, 1.05, INFINITE)), tone.aorta, inside=above_fork)
    canvas.fill(Solid((0.6, y - 4.6, 4.0), (0.42, 0.42, 6.0)), tone.aorta)
    canvas.fill(Solid((-0.9, y - 4.9, 4.0), (0.6, 0.55, 6.5)), tone.cava)


def draw_pelvic_organs(canvas: Canvas, build: Build, texture: Texture) -> None:
    """Paint bladder, uterus or prostate, and rectum with gas."""
    z = build.pelvis
    canvas.fill(Solid((0.0, build.spine_y - 1.0, z + 10.5), (5.2, 6.5, 6.0)), FAT, warp=0.1 * texture.coarse)
    canvas.fill(Solid((0.0, -1.0, z + 11.5), (3.6, 3.0, 3.2)), 8.0)
    canvas.fill(Solid((0.3, build.spine_y, z + 12.5), (1.6, 1.4, 4.0)), 50.0, warp=0.15 * texture.middle)
    canvas.fill(Solid((0.3, build.spine_y, z + 12.0), (0.9, 0.8, 3.0)), AIR, warp=0.3 * texture.middle)
    canvas.fill(Solid((0.0, 0.0, z + 17.0), (3.0, INFINITE, 2.0)), 50.0, warp=0.2 * texture.middle)


@dataclass(frozen=True)
class Body:
    """One analytic abdomen; `metastases` are painted only where the canvas has labels."""

    build: Build
    tone: Enhancement
    kidneys: Kidneys
    bowel: tuple[Loop, ...]
    noises: trunk.Noises
    metastases: tuple[Solid, ...] = ()

    def draw(self, canvas: Canvas) -> None:
        """Paint everything on a canvas of HU that holds air."""
        texture = Texture.on(self.noises, canvas.plane)
        depth = self.build.depth(canvas.plane)
        cavity = trunk.draw_wall(canvas, self.build, depth, texture)
        trunk.draw_legs(canvas, self.build, texture)
        trunk.draw_lungs(canvas, self.build, cavity)
        draw_pelvic_organs(canvas, self.build, texture)
        draw_bowel(canvas, self.bowel, cavity, texture)
        draw_upper_organs(canvas, self.build, self.tone, cavity, texture)
        draw_metastases(canvas, self.metastases, self.tone, texture)
        trunk.draw_ribs(canvas, self.build, depth)
        trunk.draw_pelvis(canvas, self.build, texture)
        trunk.draw_spine(canvas, self.build, texture)
        draw_kidneys(canvas, self.kidneys, self.tone, cavity, texture)
        draw_vessels(canvas, self.build, self.tone, self.kidneys)
