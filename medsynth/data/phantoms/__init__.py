"""Phantoms: procedural anatomy written as files in the layout of a real dataset, read by its loader."""

from importlib import import_module
from pathlib import Path

from medsynth.errors import UserError

WRITERS = {
    "bids": ("bids", "write"),
    "brain_tumor_mri": ("brain_tumor_mri", "write"),
    "brats": ("brats", "write"),
    "covidx": ("covidx", "write"),
    "dicom": ("dicom", "write"),
    "kidney_ct": ("kidney_ct", "write"),
    "lits": ("lits", "write"),
    "nifti": ("nifti", "write"),
    "oasis": ("oasis", "write"),
    "openneuro": ("bids", "write_openneuro"),
    "ppmi": ("ppmi", "write"),
    "unpaired": ("unpaired", "write"),
}
"""Dataset to the module of this package, and the function in it, that writes its phantom."""
NAMES = tuple(WRITERS)


def write_phantoms(name: str, folder: Path | str, *, patients: int, size: int = 256, seed: int = 0) -> None:
    """Write the phantom of dataset `name` under `folder` in that dataset's own layout of folders and files.

    patients: patients per class (per domain where there are two, in all where there is neither), >= 1; each gives one
        series of neighbouring slices or volumes of one anatomy. patient k does not depend on how many follow it
    size: pixels along the longest side of an axial image, >= 16
    seed: >= 0; the files are a function of it and of `patients` and `size` alone
    Raises UserError for an unknown name and for numbers out of range.
    """
    for key, value, least in (("patients", patients, 1), ("size", size, 16), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"{key}={value}: phantoms need {key} >= {least}")
    if name not in WRITERS:
        raise UserError(f"there is no phantom of {name!r}; choose one of {', '.join(NAMES)}")
    module, function = WRITERS[name]
    write = getattr(import_module(f"{__name__}.{module}"), function)
    write(Path(folder), patients=patients, size=size, seed=seed)
