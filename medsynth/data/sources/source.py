"""What every source of images says about the files of its layout, without decoding one."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsynth.data.series import Groups, Looks
from medsynth.errors import UserError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True)
class Record:
    """One image on disk.

    label: class name, None without labels.  patient: as the dataset names it, None when it does not.
    number: file number where neighbouring numbers are neighbouring slices.
    official_split: "train" or "test" where the dataset publishes one; "train" may still give patients to val.
    """

    path: Path
    label: str | None = None
    patient: str | None = None
    number: int | None = None
    official_split: str | None = None


class Source(ABC):
    """Lists the images of one dataset layout. `origin` says in one sentence where a user gets the data."""

    root: Path
    origin: str
    unit: str = "grey"
    """What the values of decoded images are: "grey" (fraction of white) or "hu"."""

    @abstractmethod
    def records(self) -> list[Record]:
        """Every image of the layout in a fixed order, or none. Raises UserError for a wrong layout."""

    @abstractmethod
    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """One patient (or group that stands for one) per record, from what the dataset knows and how images look."""

    @abstractmethod
    def notes(self, records: Sequence[Record]) -> list[str]:
        """What else a person should know about the files, one sentence each."""


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
