"""Phantom of unpaired translation: T1 slices of some heads in A and T2 slices of other heads in B, as PNG."""

from pathlib import Path

import numpy as np

from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.contrasts import Contrast
from medsynth.data.phantoms.volumes import HEAD, Patient

PATIENT, NOISE = 0, 1  # words of the random streams
DOMAINS: tuple[tuple[str, Contrast], ...] = (("A", "t1"), ("B", "t2"))
SLICES = 12
PART = (0.25, 0.85)  # of the volume, from its top, that the slices are taken from


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write A and B with `patients` heads each, 12 axial slices a head in 8 bits, pHHH/SS.png; no head is in both."""
    from PIL import Image

    for label, (domain, contrast) in enumerate(DOMAINS):
        for index in range(patients):
            patient = Patient.random(stream(seed, PATIENT, label, index), "notumor")
            volume = patient.volume(stream(seed, NOISE, label, index), [contrast], size=size, frame=HEAD)
            signal = volume.images[contrast]
            white = float(np.percentile(signal[volume.labels > 0], 99.5))
            home = folder / domain / f"p{index * 2 + label + 1:03d}"
            home.mkdir(parents=True, exist_ok=True)
            levels = np.linspace(*PART, SLICES) * signal.shape[2]
            for number, level in enumerate(levels.astype(int)):
                grey = np.clip(255.0 / white * signal[:, :, level].T + 0.5, 0, 255).astype(np.uint8)
                Image.fromarray(grey).save(home / f"{number:02d}.png")
