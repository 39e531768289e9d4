"""COVIDx and the chest X-ray sets that it is made of, in three layouts: split files, metadata.csv, class folders."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_duplicates
from medsynth.data.sources.covidx_tables import Metadata, SplitFiles, is_below, label_of
from medsynth.data.sources.source import (
    SPLIT_FOLDERS,
    Listing,
    Record,
    Rejected,
    Source,
    check_choice,
    is_image,
    unwrap,
    walk_files,
)
from medsynth.errors import UserError

LAYOUTS = ("auto", "split_files", "metadata", "folders")
TABLES = ("train_split.txt", "test_split.txt")
METADATA = "metadata.csv"
# Parts of the class names of COVIDx and its sources, of Kaggle's sets on COVID-19 and tuberculosis, and of ChestX-ray8.
FINDINGS = (
    *("covid", "sars", "mers", "normal", "healthy", "finding", "positive", "negative", "pneumonia", "vir", "bacteria"),
    *("tubercul", "tb", "opacity", "atelectasis", "cardiomegaly", "consolidation", "edema", "effusion", "emphysema"),
    *("fibrosis", "hernia", "infiltrat", "mass", "nodule", "pleural", "pneumothorax"),
)
FRONTAL = ("PA", "AP", "AP Supine", "AP semi erect", "AP erect", "")
NIH_NAME = re.compile(r"(\d{8})_\d{3}")  # "00000165_001": patient 165 of ChestX-ray8, image 1
# "covid-19-pneumonia-24-day12", "jkms-35-e79-g001-l-c": an image of a patient's course, or a part of a figure.
PART_NAME = re.compile(r"(.+?)(?:-(?:day-?\d+|pa|ap|l|[a-f]\d?))+", re.IGNORECASE)


class Covidx(Source):
    """Chest radiographs below `root`, laid out as `layout` says ("auto": as the first of these that lies there).

    split_files: train/ and test/ with one table each, `id file label source`; broken rows are mended (SplitFiles).
    metadata: metadata.csv and images/, as in covid-chestxray, Figure1 and Actualmed (Metadata).
    folders: CLASS/*.png, or these in train/, val/ and test/, of which val counts as train; patients are known where
        file names say them.

    train_table, test_table: the split files, relative to the folder of train/; test_table None: no published test set.
    on_bad: what rows of the split files do whose image is missing: "stop", or "skip" them into `rejected`.
    views: which X-rays of metadata.csv are kept, by its column view ("" where the table does not say); None: all.
    positive: text that makes a finding "positive", every other one "negative"; None: findings as they are written.
    """

    origin = (
        "COVIDx is made by the scripts of github.com/lindawangg/COVID-Net, covid-chestxray is "
        "github.com/ieee8023/covid-chestxray-dataset"
    )

    def __init__(
        self,
        root: str | Path,
        *,
        layout: str = "auto",
        train_table: str = TABLES[0],
        test_table: str | None = TABLES[1],
        on_bad: str = "stop",
        views: str | Sequence[str] | None = FRONTAL,
        positive: str | None = None,
    ) -> None:
        check_choice("layout", layout, LAYOUTS)
        check_choice("on_bad", on_bad, ("stop", "skip"))
        for key, table in (("train_table", train_table), ("test_table", test_table)):
            if table is not None and not is_below(table):
                raise UserError(f"data.{key}={table} must be a file below the folder that holds train/")
        self.root, self.on_bad, self.positive = Path(root), on_bad, positive
        self.layout = "split_files" if layout == "auto" and train_table != TABLES[0] else layout
        self.train_table, self.test_table = train_table, test_table
        self.views = [views] if isinstance(views, str) else views

    def files(self) -> list[Path]:
        """Every image where the layout has them, and its tables. Raises UserError for a wrong layout."""
        return self._found().files()

    def records(self) -> Listing:
        """Every radiograph, in the order of the split files or by path.

        Raises UserError for a wrong layout, and for missing files unless on_bad is "skip".
        """
        return self._found().listing()

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Patients as named; two who share an identical or near-identical image are one.

        The sources of COVIDx publish the same radiographs under other names, ids and sizes. On real ones the same image
        correlates above 0.99 and two patients' below 0.95, so the likeness of duplicates decides here too.
        """
        names = [self.name(record.path) for record in records]
        alike = group_duplicates(names, looks)
        groups = super().groups(records, Looks(looks.thumbnails, alike.patients))
        report = {key: value for key, value in groups.report.items() if key != "joined_by_identical_images"}
        report["joined_by_identical_or_near_identical_images"] = groups.report["joined_by_identical_images"]
        warnings = [*groups.warnings, *(warning for warning in alike.warnings if warning not in groups.warnings)]
        return replace(groups, report=report, warnings=warnings)

    def _found(self) -> "SplitFiles | Metadata | ClassFolders":
        finders = {"split_files": self._split_files, "metadata": self._metadata, "folders": self._folders}
        wanted = [name for name in finders if self.layout in ("auto", name)]
        for name in wanted:
            if (found := finders[name]()) is not None:
                return found
        sought = {
            "split_files": f"no {self.train_table} beside train/",
            "metadata": f"no {METADATA}",
            "folders": "no class folders with images",
        }
        others = sorted({table for base in _nests(self.root) for table in _other_tables(base)})
        hint = f"; {others[0]} is there: set data.train_table={others[0]} and data.test_table" if others else ""
        raise UserError(
            f"covidx: {', '.join(sought[name] for name in wanted)} under {self.root} (data.root){hint}. {self.origin}. "
            "Set data.root=DIR, or data.phantom=true for procedural images"
        )

    def _split_files(self) -> SplitFiles | None:
        base = next((nest for nest in _nests(self.root) if (nest / self.train_table).is_file()), None)
        if base is None:
            return None
        tables = {"train": base / self.train_table}
        if self.test_table is not None:
            tables["test"] = base / self.test_table
            if not tables["test"].is_file():
                raise UserError(
                    f"covidx: no {self.test_table} beside {tables['train']}; "
                    "set data.test_table=FILE, or null when no test set is published"
                )
        return SplitFiles(base, tables, self.on_bad, self.positive)

    def _metadata(self) -> Metadata | None:
        base = next((nest for nest in _nests(self.root) if (nest / METADATA).is_file()), None)
        return None if base is None else Metadata(base / METADATA, self.views, self.positive)

    def _folders(self) -> "ClassFolders | None":
        found = ClassFolders(unwrap(self.root), self.positive)
        return found if any(found.place(path)[1] for path in found.files()) else None


@dataclass(frozen=True)
class ClassFolders:
    """One folder per class in `base`, or in train, val and test below it; those of val count as train."""

    base: Path
    positive: str | None

    def files(self) -> list[Path]:
        """Every image."""
        return [path for path in walk_files(self.base) if is_image(path)]

    def listing(self) -> Listing:
        """A record for each image in a class folder; others are rejected."""
        records, rejected = [], []
        for path in self.files():
            side, label = self.place(path)
            if label is None:
                rejected.append(Rejected(path, "lies in no class folder"))
                continue
            patient = _patient(path.stem)
            records.append(Record(path, label=label_of(label, self.positive), patient=patient, official_split=side))
        return Listing(records, rejected, _about_classes({r.path: self.place(r.path)[1] or "" for r in records}))

    def place(self, path: Path) -> tuple[str | None, str | None]:
        """Side and class by the folders above an image; None where it has none."""
        folders = path.relative_to(self.base).parts[:-1]
        side = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
        rest = folders[1:] if side else folders
        return side, rest[0] if rest else None


def _about_classes(classes: dict[Path, str]) -> list[str]:
    """A remark on class folders whose names are no finding: nothing else says that images show a chest."""
    odd = {name for name in classes.values() if not any(word in name.lower() for word in FINDINGS)}
    if not odd:
        return []
    count = sum(name in odd for name in classes.values())
    return [
        f"{count:,} images lie in class folders that are no finding known of chest X-rays ({', '.join(sorted(odd))}); "
        "they were taken as radiographs, by the name of their folder"
    ]


def _patient(stem: str) -> str | None:
    """Who an image in a class folder shows, where its name says it; None: nobody can know."""
    if nih := NIH_NAME.fullmatch(stem):
        return str(int(nih[1]))
    part = PART_NAME.fullmatch(stem)
    return part[1] if part else None


def _nests(root: Path) -> Iterator[Path]:
    """The folder, and what lies in it while that is a single folder: archives nest so."""
    yield root
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")
    if len(folders) == 1:
        yield from _nests(folders[0])


def _other_tables(base: Path) -> list[str]:
    """Tables of other names that look like a split file of the training side."""
    return [path.name for path in base.glob("train*.txt") if path.name != TABLES[0]]
