"""Phantom of OASIS-1: skull-stripped T1 heads in atlas space with tissue classes, and the table of clinical ratings."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from medsynth.data.phantoms import head
from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.volumes import Frame, Patient

PATIENT, NOISE = 0, 1  # words of the random streams
FRAME = Frame(side_cm=20.8, width_cm=17.6, length_cm=17.6, above_cm=1.5)  # as the genuine 176 x 208 x 176 mm
COLUMNS = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
RATINGS = (("", 0.7, 25), ("0", 1.0, 70), ("0.5", 1.4, 75), ("1", 1.8, 78), ("2", 2.3, 82))
"""CDR as written ("" was never rated: the young), atrophy (see Head) and mean age in years."""


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write `patients` of each rating: OAS1_NNNN_MR1/PROCESSED, FSL_SEG and oasis_cross-sectional.csv.

    Voxels are cubic, `size` of them from front to back, in Analyze pairs, big-endian and without orientation as the
    genuine ones. Every fourth of the young was scanned again (MR2). Ventricles and sulci widen with the rating.
    """
    rows = []
    for index in range(patients):
        for label, (rating, atrophy, age) in enumerate(RATINGS):
            rng, number = stream(seed, PATIENT, label, index), index * len(RATINGS) + label + 1
            patient = Patient.random(rng, "notumor", atrophy=atrophy * float(rng.uniform(0.9, 1.1)))
            person = _person(rng, rating, age)
            for session in range(2 if rating == "" and index % 4 == 3 else 1):
                name = f"OAS1_{number:04d}_MR{session + 1}"
                noise = stream(seed, NOISE, number, session)
                fluid = _write_session(folder / name, name, patient, noise, size)
                rows.append((name, *person, f"{1.0 - fluid:.3f}", "1.000", "20" if session else "N/A"))
    with (folder / "oasis_cross-sectional.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(rows)


def _person(rng: np.random.Generator, rating: str, age: int) -> tuple[str, ...]:
    """The columns from M/F to eTIV; the young were not asked for education and mental state."""
    sex, years = str(rng.choice(["F", "M"])), str(age + int(rng.integers(-5, 6)))
    mental = max(0, 30 - int(10 * float(rating or 0)) - int(rng.integers(0, 3)))
    asked = (str(rng.integers(1, 6)), str(rng.integers(1, 6)), str(mental), rating)
    return (sex, "R", years, *(asked if rating else ("", "", "", "")), str(rng.integers(1200, 1800)))


def _write_session(folder: Path, name: str, patient: Patient, noise: np.random.Generator, size: int) -> float:
    """Write the masked image and its tissue classes; return how much of the brain's space is fluid."""
    volume = patient.volume(noise, ["t1"], size=size, frame=FRAME, style="brain").oriented("LAS")
    stem = f"{name}_mpr_n4_anon_111_t88_masked_gfc"
    spacing = np.abs(np.diag(volume.affine)[:3])
    _write_analyze(folder / "PROCESSED" / "MPRAGE" / "T88_111" / f"{stem}.hdr", volume.images["t1"], spacing)
    _write_analyze(folder / "FSL_SEG" / f"{stem}_fseg.hdr", volume.labels, spacing)
    return float((volume.labels == head.FLUID).sum() / (volume.labels > 0).sum())


def _write_analyze(path: Path, values: ndarray, spacing: Float[ndarray, "3"]) -> None:
    """Write a .hdr and .img pair with a fourth axis of length 1; `values` in LAS, as readers take Analyze to be."""
    import nibabel

    header = nibabel.AnalyzeHeader(endianness=">")
    header.set_data_dtype(values.dtype)
    header.set_data_shape((*values.shape, 1))
    header.set_zooms((*spacing, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.AnalyzeImage(values[..., None], None, header).to_filename(path)
