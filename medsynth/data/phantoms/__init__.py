"""Phantoms: procedural anatomy written as files in the layout of a real dataset, read by its loader."""

from pathlib import Path

from medsynth.errors import UserError

NAMES = ("brain_tumor_mri", "covidx", "kidney_ct")


def write_phantoms(name: str, folder: Path | str, *, patients: int, size: int = 256, seed: int = 0) -> None:
    """Write the phantom of dataset `name` under `folder` in that dataset's own layout of folders and files.

    patients: patients per class, >= 1; each gives one series of neighbouring slices. patient k does not depend on how
        many follow it
    size: side of the square images in pixels, >= 16
    seed: >= 0; the files are a function of it and of `patients` and `size` alone
    Raises UserError for an unknown name and for numbers out of range.
    """
    for key, value, least in (("patients", patients, 1), ("size", size, 16), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"{key}={value}: phantoms need {key} >= {least}")
    if name == "kidney_ct":
        from medsynth.data.phantoms.kidney_ct import write
    elif name == "brain_tumor_mri":
        from medsynth.data.phantoms.brain_tumor_mri import write
    elif name == "covidx":
        from medsynth.data.phantoms.covidx import write
    else:
        raise UserError(f"there is no phantom of {name!r}; choose one of {', '.join(NAMES)}")
    write(Path(folder), patients=patients, size=size, seed=seed)
