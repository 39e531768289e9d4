"""Phantoms of BIDS data sets: heads in T1w and T2w with participants.tsv, with masks (bids) or sessions (openneuro)."""

import json
from pathlib import Path

import numpy as np

from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.contrasts import Contrast
from medsynth.data.phantoms.volumes import HEAD, Patient, Volume, write_nifti

PATIENT, NOISE = 0, 1  # words of the random streams
GROUPS = (("control", 0.8), ("patient", 1.9))  # and the atrophy (see Head) that tells them apart
CONTRASTS: tuple[Contrast, ...] = ("t1", "t2")


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write sub-NN/anat for `patients` of each group, and the brain mask of each T1w below derivatives/labels."""
    for number, patient in _subjects(folder, patients=patients, seed=seed):
        name = f"sub-{number:02d}"
        volume = _volume(patient, seed=seed, number=number, session=0, size=size)
        _write_images(folder / name / "anat", name, volume)
        mask = folder / "derivatives" / "labels" / name / "anat" / f"{name}_T1w_seg-manual.nii.gz"
        write_nifti(mask, (volume.labels > 0).astype(np.uint8), volume.affine)
    _write_description(folder / "derivatives" / "labels", "Brain masks of the phantom", "derivative")


def write_openneuro(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write sub-NN/ses-N/anat for `patients` of each group; every third subject came twice."""
    for number, patient in _subjects(folder, patients=patients, seed=seed):
        name = f"sub-{number:02d}"
        for session in range(2 if number % 3 == 0 else 1):
            volume = _volume(patient, seed=seed, number=number, session=session, size=size)
            _write_images(folder / name / f"ses-{session + 1}" / "anat", f"{name}_ses-{session + 1}", volume)


def _subjects(folder: Path, *, patients: int, seed: int) -> list[tuple[int, Patient]]:
    """Write the tables of the data set and return the number, from 1, and the anatomy of each subject."""
    subjects, rows = [], ["participant_id\tage\tsex\tgroup"]
    for index in range(patients):
        for group, (label, atrophy) in enumerate(GROUPS):
            rng, number = stream(seed, PATIENT, group, index), index * len(GROUPS) + group + 1
            patient = Patient.random(rng, "notumor", atrophy=atrophy * float(rng.uniform(0.85, 1.15)))
            rows.append(f"sub-{number:02d}\t{rng.integers(20, 80)}\t{rng.choice(['F', 'M'])}\t{label}")
            subjects.append((number, patient))
    _write_description(folder, "Phantom heads", "raw")
    (folder / "participants.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return subjects


def _write_description(folder: Path, name: str, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    description = {"Name": name, "BIDSVersion": "1.8.0", "DatasetType": kind}
    (folder / "dataset_description.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _volume(patient: Patient, *, seed: int, number: int, session: int, size: int) -> Volume:
    """The scans of one session: the head nods differently each time, and axes are stored RAS or PSR in turn."""
    rng = stream(seed, NOISE, number, session)
    tilt = float(rng.uniform(-8.0, 8.0))
    volume = patient.volume(rng, CONTRASTS, size=size, frame=HEAD)
    return volume.oriented("RAS" if number % 2 else "PSR").tilted(tilt)


def _write_images(folder: Path, stem: str, volume: Volume) -> None:
    for contrast in CONTRASTS:
        write_nifti(folder / f"{stem}_{contrast.upper()}w.nii.gz", volume.images[contrast], volume.affine)
