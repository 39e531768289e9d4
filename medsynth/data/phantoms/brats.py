"""Phantom of BraTS 2020: skull-stripped heads with a glioma in four registered contrasts, and its segmentation."""

from pathlib import Path

import numpy as np

from medsynth.data.phantoms import head
from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.contrasts import Contrast
from medsynth.data.phantoms.volumes import Frame, Patient, write_nifti

PATIENT, NOISE = 0, 1  # words of the random streams
CONTRASTS: tuple[Contrast, ...] = ("flair", "t1", "t1ce", "t2")
FRAME = Frame(side_cm=24.0, width_cm=24.0, length_cm=15.5, above_cm=0.6)  # as the genuine 240 x 240 x 155 mm
SEGMENTS = {head.NECROSIS: 1, head.OEDEMA: 2, head.TUMOUR: 4}


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write one folder a case with flair, t1, t1ce, t2 and seg; `size` x `size` x 0.65 `size` cubic voxels in LPS."""
    numbers = np.zeros(256, np.uint8)
    for label, number in SEGMENTS.items():
        numbers[label] = number
    for index in range(patients):
        patient = Patient.random(stream(seed, PATIENT, index), "glioma")
        volume = patient.volume(stream(seed, NOISE, index), CONTRASTS, size=size, frame=FRAME, style="brain")
        volume = volume.oriented("LPS")
        case = f"BraTS20_Training_{index + 1:03d}"
        for name, image in volume.images.items():
            write_nifti(folder / case / f"{case}_{name}.nii.gz", image, volume.affine)
        write_nifti(folder / case / f"{case}_seg.nii.gz", numbers[volume.labels], volume.affine)
