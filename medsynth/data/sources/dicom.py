"""DICOM as hospitals hand it out: any folder of objects, put together to series, without an identifier leaving it."""

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medsynth.data.dicom import Header, inflate, read_header
from medsynth.data.identity import pseudonym
from medsynth.data.intensity import FileWindow, Intensity, modality_unit
from medsynth.data.picture import BadImage
from medsynth.data.sources.dicom_series import Group, Series, Shot, arrange, group
from medsynth.data.sources.source import (
    IMAGE_EXTENSIONS,
    Listing,
    Load,
    Record,
    Rejected,
    Source,
    check_choice,
    walk_files,
)
from medsynth.data.sources.survey import Sample
from medsynth.data.sources.table import read_rows, rows_by
from medsynth.errors import UserError

# DICOM needs no extension, and names that are UIDs look as if they had one; these are surely something else.
OTHERS = IMAGE_EXTENSIONS | {
    f".{ending}"
    for endings in (
        "txt csv tsv json jsonl xml html htm pdf md rst log doc docx xls xlsx ppt pptx yaml yml ini inf py sh exe so",
        "nii gz zip tar tgz bz2 xz 7z rar mhd mha raw zraw hdr img nrrd npy npz mat h5 pkl mp4 avi mov svg db icc",
    )
    for ending in endings.split()
}
GROUPS = {"XRAY": ("CR", "DX", "RG"), "PET": ("PT",)}
LABELS = ("none", "folders", "modality")
SAMPLED, SIDE = 16, 128  # frames of a series, and pixels a side of each, that percentiles are taken of


