"""Phantom of a plain collection of NIfTI files: a folder a class, and a mask beside each image."""

from pathlib import Path

import numpy as np

from medsynth.data.phantoms import head
from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.volumes import HEAD, Patient, write_nifti

PATIENT, NOISE = 0, 1  # words of the random streams
CLASSES: tuple[tuple[str, head.Finding], ...] = (("glioma", "glioma"), ("normal", "notumor"))
ORIENTATIONS = ("RAS", "LPS", "PSR")


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write CLASS/head-NNN.nii.gz, T1 with contrast agent, and head-NNN_seg.nii.gz: 1 the brain, 2 tumour and oedema.

    `size` voxels from front to back; `patients` of each class.
    """
    for label, (name, finding) in enumerate(CLASSES):
        for index in range(patients):
            number = index * len(CLASSES) + label + 1
            patient = Patient.random(stream(seed, PATIENT, label, index), finding)
            volume = patient.volume(stream(seed, NOISE, label, index), ["t1ce"], size=size, frame=HEAD)
            volume = volume.oriented(ORIENTATIONS[index % 3])
            mask = (volume.labels > 0).astype(np.uint8) + (volume.labels >= head.NECROSIS)
            write_nifti(folder / name / f"head-{number:03d}.nii.gz", volume.images["t1ce"], volume.affine)
            write_nifti(folder / name / f"head-{number:03d}_seg.nii.gz", mask.astype(np.uint8), volume.affine)
