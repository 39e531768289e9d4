"""Any dataset in BIDS (bids-specification.readthedocs.io), as OpenNeuro and many hospitals hand it out."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Unpack

from medsynth.data.sources.source import Listing, Record, Rejected, check_choice, walk_files
from medsynth.data.sources.table import MISSING, Keyed, Row, read_rows, rows_by
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource, check_once
from medsynth.data.volume import ending, is_volume_part, stem
from medsynth.errors import UserError

SCAN = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(?P<more>(?:_[A-Za-z]+-[A-Za-z0-9.+]+)*)_(?P<suffix>[A-Za-z0-9]+)")
SESSION = re.compile(r"_(ses-[A-Za-z0-9]+)")
TABLE = "participants.tsv"

OTHER = frozenset(("derivatives", "sourcedata", "code", "stimuli"))  # folders of a dataset that hold no scans of it


@dataclass(frozen=True)
class Scan:
    """A volume, by what its name says. dataset: folder of its dataset below the root, "." for the root itself.

    entities: the name without the suffix, sub-01_ses-2_acq-fast_run-1.
    """

    path: Path
    dataset: str
    subject: str
    session: str
    entities: str
    suffix: str

    @property
    def name(self) -> str:
        """That of the file without its ending."""
        return f"{self.entities}_{self.suffix}"

    @property
    def patient(self) -> str:
        """The subject, after the folder of its dataset where that is not the root."""
        return (PurePosixPath(self.dataset) / self.subject).as_posix()


class Bids(VolumeSource):
    """Volumes sub-*/[ses-*/]<type>/sub-*_<suffix>.nii[.gz] of the dataset in `root` and of datasets in folders below.

    target: suffix, such as T1w, FLAIR or ct, or a list of suffixes of one grid that become the channels.  condition:
    suffixes that they are to be made from; None: none. Scans belong together when they are the only ones of their
    session, or agree in all entities; one that lacks its fellow is rejected by name.
    masks: what stands behind an image's name in that of its mask below derivatives: seg-manual for
    sub-01_T1w_seg-manual.nii.gz; also behind the name without suffix: dseg for sub-01_dseg.nii.gz. None: no masks.
    label_column: column of participants.tsv; subjects without a value are rejected by name. None: no labels.
    unit: "signal", or "hu" for CT.  A subject is one patient, whatever the session and run.
    """

    origin = "bids reads DIR/sub-*/[ses-*/]anat/sub-*_T1w.nii.gz and the like; openneuro.org has such datasets"
    compares = False

    def __init__(
        self,
        root: str | Path,
        *,
        target: str | Sequence[str] = "T1w",
        condition: str | Sequence[str] | None = None,
        masks: str | None = None,
        label_column: str | None = None,
        unit: str = "signal",
        **reading: Unpack[Reading],
    ) -> None:
        super().__init__(root, **reading)
        self.target, self.condition = _suffixes(target), _suffixes(condition)
        check_once("suffix", self.target, self.condition)
        if not self.target:
            raise UserError(f"data.target={target} names no suffix; set data.modality=T1w, or a list of suffixes")
        check_choice("unit", unit, ("signal", "hu"))
        if unit == "signal" and "ct" in {suffix.lower() for suffix in (*self.target, *self.condition)}:
            raise UserError("data.modality=ct has Hounsfield units: set data.unit=hu, and data.window")
        self.masks, self.label_column, self.unit = masks, label_column, unit
        self.channels = (len(self.target),)

    def files(self) -> list[Path]:
        """Every volume, with what holds its voxels, and every participants.tsv below the root."""
        return [path for path in walk_files(self.root) if is_volume_part(path) or path.name == TABLE]

    def records(self) -> Listing:
        """Every image with its channels, by path. Raises UserError where no file has a wanted suffix."""
        files = self.files()
        scans = [scan for path in files if (scan := self._scan(path)) is not None]
        wanted = (*self.target, *self.condition)
        self._check_suffixes([scan.suffix for scan in scans])
        rejected: list[Rejected] = []
        found: list[tuple[Scan, ...]] = []
        for together in _sessions([scan for scan in scans if scan.suffix in wanted]):
            for fellows in _fellows(together, wanted):
                fault = _fault(fellows, wanted)
                if fault:
                    rejected.append(Rejected(fellows[0].path, fault))
                else:
                    found.append(tuple(next(s for s in fellows if s.suffix == suffix) for suffix in wanted))
        masks, notes = self._masks(files, [fellows[0] for fellows in found], scans)
        people = self._people(files, [scan for scan in scans if scan.suffix in wanted])
        results = [self._record(fellows, masks, people) for fellows in found]
        rejected += [result for result in results if isinstance(result, Rejected)]
        records = [result for result in results if isinstance(result, Record)]
        return self.with_unused(Listing(records, rejected, [*notes, *people.notes]))

    def _scan(self, path: Path) -> Scan | None:
        """What a volume's name says; None below derivatives and for names that BIDS does not have."""
        folders = self._folders(path)
        named = SCAN.fullmatch(stem(path)) if ending(path) else None
        if named is None or not OTHER.isdisjoint(folders):
            return None
        depth = next((k for k, folder in enumerate(folders) if folder.startswith("sub-")), 0)
        session = SESSION.search(named["more"])
        return Scan(
            path, PurePosixPath(*folders[:depth]).as_posix(), named["subject"], session[1] if session else "",
            named["subject"] + named["more"], named["suffix"],
        )  # fmt: skip

    def _folders(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self.root).parts[:-1]

    def _check_suffixes(self, there: Sequence[str]) -> None:
        if not there:
            raise UserError(
                f"bids: no sub-*/.../sub-*_{self.target[0]}.nii.gz under {self.root} (data.root). {self.origin}. "
                "Set data.root=DIR, or data.phantom=true for procedural images"
            )
        for suffix in (*self.target, *self.condition):
            if suffix not in there:
                counts = ", ".join(f"{name} ({count:,})" for name, count in Counter(there).most_common())
                raise UserError(f"bids: no image with the suffix {suffix} under {self.root}; there are {counts}; "
                                "set data.modality, data.target or data.condition")  # fmt: skip

    def _record(self, fellows: Sequence[Scan], masks: dict[Path, list[Path]], people: Keyed) -> Record | Rejected:
        first, paths = fellows[0], [scan.path for scan in fellows]
        mask = masks.get(first.path, [])
        if len(mask) > 1:
            named = ", ".join(path.relative_to(self.root).as_posix() for path in mask)
            return Rejected(first.path, f"has {len(mask)} masks: {named}")
        row = people.rows.get(first.patient, {})
        label = None if (said := row.get(self.label_column or "", "")) in MISSING else said
        if self.label_column is not None and label is None:
            unsaid = f"{TABLE} gives no {self.label_column} for {first.patient}"
            fault = people.contradictions.get(first.patient, unsaid)
            return Rejected(first.path, f"{fault}; data.label_column=null reads images without labels")
        count = len(self.target)
        volume = Volume(tuple(paths[:count]), mask[0] if mask else None, tuple(paths[count:]))
        return Record(first.path, label=label, patient=first.patient, row=row, detail=volume)

    def _masks(
        self, files: Sequence[Path], images: Sequence[Scan], scans: Sequence[Scan]
    ) -> tuple[dict[Path, list[Path]], list[str]]:
        """The masks of each image by its path, and what derivatives hold for the images.

        Raises UserError when no image has one that `masks` names.
        """
        there: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in files:
            folders = self._folders(path)
            if ending(path) and "derivatives" in folders:
                dataset = PurePosixPath(*folders[: folders.index("derivatives")]).as_posix()
                there[dataset, stem(path)].append(path)
        stems = {scan.name for scan in scans} | {scan.entities for scan in images}
        owned = {scan.name for scan in images} | {scan.entities for scan in images}
        parts = (_parted(name, stems) for _, name in there)
        endings = Counter(ending for stem, ending in parts if stem in owned)
        named = ", ".join(f"{ending} ({count:,})" for ending, count in endings.most_common())
        if self.masks is None:
            return {}, [f"derivatives hold {named}; data.masks=NAME reads one of them as masks"] if named else []
        masks = {
            scan.path: there.get((scan.dataset, f"{scan.name}_{self.masks}"))
            or there.get((scan.dataset, f"{scan.entities}_{self.masks}"), [])
            for scan in images
        }
        if images and not any(masks.values()):
            raise UserError(f"data.masks={self.masks}: no image has such a mask; derivatives hold {named or 'none'}")
        return masks, [f"{sum(map(bool, masks.values())):,} of {len(images):,} images have a mask {self.masks}"]

    def _people(self, files: Sequence[Path], scans: Sequence[Scan]) -> Keyed:
        """The rows of participants.tsv by patient; its notes say how tables and folders differ."""
        datasets = {scan.dataset for scan in scans}
        homes = {path: path.parent.relative_to(self.root).as_posix() for path in files if path.name == TABLE}
        tables = {path: dataset for path, dataset in homes.items() if dataset in datasets}
        if self.label_column is not None and not tables:
            raise UserError(
                f"data.label_column={self.label_column}: there is no {TABLE} for {self.target[0]} images under "
                f"{self.root}; data.label_column=null reads images without labels"
            )
        people = Keyed({}, {}, [])
        says = [] if self.label_column is None else [self.label_column]
        for path, dataset in tables.items():
            name = path.relative_to(self.root).as_posix()
            table = rows_by(_subject, read_rows(path, ["participant_id", *says]), says=says, table=name)
            there = set(table.names)
            folders = {scan.subject for scan in scans if scan.dataset == dataset}
            people.notes.append(
                f"{name}: {len(there):,} subjects, {len(there - folders):,} of them without such an image; "
                f"{len(folders - there):,} subjects without a row"
            )
            people.notes.extend(table.notes)
            home = PurePosixPath(dataset)
            people.rows.update({(home / who).as_posix(): row for who, row in table.rows.items()})
            people.contradictions.update({(home / who).as_posix(): why for who, why in table.contradictions.items()})
        return people


