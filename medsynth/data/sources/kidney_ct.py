"""CT-KIDNEY-DATASET-Normal-Cyst-Tumor-Stone: axial and coronal abdominal CT slices as JPEG, four class folders."""

import csv
from collections.abc import Sequence
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_series
from medsynth.data.sources.source import Record, Source, is_image, last_number, walk_files
from medsynth.errors import UserError

CLASSES = ("Cyst", "Normal", "Stone", "Tumor")
TABLE = "kidneyData.csv"


class KidneyCT(Source):
    """The class folders Cyst, Normal, Stone, Tumor, at `root` or nested below it as the archive unpacks them.

    The dataset names no patients; neighbouring file numbers are neighbouring slices, so patients are stood for by
    series of alike neighbours. The folder decides the class; the optional kidneyData.csv is only compared with it.
    """

    origin = (
        "kidney_ct is the Kaggle dataset nazmul0087/ct-kidney-dataset-normal-cyst-tumor-and-stone; "
        "unpack its archive there"
    )

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def records(self) -> list[Record]:
        """Every image in a class folder, by class and file number. Raises UserError without class folders."""
        labels = {path: _class_of(path.relative_to(self.root)) for path in walk_files(self.root)}
        found = [Record(p, label=c, number=last_number(p)) for p, c in labels.items() if c is not None and is_image(p)]
        if not any(labels.values()):
            raise UserError(
                f"kidney_ct: no folder named {', '.join(CLASSES)} under {self.root} (data.root). {self.origin}. "
                "Set data.root=DIR, or data.phantom=true for procedural images"
            )
        return sorted(found, key=lambda r: (r.label or "", r.number is None, r.number or 0, str(r.path)))

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Series of alike neighbours within a class; near-identical series are one."""
        return group_series([r.label or "" for r in records], [r.number for r in records], looks)

    def notes(self, records: Sequence[Record]) -> list[str]:
        """How kidneyData.csv and the files differ: rows without a file and files without a row are no errors."""
        tables = [path for path in walk_files(self.root) if path.name.lower() == TABLE.lower()]
        files = {_table_name(str(record.path)) for record in records}
        return [note for table in tables for note in _compare(table, files)]


def _class_of(path: Path) -> str | None:
    """The class that the innermost folder of a class's name says, whatever its capitals."""
    names = {name.lower(): name for name in CLASSES}
    return next((names[part.lower()] for part in reversed(path.parts[:-1]) if part.lower() in names), None)


def _table_name(path: str) -> str:
    """'.../TUMOR/Tumor- (1044).jpg' -> 'tumor/tumor- (1044).jpg': the table writes its folders in capitals."""
    return "/".join(path.replace("\\", "/").split("/")[-2:]).lower()


def _compare(table: Path, files: set[str]) -> list[str]:
    try:
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            rows = list(csv.DictReader(text))
    except (csv.Error, OSError) as error:
        return [f"{table.name} cannot be read ({error}) and was not compared with the files"]
    if not rows or "path" not in rows[0]:
        return [f"{table.name} has no column 'path' and was not compared with the files"]
    listed = {_table_name(row["path"] or "") for row in rows}
    return [
        f"{table.name}: {len(rows):,} rows, {sum(_table_name(r['path'] or '') not in files for r in rows):,} of them "
        f"without a file; {len(files - listed):,} files without a row (the files are the truth)"
    ]