class Dicom(Source):
    """Every DICOM object below `root`, with or without .dcm, as series in order of position.

    modality: "CT", "MR", "PT", "CR", ...; "xray" for CR, DX and RG; several whose values are alike; None: the only one
        there is. Objects that do not say theirs are taken to be what is asked for.
    labels: "none"; "folders", the first folder that differs; "modality".  table: CSV below `root` that says them, by
        one of file_column (a file or folder below `root`), patient_column (PatientID) and series_column
        (SeriesInstanceUID); series without a row have no label.

    One record is one series (CT, MR, PT, NM) or one object. Patients are salted hashes of PatientID, or of
    StudyInstanceUID where there is none, or else folders. What else the headers identify people by is not kept.
    """

    origin = "dicom reads your own DICOM files, in any folders below data.root"
    compares = False

    def __init__(
        self,
        root: str | Path,
        *,
        modality: str | Sequence[str] | None = "CT",
        labels: str = "none",
        table: str | None = None,
        label_column: str = "label",
        file_column: str | None = None,
        patient_column: str | None = None,
        series_column: str | None = None,
    ) -> None:
        self.root, self.labels, self.table, self.label_column = Path(root), labels, table, label_column
        self.modality, self.asked = modality, _asked(modality)
        units = {modality_unit(name) for name in self.asked}
        if len(units) > 1:
            raise UserError(f"data.modality={modality}: their values are not alike ({', '.join(sorted(units))})")
        check_choice("labels", labels, LABELS)
        keys = {"file": file_column, "patient": patient_column, "series": series_column}
        named = {key: column for key, column in keys.items() if column is not None}
        if table is not None and len(named) != 1:
            raise UserError(
                f"data.table={table} needs one of data.file_column, data.patient_column and data.source.series_column: "
                "the column that says what a row is about"
            )
        self.key, self.key_column = next(iter(named.items()), ("", ""))
        self.unit = units.pop() if units else "signal"
        self.channels = (1, 3) if self.unit == "grey" or not self.asked else (1,)

    def files(self) -> list[Path]:
        """Every file whose name does not say that it is something else, and the table."""
        found = [p for p in walk_files(self.root) if p.suffix.lower() not in OTHERS and not p.name.startswith(".")]
        return found + ([self.root / self.table] if self.table is not None else [])

    def records(self) -> Listing:
        """The series of the modality; all other objects, copies and unreadable files are rejected by name.

        Raises UserError when there is no DICOM, when modalities must be chosen from, and for a table that does not fit.
        """
        headers, rejected = self._headers()
        wanted, others = self._of_modality(headers)
        with _quiet():
            unique, copies = _without_copies(wanted, self.root)
        groups = group(unique)
        series = [arrange(frames) for frames in groups]
        labels, notes = self._labels(groups, series)
        patients = [self._patient(frames[0][0]) for frames in groups]
        records = [
            Record(one.path, label=label, patient=patient, detail=one)
            for one, label, patient in zip(series, labels, patients, strict=True)
        ]
        unnamed = sum(not header.modality for header in headers)
        notes += [f"{unnamed:,} objects do not say their modality and were taken as {self._name()}"] if unnamed else []
        notes += _notes(series, groups, self.root)
        return Listing(
            sorted(records, key=lambda record: record.path),
            sorted([*rejected, *others, *copies], key=lambda entry: entry.path),
            notes,
        )

    def read(self, record: Record, intensity: Intensity) -> Iterator[Load]:
        """The frames of a series. A codec that must be fitted is fitted to the foreground of 16 frames of it."""
        series: Series = record.detail
        codecs = _codecs(series, intensity)
        last: tuple[Path | None, bytes | None] = None, None
        for shot in series.shots:
            if shot.stored.deflated and shot.stored.path != last[0]:
                last = shot.stored.path, inflate(shot.stored)
            yield partial(shot.picture, codecs, last[1] if shot.stored.deflated else None)

    # ------------------------------------------------------------------------------------------------- what is there

    def _headers(self) -> tuple[list[Header], list[Rejected]]:
        """All headers, in the order of their files."""
        paths = self.files()[: None if self.table is None else -1]
        with _quiet():  # parsing holds the interpreter lock: threads would take longer
            read = list(map(_header_or_reason, paths))
        headers = [found for found in read if isinstance(found, Header)]
        rejected = [Rejected(p, found) for p, found in zip(paths, read, strict=True) if isinstance(found, str)]
        if all(entry.reason in ("no DICOM file", "empty file") for entry in rejected) and not headers:
            raise UserError(
                f"dicom: no DICOM file among the {len(paths):,} files under {self.root} (data.root). {self.origin}. "
                "Set data.root=DIR, or data.phantom=true for procedural images"
            )
        return headers, rejected

    def _of_modality(self, headers: Sequence[Header]) -> tuple[list[Header], list[Rejected]]:
        """Those of the modality that is asked for, and the others. Raises UserError where one must be chosen."""
        objects = Counter(_shown(header.modality) for header in headers)
        there = ", ".join(f"{name} ({count:,} objects)" for name, count in objects.most_common())
        named = sorted({header.modality for header in headers} - {""})
        asked = self.asked or (tuple(named) if len(named) < 2 else ())
        if headers and not asked and named:
            raise UserError(
                f"dicom: {self.root} holds {there}; set data.modality={_shown(named[0])} or another of them"
            )
        if headers and asked and not {"", *asked} & {header.modality for header in headers}:
            raise UserError(f"dicom: no {self._name()} in {self.root}, which holds {there}; set data.modality=")
        wanted, others = [], []
        for header in headers:
            if header.modality in ("", *asked):
                wanted.append(replace(header, modality=header.modality or (asked or ("",))[0]))
            else:
                others.append(
                    Rejected(header.path, f"modality {_shown(header.modality)}; data.modality={self._name()}")
                )
        return wanted, others

    def _name(self) -> str:
        return self.modality if isinstance(self.modality, str) else ", ".join(self.asked) or "null"

    def _patient(self, header: Header) -> str | None:
        """A name that tells patients apart and nothing else; None for a file of unknown patient right in the root."""
        if known := header.identity.patient or header.identity.study:
            return pseudonym(known)
        folder = self.name(header.path.parent)
        return None if folder == "." else folder

    # -------------------------------------------------------------------------------------------------------- labels

    def _labels(self, groups: Sequence[Group], series: Sequence[Series]) -> tuple[list[str | None], list[str]]:
        """The label of each series, and what there is to say about them."""
        if self.table is not None:
            return self._labels_of_table([[header for header, _ in frames] for frames in groups])
        if self.labels == "modality":
            return [_shown(frames[0][0].modality) for frames in groups], []
        if self.labels == "none" or not series:
            return [None] * len(series), []
        base = Path(os.path.commonpath([one.path.parent for one in series]))
        found = [one.path.relative_to(base).parts for one in series]
        if flat := sum(len(parts) == 1 for parts in found):
            raise UserError(
                f"dicom: {flat:,} series lie right in {base}, so their folder names no class; "
                "move them into class folders, or set data.labels=none"
            )
        return [parts[0] for parts in found], []

    def _labels_of_table(self, groups: Sequence[list[Header]]) -> tuple[list[str | None], list[str]]:
        assert self.table is not None
        rows = read_rows(self.root / self.table, needs=(self.key_column, self.label_column))
        keyed = rows_by(lambda row: row[self.key_column].strip("/"), rows, says=[self.label_column], table=self.table)
        names = [{name for header in headers for name in self._names(header)} for headers in groups]
        used = set().union(*names) & set(keyed.names)
        if wrong := sum(name in keyed.contradictions for name in used):  # which ones: keys may be identifiers
            raise UserError(
                f"data.table={self.table} has rows of different {self.label_column} for {wrong:,} series; "
                "keep the rows that are right"
            )
        said = {name: row[self.label_column] for name, row in keyed.rows.items()}
        labels = [next((said[name] or None for name in sorted(own) if name in said), None) for own in names]
        if groups and not used:
            raise UserError(f"data.table={self.table}: no row names one of the {len(groups):,} series")
        unlabelled = sum(label is None for label in labels)
        return labels, [
            f"{self.table}: {len(rows):,} rows, {len(said.keys() - used):,} of them without a series; "
            f"{unlabelled:,} series without a label",
            *keyed.notes,
        ]

    def _names(self, header: Header) -> list[str]:
        """What a row about this object may call it."""
        if self.key == "file":
            path = header.path.relative_to(self.root)
            return [path.as_posix(), *(folder.as_posix() for folder in path.parents)]
        return [header.identity.patient if self.key == "patient" else header.identity.series]


