"""Phantom of PPMI as LONI's image archive (IDA) delivers it in NIfTI: MPRAGE heads and the table of the search."""

import csv
from pathlib import Path

from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.volumes import HEAD, Patient, write_nifti

PATIENT, NOISE = 0, 1  # words of the random streams
COLUMNS = (
    "Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description", "Type", "Acq Date",
    "Format", "Downloaded",
)  # fmt: skip
GROUPS = (("Control", 1.0), ("PD", 1.8))
"""Group and atrophy (see Head): in genuine images Parkinson's disease is hardly seen, here it is, so that it can be
learned."""
VISITS = (("BL", 2011), ("V04", 2012))  # of the archive: baseline, and after a year


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write `patients` of each group: PPMI/subject/MPRAGE/date/image id/*.nii, sagittal, and the table beside PPMI.

    `size` voxels from front to back; every third subject of a group came for a second visit.
    """
    rows = []
    for index in range(patients):
        for label, (group, atrophy) in enumerate(GROUPS):
            rng, number = stream(seed, PATIENT, label, index), index * len(GROUPS) + label
            patient = Patient.random(rng, "notumor", atrophy=atrophy * float(rng.uniform(0.85, 1.15)))
            subject, sex, age = str(3001 + 7 * number), str(rng.choice(["F", "M"])), int(rng.integers(45, 80))
            month, day = int(rng.integers(1, 13)), int(rng.integers(1, 29))
            for visit, (code, year) in enumerate(VISITS[: 2 if index % 3 == 2 else 1]):
                image, noise = f"I{200001 + 10 * number + visit}", stream(seed, NOISE, number, visit)
                volume = patient.volume(noise, ["t1"], size=size, frame=HEAD).oriented("PSR")
                home = folder / "PPMI" / subject / "MPRAGE" / f"{year}-{month:02d}-{day:02d}_10_02_00.0" / image
                file = f"PPMI_{subject}_MR_MPRAGE_br_raw_{year}{month:02d}{day:02d}100200_{image}.nii"
                write_nifti(home / file, volume.images["t1"], volume.affine)
                rows.append((image, subject, group, sex, age + visit, code, "MRI", "MPRAGE", "Original",
                             f"{month}/{day}/{year}", "NiFTI", "11/21/2020"))  # fmt: skip
    with (folder / "PPMI_11_21_2020.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writerow(COLUMNS)
        table.writerows(rows)
