"""The tables of chest X-ray sets, compared with the disk: COVIDx's split files, which are mended, and metadata.csv."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from medsynth.data.series import Union
from medsynth.data.sources.source import IMAGE_EXTENSIONS, Listing, Record, Rejected, is_image, walk_files
from medsynth.data.sources.table import read_rows, read_text
from medsynth.errors import UserError

LABELS = {label.lower(): label for label in ("positive", "negative", "normal", "pneumonia", "COVID-19")}
_END = rf"\s+(?P<label>{'|'.join(LABELS)})(?:\s+(?P<source>\S.*))?"
_ENDINGS = "|".join(sorted(ending[1:] for ending in IMAGE_EXTENSIONS))
# The label stands behind the file and is looked for from the right, first behind a name that ends as images do.
ROWS = [re.compile(rf"(?P<front>\S.*{ending}){_END}", re.IGNORECASE) for ending in (rf"\.(?:{_ENDINGS})", r"\S")]
SUFFIXED = re.compile(r"((?:COVID-)?\d+)[a-z]")  # "379b" and "COVID-00003a": an image of patient 379, of COVID-00003


@dataclass(frozen=True)
class Row:
    """A row of a split file: where it stands, what it says, and the file it means, found or not."""

    place: str
    patient: str
    path: Path
    label: str
    source: str
    is_mended: bool
    """Whether a field holds a blank, so that splitting at blanks misreads the row."""
    is_there: bool


@dataclass(frozen=True)
class SplitFiles:
    """Images in `base`/train and `base`/test, and the table of each side, rows of `id file label [source]`.

    The tables are the truth. on_bad: what rows do whose file is missing, "stop" the command or be rejected ("skip").
    """

    base: Path
    tables: dict[str, Path]
    on_bad: str
    positive: str | None

    def files(self) -> list[Path]:
        """Every image in the folders of the sides, and the tables."""
        return [path for side in self.tables for path in _images(self.base / side)] + list(self.tables.values())

    def listing(self) -> Listing:
        """One record for each file that a row names. Raises UserError for missing files, unless on_bad is "skip"."""
        sides: dict[str, list[Row]] = {}
        rejected: list[Rejected] = []
        notes: list[str] = []
        for side, table in self.tables.items():
            present = set(_images(self.base / side))
            rows, bad = self._rows(table, self.base / side, present)
            sides[side] = rows
            rejected += [Rejected(table, reason) for reason in bad]
            notes += _about_rows(table.name, rows, extra=len(present - {row.path for row in rows}), side=side)
        missing = [row for rows in sides.values() for row in rows if not row.is_there]
        if missing and self.on_bad == "stop":
            raise UserError(self._missing(missing, sides))
        rejected += [Rejected(row.path, f"{row.place}: no such file (source {row.source or '?'})") for row in missing]
        records, twice, said = self._merged(sides)
        return Listing(records, rejected + twice, notes + said)

    def _rows(self, table: Path, folder: Path, present: set[Path]) -> tuple[list[Row], list[str]]:
        """The rows of a table, and the reasons why others are none."""
        rows, bad = [], []
        for number, line in enumerate(read_text(table).split("\n"), 1):
            if not line.strip():
                continue
            place = f"{table.name} line {number}"
            try:
                rows.append(_row(line.strip(), place, folder, present))
            except ValueError as reason:
                bad.append(f"{place} '{line.strip()[:120]}' {reason}")
        return rows, bad

    def _missing(self, missing: Sequence[Row], sides: dict[str, list[Row]]) -> str:
        first, total = missing[0], sum(map(len, sides.values()))
        mended = sum(row.is_mended for rows in sides.values() for row in rows)
        return (
            f"covidx: {first.place} names '{first.path.name}', not found under {first.path.parent} "
            f"({len(missing):,} of {total:,} rows miss their file: {_by_source(missing)}; "
            f"{mended:,} rows were repaired); set data.root or data.on_bad=skip"
        )

    def _merged(self, sides: dict[str, list[Row]]) -> tuple[list[Record], list[Rejected], list[str]]:
        """One record a file; files with two labels are rejected; what was said twice is a note."""
        people = one_person({row.patient for row in same} for same in _by_path(chain(*sides.values())).values())
        records, rejected, repeated = [], [], 0
        for side, rows in sides.items():
            for path, same in _by_path(row for row in rows if row.is_there).items():
                if len({row.label for row in same}) > 1:
                    said = ", ".join(f"{row.label} in {row.place}" for row in same)
                    rejected.append(Rejected(path, f"has more than one label: {said}"))
                    continue
                repeated += len(same) > 1
                label, published = label_of(same[0].label, self.positive), side if "test" in sides else None
                records.append(Record(path, label=label, patient=people[same[0].patient], official_split=published))
        notes = (
            [f"{repeated:,} files are named by more than one row with one label: one image each"] if repeated else []
        )
        return records, rejected, notes + _about_people(people)


def _row(line: str, place: str, folder: Path, present: set[Path]) -> Row:
    """The row that a line means. Raises ValueError with the reason when it means none."""
    found = next((match for pattern in ROWS if (match := pattern.fullmatch(line))), None)
    if found is None:
        raise ValueError(f"has no file before one of the labels {', '.join(LABELS.values())}")
    front, source = found["front"], found["source"] or ""
    splits = [(front[: gap.start()], front[gap.end() :]) for gap in re.finditer(r"\s+", front)]
    if not splits:
        raise ValueError("names no patient before the file")
    there = [(patient, file) for patient, file in splits if is_below(file) and folder / file in present]
    if len(there) > 1:
        raise ValueError(f"may mean {' or '.join(repr(file) for _, file in there)}, and both exist")
    if not there and not all(is_below(file) for _, file in splits):
        raise ValueError(f"names a file outside {folder.name}/ and was not followed")
    patient, file = there[0] if there else splits[-1]
    if there and not _stays_in(folder / file, folder):
        raise ValueError(f"names a link that leads out of {folder.name}/ and was not followed")
    mended = len(splits) > 1 or len(source.split()) > 1
    return Row(place, person(patient), folder / file, LABELS[found["label"].lower()], source, mended, bool(there))


def is_below(file: str) -> bool:
    """Whether a relative path stays in its folder, links aside."""
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts


def _stays_in(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in walk_files(folder) if is_image(path)) if folder.is_dir() else iter(())


def _by_path(rows: Iterable[Row]) -> dict[Path, list[Row]]:
    groups: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.path].append(row)
    return groups


def _by_source(rows: Iterable[Row]) -> str:
    return ", ".join(f"{source or '?'} {count:,}" for source, count in Counter(r.source for r in rows).most_common())


def _about_rows(table: str, rows: Sequence[Row], *, extra: int, side: str) -> list[str]:
    mended, missing = [row for row in rows if row.is_mended], [row for row in rows if not row.is_there]
    there = sum(row.is_there for row in mended)
    notes = [
        f"{table}: {len(rows):,} rows, {len(mended):,} of them repaired (a blank inside a field): the files of "
        f"{there:,} are there, of {len(mended) - there:,} missing"
    ]
    if missing:
        notes.append(f"{table}: {len(missing):,} rows name a file that is not in {side}/: {_by_source(missing)}")
    if extra:
        notes.append(f"{side}: {extra:,} images without a row in {table} are left out")
    return notes


@dataclass(frozen=True)
class Metadata:
    """A metadata.csv and the images beside it (in images/ where there is such a folder).

    A row names its file in the column filename or imagename; without either, its patientid is the file's stem. The
    files are the truth; those that no row calls an X-ray in one of `views` (None: any) are rejected.
    """

    table: Path
    views: Sequence[str] | None
    positive: str | None

    def files(self) -> list[Path]:
        """Every image, and the table."""
        folder = self.table.parent / "images"
        return [*_images(folder if folder.is_dir() else self.table.parent), self.table]

    def listing(self) -> Listing:
        """A record for each X-ray. Raises UserError for a table without the columns patientid and finding."""
        rows = read_rows(self.table, needs=("patientid", "finding"))
        column = next((name for name in ("filename", "imagename") if rows and name in rows[0]), None)
        by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in rows:
            if row[column or "patientid"]:
                by_file[row[column or "patientid"]].append(row)
        images = {path: path.name if column else path.stem for path in self.files()[:-1]}
        named = {key: [name for row in same if (name := person(row["patientid"]))] for key, same in by_file.items()}
        people = one_person(set(names) for names in named.values() if names)
        records, rejected = [], []
        for path, key in images.items():
            if reason := self._left_out(by_file.get(key, [])):
                rejected.append(Rejected(path, reason))
                continue
            row = by_file[key][0]
            patient = people[named[key][0]] if named[key] else None
            records.append(Record(path, label=label_of(row["finding"], self.positive), patient=patient))
        return Listing(records, rejected, [*self._compared(by_file, set(images.values())), *_about_people(people)])

    def _left_out(self, rows: Sequence[dict[str, str]]) -> str:
        """Why an image with these rows is no record; empty when it is one."""
        if not rows:
            return f"has no row in {self.table.name}, so nothing says what it shows"
        if len({row["finding"] for row in rows}) > 1:
            return f"has more than one finding in {self.table.name}: {', '.join(row['finding'] for row in rows)}"
        row = rows[0]
        if "modality" in row and row["modality"].lower() != "x-ray":
            return f"modality {row['modality'] or '(none)'}, no X-ray"
        kept = {view.lower() for view in self.views or ()}
        if self.views is not None and "view" in row and row["view"].lower() not in kept:
            return f"view {row['view'] or '(none)'} is not in data.views"
        return ""

    def _compared(self, by_file: dict[str, list[dict[str, str]]], files: set[str]) -> list[str]:
        """How the table and the files differ."""
        rows = [row for same in by_file.values() for row in same]
        lost = [row for key, same in by_file.items() for row in same if key not in files]
        volumes = sum(row.get("folder") == "volumes" for row in lost)
        twice = sum(len(same) > 1 for key, same in by_file.items() if key in files)
        notes = [
            f"{self.table.name}: {len(rows):,} rows, {len(lost):,} of them without an image "
            f"({volumes:,} are CT volumes); {len(files - by_file.keys()):,} images without a row are left out"
        ]
        if twice:
            notes.append(f"{self.table.name}: {twice:,} images have more than one row; each is one image")
        return notes


def label_of(finding: str, positive: str | None) -> str | None:
    """The class: None for a blank finding; as written without `positive`, else whether the finding holds that text."""
    if not finding:
        return None
    if positive is None or finding in ("positive", "negative"):
        return finding
    return "positive" if positive.lower() in finding.lower() else "negative"


def person(name: str) -> str:
    """A patient id without the letter that counts the images of one patient.

    Ids of different sources are not told apart: to take two people for one cannot leak, the other way round can.
    """
    suffixed = SUFFIXED.fullmatch(name)
    return suffixed[1] if suffixed else name


def one_person(same: Iterable[set[str]]) -> dict[str, str]:
    """Id -> the id that stands for its person, where each set holds the ids under which one image is known."""
    groups = [sorted(names) for names in same]
    numbers: dict[str, int] = {}
    for name in (name for names in groups for name in names):
        numbers.setdefault(name, len(numbers))
    union, names = Union(len(numbers)), list(numbers)
    for first, *others in groups:
        for other in others:
            union.join(numbers[first], numbers[other])
    return {name: names[union.root(number)] for name, number in numbers.items()}


def _about_people(people: dict[str, str]) -> list[str]:
    joined = [f"{name} = {who}" for name, who in people.items() if name != who]
    if not joined:
        return []
    return [f"{len(joined):,} patients are known under two ids, as one image has both: {', '.join(joined[:10])}"]
