"""PPMI (Parkinson's Progression Markers Initiative), as the LONI Image and Data Archive hands it out."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from medsynth.data.sources.source import Listing, Record, Rejected, walk_files
from medsynth.data.sources.table import read_table
from medsynth.data.sources.volumes import Volume, VolumeSource
from medsynth.data.volume import ending
from medsynth.errors import UserError

DATE = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}_\d{2}_\d{2}(?:\.\d+)?")
IMAGE_ID, SUBJECT = "Image Data ID", "Subject"


@dataclass(frozen=True)
class Scan:
    """A file by what its path says: <subject>/<description>/<date>/<image id>/file."""

    path: Path
    subject: str
    description: str
    image_id: str


class Ppmi(VolumeSource):
    """NIfTI files <subject>/<description>/<date>/<image id>/*.nii[.gz] anywhere below `root`, and the search's CSV.

    images: pattern of the file names to read, such as *MPRAGE*: a download may mix kinds of scan, which are counted.
    label_column: column of the CSV files (those below `root` that have a column Image Data ID) that is the class; None:
    no labels. An image without a row gets what all rows of its subject agree on, else it is rejected by name.
    A subject is one patient, whatever the date. DICOM series are rejected by name: data=dicom reads them.
    """

    origin = "PPMI: ppmi-info.org/access-data-specimens/download-data, images as NIfTI together with the search's CSV"
    unit = "signal"
    compares = False
    channels = (1,)

    def __init__(
        self,
        root: str | Path,
        *,
        images: str = "*",
        label_column: str | None = "Group",
        slices: str = "all",
        slice_range: Sequence[float | int] = (0.0, 1.0),
        crop: str = "none",
        margin_mm: float | int = 0.0,
        plane: str = "axial",
        not_finite: str = "reject",
    ) -> None:
        super().__init__(
            root, slices=slices, slice_range=slice_range, crop=crop, margin_mm=margin_mm, plane=plane,
            not_finite=not_finite,
        )  # fmt: skip
        self.images, self.label_column = images, label_column

    def files(self) -> list[Path]:
        """Every NIfTI, DICOM and CSV file below the root."""
        return [p for p in walk_files(self.root) if ending(p) or _suffix(p) in (".csv", ".dcm")]

    def records(self) -> Listing:
        """Every image that `images` names, by path. Raises UserError without any, and for labels without a table."""
        files = self.files()
        scans = [scan for path in files if (scan := _scan(path, self.root)) is not None]
        rejected = _dicom_series([scan for scan in scans if _suffix(scan.path) == ".dcm"])
        volumes = [scan for scan in scans if ending(scan.path)]
        mine = [scan for scan in volumes if fnmatchcase(scan.path.name, self.images)]
        self._check(volumes, mine, rejected)
        notes = [f"images by description: {_counted(mine)}"]
        if len(mine) < len(volumes):
            rest = [scan for scan in volumes if not fnmatchcase(scan.path.name, self.images)]
            notes.append(
                f"{len(rest):,} images are not like data.images={self.images} and are not used: {_counted(rest)}"
            )
        if strays := [path for path in files if ending(path) and _scan(path, self.root) is None]:
            rejected += [Rejected(path, "lies in no <subject>/<description>/<date>/<image id>/") for path in strays]
        labels = self._labels([path for path in files if _suffix(path) == ".csv"])
        records = []
        for scan in mine:
            label = None if labels is None else labels.get(scan.image_id) or labels.get(f"subject {scan.subject}")
            if labels is not None and label is None:
                rejected.append(Rejected(scan.path, f"no table gives its {self.label_column}; data.label_column=null "
                                                    "reads images without labels"))  # fmt: skip
            else:
                volume = Volume((scan.path,), None, ())
                records.append(Record(scan.path, label=label, patient=scan.subject, detail=volume))
        return Listing(records, rejected, notes)

    def _check(self, volumes: Sequence[Scan], mine: Sequence[Scan], dicom: Sequence[Rejected]) -> None:
        """Raise UserError when there is nothing to read, saying why."""
        if mine:
            return
        if volumes:
            raise UserError(f"ppmi: no file is named like data.images={self.images}; there are {_counted(volumes)}")
        if dicom:
            raise UserError(
                f"ppmi: {self.root} holds {len(dicom):,} DICOM series and no NIfTI file; read them with data=dicom, or "
                "download the collection as NIfTI"
            )
        raise UserError(
            f"ppmi: no <subject>/<description>/<date>/<image id>/*.nii under {self.root} (data.root). {self.origin}. "
            "Set data.root=DIR, or data.phantom=true for procedural images"
        )

    def _labels(self, tables: Sequence[Path]) -> dict[str, str] | None:
        """Class by image id, and by "subject <name>" where its rows agree; None without label_column."""
        if self.label_column is None:
            return None
        rows = [row for path in tables for row in read_table(path)[1] if row.keys() >= {IMAGE_ID, SUBJECT}]
        if not any(self.label_column in row for row in rows):
            raise UserError(
                f"ppmi: no CSV file under {self.root} has the columns {IMAGE_ID}, {SUBJECT} and {self.label_column}; "
                "put the search's CSV there, or set data.label_column=null for images without labels"
            )
        by_subject: dict[str, set[str]] = defaultdict(set)
        labels: dict[str, str] = {}
        for row in rows:
            if label := row.get(self.label_column):
                by_subject[row[SUBJECT]].add(label)
                labels[_digits(row[IMAGE_ID])] = label
        return labels | {f"subject {name}": next(iter(said)) for name, said in by_subject.items() if len(said) == 1}


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _scan(path: Path, root: Path) -> Scan | None:
    """What a path says; None for one without a date where it should be."""
    folders = path.relative_to(root).parts[:-1]
    place = next((k for k, folder in enumerate(folders) if DATE.fullmatch(folder)), 0)
    if place < 2 or len(folders) < place + 2:
        return None
    identifier = re.fullmatch(r"I\d+", folders[place + 1]) or re.search(r"I\d+$", path.name.split(".")[0])
    return Scan(path, folders[place - 2], folders[place - 1], _digits(identifier[0]) if identifier else "")


def _digits(image_id: str) -> str:
    """Image ids are written I249402 and 249402."""
    return image_id.removeprefix("I")


def _dicom_series(scans: Sequence[Scan]) -> list[Rejected]:
    """Each folder of DICOM files, under its first one."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for scan in scans:
        folders[scan.path.parent].append(scan.path)
    return [Rejected(f[0], f"a DICOM series of {len(f):,} files: data=dicom reads it") for f in folders.values()]


def _counted(scans: Sequence[Scan]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in Counter(scan.description for scan in scans).most_common(10))
