"""Phantom of LiTS: CT volumes of the abdomen with the liver (1) and its lesions (2) segmented."""

from pathlib import Path

from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.volumes import Abdomen, write_nifti

PATIENT, NOISE = 0, 1  # words of the random streams
ORIENTATIONS = ("LAS", "LPS", "RAS")


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write volume-N and segmentation-N, `size` x `size` pixels and a quarter as many slices.

    Of the genuine set's irregularities: orientations differ, every third pair is not compressed, every fourth patient
    (from the third on) has no lesion, and every sixth (from the fifth on) is -3024 outside a round field of view.
    """
    for index in range(patients):
        patient = Abdomen.random(stream(seed, PATIENT, index), has_metastases=index % 4 != 2)
        noise = stream(seed, NOISE, index)
        volume = patient.volume(noise, size=size, slices=max(8, size // 4), is_round=index % 6 == 4)
        volume = volume.oriented(ORIENTATIONS[(index + index // 3) % 3])
        ending = "nii" if index % 3 == 1 else "nii.gz"
        write_nifti(folder / f"volume-{index}.{ending}", volume.images["ct"], volume.affine)
        write_nifti(folder / f"segmentation-{index}.{ending}", volume.labels, volume.affine)
