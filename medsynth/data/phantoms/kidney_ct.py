"""Phantom of the CT KIDNEY DATASET (Normal, Cyst, Tumor, Stone): analytic bodies cut into axial or coronal series."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsynth.data.phantoms import abdomen, trunk
from medsynth.data.phantoms.canvas import Canvas, Field, Plane, Solid, blur, grain, rolled, stream, write_jpeg

ARCHIVE = "CT-KIDNEY-DATASET-Normal-Cyst-Tumor-Stone"  # nested twice in the genuine archive
CLASSES: tuple[tuple[str, abdomen.Finding], ...] = (
    ("Cyst", "cyst"), ("Normal", "normal"), ("Stone", "stone"), ("Tumor", "tumor"),
)  # in the order of the CSV's column `target`  # fmt: skip
PATIENT, NOISE = 0, 1  # words of the random streams


@dataclass(frozen=True)
class Scan:
    """How one patient is imaged: orientation, field of view, levels of the slices, window and noise."""

    is_axial: bool
    side_cm: float
    offset: tuple[float, float]  # of the picture's middle from the body's, cm
    levels: tuple[float, ...]
    roll_degrees: float
    window: tuple[float, float]  # centre and width in HU
    noise_hu: float
    table: tuple[float, float, float]
    has_arms: bool

    @classmethod
    def random(
        cls, rng: np.random.Generator, build: trunk.Build, kidneys: abdomen.Kidneys, *, is_axial: bool
    ) -> "Scan":
        axis = 2 if is_axial else 1
        reach = kidneys.reach[axis]
        count = int(rng.integers(24, 41))
        levels = kidneys.focus[axis] + np.linspace(-reach, reach, count)
        side = 2.0 * build.half_width / (rng.uniform(0.7, 0.96) if is_axial else rng.uniform(0.58, 0.74))
        low, high = (-0.06 * side, 0.1 * side) if is_axial else (-1.0, 9.0)
        steepest = 4.0 if is_axial else 2.0
        return cls(
            is_axial=is_axial,
            side_cm=side,
            offset=(rng.uniform(-0.05, 0.05) * side, rng.uniform(low, high)),
            levels=tuple(float(level) for level in levels),
            roll_degrees=rng.uniform(-steepest, steepest),
            window=(rng.uniform(35.0, 70.0), rng.uniform(320.0, 480.0)),
            noise_hu=rng.uniform(8.0, 20.0),
            table=(rng.uniform(0.003, 0.012), rng.uniform(2.5, 5.0), rng.uniform(17.0, 23.0)),
            has_arms=is_axial and rng.random() < 0.15,
        )

    def plane(self, size: int, level: float) -> Plane:
        cut = Plane.axial if self.is_axial else Plane.coronal
        return cut(size, side_cm=self.side_cm, centre=self.offset, level=level)

    def grey(self, hu: Field) -> Field:
        """The soft-tissue window: HU to grey levels 0..255."""
        centre, width = self.window
        return np.clip((hu - (centre - width / 2.0)) * (255.0 / width), 0.0, 255.0)


@dataclass(frozen=True)
class Patient:
    """One analytic body with everything that is constant over its slices."""

    build: trunk.Build
    tone: abdomen.Enhancement
    kidneys: abdomen.Kidneys
    bowel: tuple[abdomen.Loop, ...]
    noises: trunk.Noises
    scan: Scan

    @classmethod
    def random(cls, rng: np.random.Generator, finding: abdomen.Finding, *, is_axial: bool) -> "Patient":
        build = trunk.Build.random(rng)
        kidneys = abdomen.Kidneys.random(rng, build, finding)
        bowel = abdomen.random_bowel(rng, build)
        scan = Scan.random(rng, build, kidneys, is_axial=is_axial)
        return cls(build, abdomen.Enhancement.random(rng), kidneys, bowel, trunk.Noises.random(rng), scan)

    def slice_hu(self, size: int, level: float) -> Field:
        """The body (size, size) in HU at one level, without noise and window."""
        plane = self.scan.plane(size, level)
        canvas = Canvas(plane, np.full((size, size), trunk.AIR, np.float32))
        if self.scan.has_arms:
            self._draw_arms(canvas)
        abdomen.Body(self.build, self.tone, self.kidneys, self.bowel, self.noises).draw(canvas)
        image = rolled(canvas.image, degrees=self.scan.roll_degrees, outside=trunk.AIR)
        if self.scan.is_axial:
            trunk.draw_table(Canvas(plane, image), 0.95 * self.build.half_depth, self.scan.table)
        return blur(image)

    def _draw_arms(self, canvas: Canvas) -> None:
        texture = trunk.Texture.on(self.noises, canvas.plane)
        for side in (-1.0, 1.0):
            arm = Solid((side * (self.build.half_width + 3.2), 1.5, 0.0), (3.0, 4.0, 200.0))
            canvas.fill(arm, trunk.FAT)
            canvas.fill(arm.scaled(0.85), trunk.MUSCLE, warp=0.08 * texture.coarse)
            trunk.bone(canvas, Solid(arm.centre, (1.0, 1.0, 200.0)), 100.0, texture)


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write the class folders and kidneyData.csv under `folder`; consecutive file numbers are consecutive slices.

    Orientations alternate within a class, so that series of different patients meet with a clear break.
    """
    rows = []
    for label, (name, finding) in enumerate(CLASSES):
        home = folder / ARCHIVE / ARCHIVE / name
        home.mkdir(parents=True, exist_ok=True)
        number = 0
        for index in range(patients):
            rng = stream(seed, PATIENT, label, index)
            patient = Patient.random(rng, finding, is_axial=(index + label) % 2 == 0)
            noise = stream(seed, NOISE, label, index)
            for level in patient.scan.levels:
                number += 1
                image = patient.slice_hu(size, level) + patient.scan.noise_hu * grain(noise, (size, size))
                stem = f"{name}- ({number})"
                write_jpeg(home / f"{stem}.jpg", patient.scan.grey(image))
                rows.append((stem, f"{ARCHIVE}/{name.upper()}/{stem}.jpg", name, label, name))
    with (folder / ARCHIVE / "kidneyData.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("Unnamed: 0", "image_id", "path", "diag", "target", "Class"))
        table.writerows((k, *row) for k, row in enumerate(rows))
