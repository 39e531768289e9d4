"""Slices of kidney phantoms for tests that need anatomy: many patients, quickly.

They are drawn by a process of their own, because checking the types of every call makes drawing eight times slower.
"""

import io
import subprocess
import sys
from functools import cache

import numpy as np
import torch
from torch import Tensor

SLICES = 3  # a patient


@cache
def slices(patients: int, *, first: int = 0, size: int = 64) -> tuple[Tensor, np.ndarray]:
    """Images (n, 1, size, size) in [-1, 1] and the patient of each, n = 3 * patients; patient k depends on k alone."""
    command = [sys.executable, __file__, str(patients), str(first), str(size)]
    drawn = np.load(io.BytesIO(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    owners = np.arange(first, first + patients).repeat(SLICES)
    return torch.from_numpy(drawn)[:, None], owners


def _draw(patients: int, first: int, size: int) -> np.ndarray:
    from medsynth.data.phantoms.canvas import grain, stream
    from medsynth.data.phantoms.kidney_ct import CLASSES, Patient

    images = []
    for number in range(first, first + patients):
        random = stream(0, number)
        finding = CLASSES[number % len(CLASSES)][1]
        patient = Patient.random(random, finding, is_axial=number // len(CLASSES) % 2 == 0)
        levels = patient.scan.levels
        for place in np.linspace(0.2, 0.8, SLICES):
            hu = patient.slice_hu(size, levels[int(place * len(levels))])
            grey = patient.scan.grey(hu + patient.scan.noise_hu * grain(random, (size, size)))
            images.append(np.asarray(grey, np.float32) / 127.5 - 1)
    return np.stack(images)


if __name__ == "__main__":
    stream = io.BytesIO()
    np.save(stream, _draw(*map(int, sys.argv[1:])))
    sys.stdout.buffer.write(stream.getvalue())