def _subject(row: Row) -> str:
    """That of a row of participants.tsv, which may say 01 for sub-01; empty where it says none."""
    name = row["participant_id"].removeprefix("sub-")
    return f"sub-{name}" if name not in MISSING else ""


def _suffixes(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(map(str, names))


def _sessions(scans: Sequence[Scan]) -> Iterator[list[Scan]]:
    """The scans of each session of each subject."""
    sessions: dict[tuple[str, str, str], list[Scan]] = defaultdict(list)
    for scan in scans:
        sessions[scan.dataset, scan.subject, scan.session].append(scan)
    yield from sessions.values()


def _fellows(session: Sequence[Scan], wanted: Sequence[str]) -> Iterator[list[Scan]]:
    """The scans of a session that belong together: all, where each suffix occurs once, else those of equal entities."""
    counts = Counter(scan.suffix for scan in session)
    if all(counts[suffix] == 1 for suffix in wanted):
        yield list(session)
        return
    alike: dict[str, list[Scan]] = defaultdict(list)
    for scan in session:
        alike[scan.entities].append(scan)
    yield from alike.values()


def _fault(fellows: Sequence[Scan], wanted: Sequence[str]) -> str:
    """Why scans that belong together are no image; empty when they are."""
    there = Counter(scan.suffix for scan in fellows)
    for suffix in wanted:
        if not there[suffix]:
            return f"{fellows[0].entities} has no {suffix} beside {', '.join(there)}"
        if there[suffix] > 1:
            same = ", ".join(scan.path.name for scan in fellows if scan.suffix == suffix)
            return f"{fellows[0].entities} has {there[suffix]} files of {suffix}: {same}"
    return ""


def _parted(name: str, images: Set[str]) -> tuple[str, str]:
    """A derivative's name as the longest of the images' names that it begins with, if any, and what stands behind."""
    words = name.split("_")
    ends = (k for k in range(len(words) - 1, 0, -1) if "_".join(words[:k]) in images)
    k = next(ends, 0)
    return "_".join(words[:k]), "_".join(words[k:])