def _asked(modality: str | Sequence[str] | None) -> tuple[str, ...]:
    names = [modality] if isinstance(modality, str) else list(modality or ())
    return tuple(code for name in names for code in GROUPS.get(name.upper(), (name.upper(),)))


def _shown(modality: str) -> str:
    """A modality for people: a code, whatever else a broken header may hold there."""
    return modality if re.fullmatch("[A-Z]{2,8}", modality) else "unnamed"


def _header_or_reason(path: Path) -> Header | str:
    try:
        return read_header(path)
    except BadImage as reason:
        return str(reason)


@contextmanager
def _quiet() -> Iterator[None]:
    """While it lasts, pydicom's remarks about headers, which may quote them, go nowhere."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _without_copies(headers: Sequence[Header], root: Path) -> tuple[list[Header], list[Rejected]]:
    """One object of each SOPInstanceUID, and its copies: the one that is kept can be read, and is not compressed, if
    there is such."""
    same: dict[str, list[Header]] = {}
    for header in headers:
        same.setdefault(header.identity.instance or str(header.path), []).append(header)
    copies = []
    for some in (some for some in same.values() if len(some) > 1):
        some.sort(key=lambda header: (not _is_readable(header), header.stored.encapsulated))
        kept = some[0].path.relative_to(root).as_posix()
        copies += [Rejected(header.path, f"the same object as {kept}") for header in some[1:]]
    left_out = {entry.path for entry in copies}
    return [header for header in headers if header.path not in left_out], copies


def _is_readable(header: Header) -> bool:
    try:
        shot = Shot(header.stored, header.frames[0], header.modality, None)
        shot.values(inflate(header.stored) if header.stored.deflated else None)
    except BadImage:
        return False
    return True


def _notes(series: Sequence[Series], groups: Sequence[Group], root: Path) -> list[str]:
    """What a person should know about how series are made up, with an example of each."""
    kinds = {
        "lack planes between others": [one for one in series if one.missing],
        "have uneven steps between planes": [one for one in series if one.uneven],
        "show planes several times (echoes, phases or time points)": [one for one in series if one.repeated],
    }
    notes = []
    for kind, some in kinds.items():
        if some:
            lacking = f", {sum(one.missing for one in some):,} in all" if some[0].missing and "lack" in kind else ""
            example = some[0].path.relative_to(root).as_posix()
            notes.append(f"{len(some):,} of {len(series):,} series {kind}{lacking}; for example that of {example}")
    identities = [frames[0][0].identity for frames in groups]
    patients, studies = {one.patient for one in identities}, {one.study for one in identities}
    if len(patients) == 1 and "" not in patients and len(studies) > 1:
        notes.append(
            f"all {len(studies):,} studies carry one PatientID; if they are of several people, the anonymisation made "
            "them one patient, who stands in one split"
        )
    return notes


def _codecs(series: Series, intensity: Intensity) -> tuple[Intensity, ...]:
    """The codec of a series where it depends on it; () for one that does not."""
    if isinstance(intensity, FileWindow):
        window = series.shots[len(series.shots) // 2].frame.window
        if window is None:
            raise BadImage("its header states no window; set data.window to a preset or [center, width]")
        return (intensity.of(*window),)
    if intensity.unit != "any":
        return ()
    chosen = np.linspace(0, len(series.shots) - 1, min(SAMPLED, len(series.shots))).round().astype(int)
    sampled = [_sampled(series.shots[i]) for i in chosen]
    if sampled[0].ndim == 3:
        return ()
    values = np.stack(sampled, axis=-1)
    return (intensity.fit(Sample(values, 1, float(np.min(values))).foreground()),)


def _sampled(shot: Shot) -> np.ndarray:
    found = shot.values(inflate(shot.stored) if shot.stored.deflated else None)
    return found[:: max(1, found.shape[0] // SIDE), :: max(1, found.shape[1] // SIDE)]
