"""Any folder of images: one folder per class, or flat; labels and patients from a CSV when there is one."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_duplicates, group_patients
from medsynth.data.sources.source import Listing, Record, Source, is_image, unwrap, walk_files
from medsynth.errors import UserError


class ImageFolder(Source):
    """Images below `root`: the first folder below it is the class; images right in it have none.

    Folders that only hold one other folder are passed through, as archives nest them.
    labels: "folders", or "none" to read every image below `root` without a label.
    table: CSV file, relative to `root`, whose labels and patients count instead of the folders; None for none. Rows
    without a file and files without a row are counted in prepare.json; a file without a row keeps its folder's label.
    file_column, label_column, patient_column: its columns; file names may have folders or lack them, and their case and
    extension do not matter. None: the table does not give it.
    """

    origin = "image_folder reads your own images: DIR/<class>/*.png, or DIR/*.png without labels"

    def __init__(
        self,
        root: str | Path,
        *,
        labels: str = "folders",
        table: str | None = None,
        file_column: str = "file",
        label_column: str | None = "label",
        patient_column: str | None = None,
    ) -> None:
        if labels not in ("folders", "none"):
            raise UserError(f"data.source.labels={labels} must be one of folders, none")
        self.root, self.labels = Path(root), labels
        self.table, self.file_column = table, file_column
        self.label_column, self.patient_column = label_column, patient_column

    def files(self) -> list[Path]:
        """Every image, and the table."""
        table = [self.root / self.table] if self.table is not None else []
        return [path for path in walk_files(self.root) if is_image(path)] + table

    def records(self) -> Listing:
        """Every image, by path. Raises UserError for images beside class folders, and for a table that does not fit."""
        base = unwrap(self.root)
        folder = _folder if self.labels == "folders" else _no_folder
        found = [Record(path, label=folder(path, base)) for path in walk_files(base) if is_image(path)]
        if self.table is not None:
            return Listing(self._with_table(found), notes=self._compared(found))
        flat = [record for record in found if record.label is None]
        if flat and len(flat) < len(found):
            raise UserError(
                f"image_folder: {base} holds {len(flat):,} images beside folders with {len(found) - len(flat):,}; "
                "move the former into a class folder, or set data.source.labels=none"
            )
        return Listing(found)

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Patients as the table names them; without one, identical and near-identical images stay together."""
        names = [record.path.relative_to(self.root).as_posix() for record in records]
        if any(record.patient is not None for record in records):
            return group_patients([record.patient for record in records], names, looks)
        return group_duplicates(names, looks)

    def _compared(self, records: Sequence[Record]) -> list[str]:
        """How the table and the files differ."""
        rows = self._rows()
        listed = {name for row in rows for name in _spellings(row)}
        files = {name for record in records for name in _spellings(record.path.relative_to(self.root).as_posix())}
        missing = sum(_stem(row) not in files and Path(_stem(row)).name not in files for row in rows)
        extra = sum(not (_spellings(r.path.relative_to(self.root).as_posix()) & listed) for r in records)
        return [f"{self.table}: {len(rows):,} rows, {missing:,} of them without a file; {extra:,} files without a row"]

    def _with_table(self, found: Sequence[Record]) -> list[Record]:
        rows = self._rows()
        by_name: dict[str, dict[str, str]] = {}
        for file, row in rows.items():
            by_name[_stem(file)] = row
            by_name.setdefault(Path(_stem(file)).name, row)
        result = []
        for record in found:
            stem = _stem(record.path.relative_to(self.root).as_posix())
            row = by_name.get(stem) or by_name.get(Path(stem).name) or {}
            label = row.get(self.label_column or "") or record.label
            result.append(replace(record, label=label, patient=row.get(self.patient_column or "") or None))
        if found and not any(_spellings(r.path.relative_to(self.root).as_posix()) & by_name.keys() for r in found):
            raise UserError(f"data.source.table={self.table}: no row names one of the {len(found):,} images")
        return result

    def _rows(self) -> dict[str, dict[str, str]]:
        """The table's rows by what their file column says."""
        path = self.root / (self.table or "")
        if not path.is_file():
            raise UserError(f"data.source.table={self.table}: no such file in {self.root}")
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
                reader = csv.DictReader(text)
                rows, columns = list(reader), list(reader.fieldnames or [])
        except csv.Error as error:
            raise UserError(f"data.source.table={self.table} is no CSV: {error}") from error
        for column in (self.file_column, self.label_column, self.patient_column):
            if column is not None and column not in columns:
                has = ", ".join(columns) or "none"
                raise UserError(f"data.source.table={self.table} has no column '{column}'; its columns: {has}")
        return {row[self.file_column]: row for row in rows if row[self.file_column]}


def _folder(path: Path, base: Path) -> str | None:
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else None


def _no_folder(path: Path, base: Path) -> None:
    return None


def _stem(file: str) -> str:
    """A file as tables may spell it: lower case, forward slashes, no extension of an image."""
    path = Path(file.strip().replace("\\", "/").lower())
    return (path.with_suffix("") if is_image(path) else path).as_posix()


def _spellings(file: str) -> set[str]:
    """The path and the bare name, either of which a table may hold."""
    return {_stem(file), Path(_stem(file)).name}
