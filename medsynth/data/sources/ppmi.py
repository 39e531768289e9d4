"""PPMI (Parkinson's Progression Markers Initiative), as the LONI Image and Data Archive hands it out."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Unpack

from medsynth.data.sources.source import Listing, Record, Rejected, walk_files
from medsynth.data.sources.table import MISSING, Keyed, Row, read_table, rows_by
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource
from medsynth.data.volume import ending, is_volume_part
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
        **reading: Unpack[Reading],
    ) -> None:
        super().__init__(root, **reading)
        self.images, self.label_column = images, label_column

    def files(self) -> list[Path]:
        """Every volume with what holds its voxels, DICOM and CSV file below the root."""
        return [p for p in walk_files(self.root) if is_volume_part(p) or _suffix(p) in (".csv", ".dcm")]

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
        table = self._table([path for path in files if _suffix(path) == ".csv"])
        notes += table.notes if table else []
        records = []
        for scan in mine:
            label, fault = self._label(scan, table) if table and self.label_column is not None else (None, "")
            if fault:
                rejected.append(Rejected(scan.path, f"{fault}; data.label_column=null reads images without labels"))
            else:
                volume = Volume((scan.path,), None, ())
                row = _row(scan, table) if table else {}
                records.append(Record(scan.path, label=label, patient=scan.subject, row=row, detail=volume))
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

    def _label(self, scan: Scan, table: Keyed) -> tuple[str | None, str]:
        """The class of an image, or why it has none."""
        for key in _keys(scan):
            if key in table.contradictions:
                return None, table.contradictions[key]
            if label := table.rows.get(key, {}).get(self.label_column or ""):
                return label, ""
        return None, f"no table gives its {self.label_column}"

    def _table(self, files: Sequence[Path]) -> Keyed | None:
        """The rows of all tables by "image <id>" and by "subject <name>"; None where nobody asks."""
        if self.label_column is None and not self.columns:
            return None
        tables = {path.relative_to(self.root).as_posix(): rows for path in files if (rows := _image_rows(path))}
        rows = [row for part in tables.values() for row in part]
        if self.label_column is not None and not any(self.label_column in row for row in rows):
            raise UserError(
                f"ppmi: no CSV file under {self.root} has the columns {IMAGE_ID}, {SUBJECT} and {self.label_column}; "
                "put the search's CSV there, or set data.label_column=null for images without labels"
            )
        says, names = [self.label_column], ", ".join(tables)
        images = rows_by(lambda row: _key("image", _digits(row[IMAGE_ID])), rows, says=says, table=names)
        subjects = rows_by(lambda row: _key("subject", row[SUBJECT]), rows, says=says, table=names)
        return Keyed(images.rows | subjects.rows, images.contradictions | subjects.contradictions, images.notes)


def _key(kind: str, name: str) -> str:
    return f"{kind} {name}" if name else ""


def _keys(scan: Scan) -> tuple[str, str]:
    return _key("image", scan.image_id), _key("subject", scan.subject)


def _row(scan: Scan, table: Keyed) -> Row:
    """What the tables say of an image, and where they say nothing, what all rows of its subject agree on."""
    image, subject = (table.rows.get(key, {}) for key in _keys(scan))
    return {**subject, **{column: value for column, value in image.items() if value not in MISSING}}


def _image_rows(path: Path) -> list[Row]:
    """Those of a search's CSV; none of other tables."""
    columns, rows = read_table(path)
    return rows if {IMAGE_ID, SUBJECT} <= set(columns) else []


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
