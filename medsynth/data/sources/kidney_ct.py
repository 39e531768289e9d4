"""CT-KIDNEY-DATASET-Normal-Cyst-Tumor-Stone: axial and coronal abdominal CT slices as JPEG, four class folders."""

from collections.abc import Sequence
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_series
from medsynth.data.sources.source import Listing, Record, Source, is_image, last_number, walk_files
from medsynth.data.sources.table import read_rows
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

    def files(self) -> list[Path]:
        """Every image in a class folder, and the tables."""
        return [path for path in walk_files(self.root) if (self._class(path) and is_image(path)) or _is_table(path)]

    def records(self) -> Listing:
        """Every image in a class folder, by class and file number. Raises UserError without class folders.

        Rows of kidneyData.csv without a file, and files without a row, are notes and no errors.
        """
        files = list(walk_files(self.root))
        if not any(self._class(path) for path in files):
            raise UserError(
                f"kidney_ct: no folder named {', '.join(CLASSES)} under {self.root} (data.root). {self.origin}. "
                "Set data.root=DIR, or data.phantom=true for procedural images"
            )
        images = [(path, self._class(path)) for path in files if is_image(path)]
        found = [Record(path, label=label, number=last_number(path)) for path, label in images if label is not None]
        names = {_table_name(str(record.path)) for record in found}
        notes = [note for table in files if _is_table(table) for note in _compare(table, names)]
        return Listing(
            sorted(found, key=lambda r: (r.label or "", r.number is None, r.number or 0, str(r.path))), notes=notes
        )

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Series of alike neighbours within a class; near-identical series are one."""
        return group_series([r.label or "" for r in records], [r.number for r in records], looks)

    def _class(self, path: Path) -> str | None:
        return _class_of(path.relative_to(self.root))


def _is_table(path: Path) -> bool:
    return path.name.lower() == TABLE.lower()


def _class_of(path: Path) -> str | None:
    """The class that the innermost folder of a class's name says, whatever its capitals."""
    names = {name.lower(): name for name in CLASSES}
    return next((names[part.lower()] for part in reversed(path.parts[:-1]) if part.lower() in names), None)


def _table_name(path: str) -> str:
    """'.../TUMOR/Tumor- (1044).jpg' -> 'tumor/tumor- (1044).jpg': the table writes its folders in capitals."""
    return "/".join(path.replace("\\", "/").split("/")[-2:]).lower()


def _compare(table: Path, files: set[str]) -> list[str]:
    try:
        listed = [_table_name(row["path"]) for row in read_rows(table, needs=("path",))]
    except UserError as error:
        return [f"{error}; it was not compared with the files"]
    return [
        f"{table.name}: {len(listed):,} rows, {sum(name not in files for name in listed):,} of them without a file; "
        f"{len(files.difference(listed)):,} files without a row (the files are the truth)"
    ]
