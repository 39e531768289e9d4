"""Tables beside images: CSV and TSV as people save them, and the rows that belong to files."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsynth.data.sources.source import Record, Rejected, is_image
from medsynth.data.volume import ending, stem
from medsynth.errors import UserError

MISSING = ("", "n/a")  # BIDS writes n/a where a value is missing
Row = dict[str, str]


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


def read_table(path: Path) -> tuple[list[str], list[Row]]:
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


def read_rows(path: Path, needs: Sequence[str]) -> list[Row]:
    """The rows of a table. Raises UserError for a column of `needs` that it does not have."""
    columns, rows = read_table(path)
    if missing := [column for column in needs if column not in columns]:
        raise UserError(f"{path} has no column '{missing[0]}'; its columns: {', '.join(columns) or 'none'}")
    return rows


@dataclass(frozen=True)
class Keyed:
    """The rows of a table by their key.

    contradictions: why a key is not among `rows`: its rows say different things, which are named in one line.
    notes: one sentence where rows were repeats.
    """

    rows: dict[str, Row]
    contradictions: dict[str, str]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """All keys."""
        return [*self.rows, *self.contradictions]


def rows_by(key: Callable[[Row], str], rows: Iterable[Row], *, says: Iterable[str | None], table: str) -> Keyed:
    """The rows of `table` by what `key` makes of each; a row without a key is left out.

    Rows of one key are merged, unless they differ in a column of `says`; what is MISSING differs from nothing. What
    they say differently of other columns is empty.
    """
    says = {column for column in says if column is not None}
    merged: dict[str, Row] = {}
    contradictions: dict[str, str] = {}
    differing: list[tuple[str, str]] = []
    repeats = 0
    for row in rows:
        name = key(row)
        if not name:
            continue
        first = merged.setdefault(name, row)
        repeats += first is not row
        for column in row:
            values = [value for value in (first.get(column, ""), row[column]) if value not in MISSING]
            if len(set(values)) > 1:
                differing.append((name, column))
                both = " and ".join(f"{column}={value}" for value in values)
                if column in says:
                    contradictions.setdefault(name, f"{table} says {both} of {name}")
        merged[name] = {**row, **{column: value for column, value in first.items() if value not in MISSING}}
    for name, column in differing:
        merged[name] = {**merged[name], column: ""}
    kept = {name: row for name, row in merged.items() if name not in contradictions}
    return Keyed(kept, contradictions, [f"{table}: {repeats:,} rows repeat the key of another"] if repeats else [])


@dataclass(frozen=True)
class FileTable:
    """A table that says labels and patients of files.

    root, name: its place below the root.  key: what the setting is called, as in "data.table".
    file, label, patient: its columns; None: it does not say. File names in it may have folders or lack them, and their
    case and ending do not matter, as long as that leaves one row for one file.
    """

    root: Path
    name: str
    key: str
    file: str
    label: str | None
    patient: str | None

    def split(self, records: Sequence[Record]) -> tuple[list[Record], list[Rejected]]:
        """The records with the table's labels and patients, and the files whose rows contradict each other.

        A record without a row keeps its own label and patient. Raises UserError for a table that does not fit, and for
        rows that may be several files.
        """
        keyed = self._keyed()
        found, unclear = _match(keyed.names, list(map(self._file, records)))
        for row, files in unclear.items():
            both = " and ".join(files[:2])
            raise UserError(f"{self.key}={self.name}: the row {row} fits {both}; write its folder and ending")
        if records and not found:
            raise UserError(f"{self.key}={self.name}: no row names one of the {len(records):,} images")
        kept: list[Record] = []
        rejected: list[Rejected] = []
        for record in records:
            row = found.get(self._file(record), "")
            if row in keyed.contradictions:
                rejected.append(Rejected(record.path, f"{keyed.contradictions[row]}; keep the row that is right"))
            else:
                kept.append(self._applied(record, keyed.rows.get(row, {})))
        return kept, rejected

    def _applied(self, record: Record, row: Row) -> Record:
        label, patient = row.get(self.label or "") or record.label, row.get(self.patient or "") or record.patient
        return replace(record, label=label, patient=patient, row=row)

    def compare(self, records: Sequence[Record]) -> list[str]:
        """How the table and the files differ, in one sentence, and one on rows that were repeats."""
        keyed = self._keyed()
        found, _ = _match(keyed.names, list(map(self._file, records)))
        rows, without = len(keyed.names), len(keyed.names) - len(found)
        counts = f"{rows:,} rows, {without:,} of them without a file; {len(records) - len(found):,} files without a row"
        return [f"{self.name}: {counts}", *keyed.notes]

    def _file(self, record: Record) -> str:
        return record.path.relative_to(self.root).as_posix()

    def _keyed(self) -> Keyed:
        """The rows by what their file column says, in lower case."""
        path = self.root / self.name
        if not path.is_file():
            raise UserError(f"{self.key}={self.name}: no such file in {self.root}")
        columns, rows = read_table(path)
        for column in (self.file, self.label, self.patient):
            if column is not None and column not in columns:
                has = ", ".join(columns) or "none"
                raise UserError(f"{self.key}={self.name} has no column '{column}'; its columns: {has}")
        named = [row for row in rows if row[self.file]]
        return rows_by(lambda row: _path(row[self.file]), named, says=(self.label, self.patient), table=self.name)


def _path(file: str) -> str:
    """A file as tables may spell it: lower case, forward slashes."""
    return Path(file.strip().replace("\\", "/").lower()).as_posix()


def _bare(file: str) -> str:
    """The same without the ending of an image or volume."""
    path = Path(_path(file))
    if ending(path):
        return path.with_name(stem(path)).as_posix()
    return (path.with_suffix("") if is_image(path) else path).as_posix()


def _name(file: str) -> str:
    """The same without folders."""
    return Path(_bare(file)).name


def _match(rows: Sequence[str], files: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The row of each file that has one, and the files of each row that may be several.

    Path, path without ending and bare name count in this order, each where it is that of one row and one file alone.
    """
    found: dict[str, str] = {}
    unclear: dict[str, list[str]] = {}
    for spell in (_path, _bare, _name):
        fits = _spelled(files, spell)
        for name, (row, *others) in _spelled(rows, spell).items():
            if not others and len(fits[name]) == 1:
                found.setdefault(fits[name][0], row)
            elif not others and len(fits[name]) > 1 and (spell is not _name or "/" not in row):
                unclear[row] = fits[name]
    used = set(found.values())
    return found, {row: several for row, several in unclear.items() if row not in used}


def _spelled(names: Iterable[str], spell: Callable[[str], str]) -> dict[str, list[str]]:
    """The names of each spelling."""
    found = defaultdict(list)
    for name in names:
        found[spell(name)].append(name)
    return found
