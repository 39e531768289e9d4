"""What every source of images says about the files of its layout, without decoding one, and how it reads them."""

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from medsynth.data.decode import read_image
from medsynth.data.intensity import Intensity
from medsynth.data.picture import Picture
from medsynth.data.series import Groups, Looks, group_patients
from medsynth.errors import UserError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})
SPLIT_FOLDERS = {name: "train" for name in ("train", "training", "val", "validation")} | {
    "test": "test",
    "testing": "test",
}
"""Folders that publish a split, in lower case, and that split: val is drawn from train anew."""

Load = Callable[[], Picture]
"""The work of one slice, done on another thread; raises BadImage."""


@dataclass(frozen=True)
class Record:
    """An image, volume or series on disk: what is read at once, and belongs to one patient.

    path: its file, or the first of several.  label: class name, None without labels.
    patient: as the dataset names it, never an identifier out of a header (see identity.py); None when it does not.
    number: file number where neighbouring numbers are neighbouring slices.
    official_split: "train" or "test" where the dataset publishes one; "train" may still give patients to val.
    domain: "target", or "condition" for an image of the other set of an unpaired translation.
    row: what its source's table says of it, text by column, for covariates.
    detail: what only its source needs to read it (further files, the mask's path, frame numbers).
    """

    path: Path
    label: str | None = None
    patient: str | None = None
    number: int | None = None
    official_split: str | None = None
    domain: str = "target"
    row: Mapping[str, str] = field(default_factory=dict)
    detail: Any = None


@dataclass(frozen=True)
class Rejected:
    """A file, or a row of a table, that is no record, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """All that a source found, in a fixed order."""

    records: list[Record]
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else a person should know about the files, one sentence each: rows repaired, rows without a file."""


class Source(ABC):
    """Lists and reads the images of one dataset layout. `origin` says in one sentence where a user gets the data."""

    root: Path
    origin: str
    unit: str = "grey"
    """What the values of pictures are: "grey" (fraction of white), "hu", or "signal" (MR)."""
    channels: Sequence[int] = (1, 3)
    """How many channels its images can be given: photographs grey or colour, volumes the number of modalities."""
    compares: bool = True
    """Whether groups() looks at pictures; where patients are named it need not, and no thumbnail is kept."""
    columns: Sequence[str] = ()
    """What data.covariates asks for: tables are read for it even without labels."""
    white: float | None = None
    """Stored value of image files that is white; None: 255 or 65535 by the file's type."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Every file that decides what records() and read() give: images, masks, tables. By name; none is opened."""

    @abstractmethod
    def records(self) -> Listing:
        """Every image of the layout. Opens headers and tables at most. Raises UserError for a wrong layout."""

    def read(self, record: Record, intensity: Intensity) -> Iterator[Load]:
        """The slices of a record, in order, each to be loaded by any thread.

        Raises BadImage, here or from a Load, when the record cannot be read: then none of its slices is kept. A volume
        fits `intensity` to all of its values and hands the fitted codecs over with each picture.
        """
        yield partial(read_image, record.path, white=self.white)

    def name(self, path: Path) -> str:
        """A file as tables and reports name it: its path below the root, with forward slashes."""
        return _relative(path, self.root)

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """One patient (or group that stands for one) per slice, from what the dataset knows and how slices look.

        records: the record of each slice, so one of n slices stands there n times, and is a group where no patient is
        named.
        """
        names = [self.name(record.path) for record in records]
        slices = Counter(names)
        patients = [r.patient or (name if slices[name] > 1 else None) for r, name in zip(records, names, strict=True)]
        return group_patients(patients, names, looks)


@lru_cache(maxsize=64)  # a volume's name is asked for once a slice
def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise UserError unless `value`, which the user set as data.`key`, is one of `choices`."""
    if value not in choices:
        raise UserError(f"data.{key}={value} must be one of {', '.join(choices)}")


def _name_folder(error: OSError) -> None:
    raise UserError(
        f"cannot read the folder {error.filename}: {error.strerror}; nothing below it may be left out silently"
    )


def walk_files(root: Path) -> Iterator[Path]:
    """All files below `root` in sorted order, links followed once, hidden and archive-litter folders left out."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_name_folder):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else sorted(s for s in subfolders if s[0] != "." and s != "__MACOSX")
        if real in seen:
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in sorted(files))


def is_image(path: Path) -> bool:
    """Whether the name says that this is an image; hidden files are not."""
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")


def without_masks(images: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images, and apart from them the masks that lie beside one: x_mask.png beside x.png."""
    names = {path.with_suffix("") for path in images}
    masks = [p for p in images if p.stem.endswith("_mask") and p.with_name(p.stem.removesuffix("_mask")) in names]
    beside = set(masks)
    return [path for path in images if path not in beside], masks


def unwrap(root: Path) -> Path:
    """The folder itself, or the one inside it when an archive nested folders in folders with nothing beside them."""
    while True:
        entries = [e for e in sorted(root.iterdir()) if not e.name.startswith(".") and e.name != "__MACOSX"]
        folders = [e for e in entries if e.is_dir()]
        if len(folders) != 1 or any(is_image(e) for e in entries if e.is_file()):
            return root
        root = folders[0]


def last_number(path: Path) -> int | None:
    """The last number in a file's name: 'Cyst- (74).jpg' is 74; None without one."""
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else None
