"""Tables beside images: CSV and TSV as people save them, and the rows that belong to files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsynth.data.sources.source import Record, is_image
from medsynth.data.volume import ending, stem
from medsynth.errors import UserError


def read_text(path: Path) -> str:
    """A table as text, without a byte order mark: UTF-8, and Latin-1 where it is not. Raises UserError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV, or of a TSV where the name says so; fields without the blanks around them.

    A row that is too short has empty fields. Raises UserError when it cannot be read.
    """
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
        columns = list(reader.fieldnames or [])
        return columns, [{column: (row[column] or "").strip() for column in columns} for row in reader]
    except csv.Error as error:
        raise UserError(f"{path} is no CSV: {error}") from error


def read_rows(path: Path, needs: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table. Raises UserError for a column of `needs` that it does not have."""
    columns, rows = read_table(path)
    if missing := [column for column in needs if column not in columns]:
        raise UserError(f"{path} has no column '{missing[0]}'; its columns: {', '.join(columns) or 'none'}")
    return rows


@dataclass(frozen=True)
class FileTable:
    """A table that says labels and patients of files.

    root, name: its place below the root.  key: what the setting is called, as in "data.table".
    file, label, patient: its columns; None: it does not say. File names in it may have folders or lack them, and their
    case and ending do not matter.
    """

    root: Path
    name: str
    key: str
    file: str
    label: str | None
    patient: str | None

    def apply(self, records: Sequence[Record]) -> list[Record]:
        """The records with the table's labels and patients; a record without a row keeps its own label and patient.

        Raises UserError for a table that does not fit.
        """
        by_name: dict[str, dict[str, str]] = {}
        for file, row in self._rows().items():
            by_name[_bare(file)] = row
            by_name.setdefault(Path(_bare(file)).name, row)
        if records and not any(self._spellings(record) & by_name.keys() for record in records):
            raise UserError(f"{self.key}={self.name}: no row names one of the {len(records):,} images")
        return [self._applied(record, by_name) for record in records]

    def _applied(self, record: Record, by_name: dict[str, dict[str, str]]) -> Record:
        bare = _bare(record.path.relative_to(self.root).as_posix())
        row = by_name.get(bare) or by_name.get(Path(bare).name) or {}
        label, patient = row.get(self.label or "") or record.label, row.get(self.patient or "") or record.patient
        return replace(record, label=label, patient=patient)

    def compare(self, records: Sequence[Record]) -> list[str]:
        """How the table and the files differ, in one sentence."""
        rows = self._rows()
        listed = {name for row in rows for name in _spellings(row)}
        files = {name for record in records for name in self._spellings(record)}
        missing = sum(_bare(row) not in files and Path(_bare(row)).name not in files for row in rows)
        extra = sum(not (self._spellings(record) & listed) for record in records)
        return [f"{self.name}: {len(rows):,} rows, {missing:,} of them without a file; {extra:,} files without a row"]

    def _spellings(self, record: Record) -> set[str]:
        return _spellings(record.path.relative_to(self.root).as_posix())

    def _rows(self) -> dict[str, dict[str, str]]:
        """The rows by what their file column says."""
        path = self.root / self.name
        if not path.is_file():
            raise UserError(f"{self.key}={self.name}: no such file in {self.root}")
        columns, rows = read_table(path)
        for column in (self.file, self.label, self.patient):
            if column is not None and column not in columns:
                has = ", ".join(columns) or "none"
                raise UserError(f"{self.key}={self.name} has no column '{column}'; its columns: {has}")
        return {row[self.file]: row for row in rows if row[self.file]}


def _bare(file: str) -> str:
    """A file as tables may spell it: lower case, forward slashes, no ending of an image or volume."""
    path = Path(file.strip().replace("\\", "/").lower())
    if ending(path):
        return path.with_name(stem(path)).as_posix()
    return (path.with_suffix("") if is_image(path) else path).as_posix()


def _spellings(file: str) -> set[str]:
    """The path and the bare name, either of which a table may hold."""
    return {_bare(file), Path(_bare(file)).name}
