"""Phantom of the Brain Tumor MRI dataset (four classes): analytic heads cut into axial slices."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsynth.data.phantoms import head as anatomy
from medsynth.data.phantoms.canvas import Field, Plane, blur, rolled, stream, with_rician_noise, write_jpeg
from medsynth.data.phantoms.contrasts import Tones

CLASSES: tuple[anatomy.Finding, ...] = ("glioma", "meningioma", "notumor", "pituitary")
TRAINING, TESTING = ("Training", "Tr"), ("Testing", "Te")
SLICES = 8
PATIENT, NOISE = 0, 1  # words of the random streams


@dataclass(frozen=True)
class Patient:
    """One analytic head, its lesion if any, and how it is imaged."""

    head: anatomy.Head
    lesion: anatomy.Lesion | None
    side_cm: float
    offset: tuple[float, float]
    levels: tuple[float, ...]
    roll_degrees: float
    gain: float
    noise: float
    shading: float  # how much brighter the coil makes the periphery

    @classmethod
    def random(cls, rng: np.random.Generator, finding: anatomy.Finding) -> "Patient":
        head = anatomy.Head.random(rng)
        lesion = anatomy.Lesion.random(rng, head, finding)
        if lesion is None:
            middle, reach = rng.uniform(-4.0, 3.4), 1.6
        else:
            middle, reach = lesion.solid.centre[2], 0.7 * lesion.solid.radii[2]
        levels = tuple(float(level) for level in middle + np.linspace(-reach, reach, SLICES))
        side = 2.0 * head.half_length / rng.uniform(0.8, 0.97)
        offset = (rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5))
        return cls(
            head, lesion, side, offset, levels, rng.uniform(-7.0, 7.0), rng.uniform(0.8, 1.2), rng.uniform(2.0, 5.0),
            rng.uniform(0.0, 0.25),
        )  # fmt: skip

    def slice_grey(self, size: int, level: float) -> Field:
        """The head (size, size) in grey levels at one level, without noise."""
        plane = Plane.axial(size, side_cm=self.side_cm, centre=self.offset, level=level)
        section = anatomy.Section.on(self.head, plane, Tones.of(["t1ce"]))
        anatomy.draw(section, self.head, self.lesion)
        square = (plane.x / self.head.half_width) ** 2 + (plane.y / self.head.half_length) ** 2
        image = section.canvas.image[0] * (self.gain * (1.0 + self.shading * (square - 0.5)))
        return blur(rolled(image, degrees=self.roll_degrees, outside=0.0))


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write Training and Testing folders of the four classes; a fifth of the patients, at least one, is in Testing.

    `patients` = 1 gives two per class, one in each folder, because no patient is in both.
    """
    testing = max(1, round(0.2 * patients))
    for label, finding in enumerate(CLASSES):
        index = 0
        for (place, prefix), count in ((TRAINING, max(1, patients - testing)), (TESTING, testing)):
            home = folder / place / finding
            home.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                stem, words = f"{prefix}-{finding[:2]}", (seed, label, index)
                _write_patient(home, stem, first=number * SLICES, size=size, words=words)
                index += 1


def _write_patient(home: Path, stem: str, *, first: int, size: int, words: tuple[int, int, int]) -> None:
    seed, label, index = words
    patient = Patient.random(stream(seed, PATIENT, label, index), CLASSES[label])
    noise = stream(seed, NOISE, label, index)
    for number, level in enumerate(patient.levels, first):
        image = with_rician_noise(noise, patient.slice_grey(size, level), patient.noise)
        write_jpeg(home / f"{stem}_{number:04d}.jpg", image)
