"""CT of the liver and kidneys with segmentations: LiTS, SLIVER07 and KiTS, as their archives unpack."""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from medsynth.data.sources.source import Listing, Record, Rejected, walk_files
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource
from medsynth.data.volume import ending, is_volume_part, stem
from medsynth.errors import UserError


@dataclass(frozen=True)
class Naming:
    """How a dataset names the files of patient N, without their ending; `patient` is how patients are called here."""

    volume: str
    segmentation: str
    patient: str


NAMINGS = (
    Naming(r"volume-(\d+)", r"segmentation-(\d+)", "volume-{}"),
    Naming(r"test-volume-(\d+)", r"test-segmentation-(\d+)", "test-volume-{}"),  # LiTS published these without labels
    Naming(r"liver-orig(\d+)", r"liver-seg(\d+)", "liver-{}"),  # SLIVER07
    Naming(r"(?:.*/)?case_(\d+)/imaging", r"(?:.*/)?case_(\d+)/segmentation", "case-{}"),  # KiTS19, KiTS21, KiTS23
)


class Lits(VolumeSource):
    """Volumes and segmentations in folders of any depth below `root`, by name: see NAMINGS; .nii, .nii.gz, .mhd, .mha.

    The organ is label 1 with the lesion, 2, in it. A volume without a segmentation is read with slices="all" alone; a
    segmentation without a volume is rejected, and so are files that two names claim for one patient, unless they are of
    one size: then the first is read.
    """

    origin = (
        "lits is LiTS (competitions.codalab.org/competitions/17094: volume-N.nii with segmentation-N.nii), SLIVER07 "
        "(sliver07.grand-challenge.org: liver-origN.mhd, liver-segN.mhd) or KiTS (kits-challenge.org: case_N folders)"
    )
    unit = "hu"
    compares = False

    def __init__(self, root: str | Path, **reading: Unpack[Reading]) -> None:
        super().__init__(root, **(Reading(slices="organ", organ_labels=(1, 2)) | reading))

    def files(self) -> list[Path]:
        """Every volume and segmentation, and what holds the voxels of MetaImage headers."""
        return [path for path in walk_files(self.root) if is_volume_part(path)]

    def records(self) -> Listing:
        """Every patient, by number. Raises UserError when no file bears one of the names."""
        volumes, segmentations = self._named("volume"), self._named("segmentation")
        if not volumes and not segmentations:
            raise UserError(
                f"lits: no volume-N.nii, liver-origN.mhd or case_N/imaging.nii.gz under {self.root} (data.root). "
                f"{self.origin}. Set data.root=DIR, or data.phantom=true for procedural images"
            )
        records, rejected = [], []
        for patient in sorted(volumes.keys() | segmentations.keys(), key=_by_number):
            found, twice = _only(volumes.get(patient, []), patient)
            masks, twice_too = _only(segmentations.get(patient, []), patient)
            rejected += [*twice, *twice_too]
            is_clear = bool(masks) or patient not in segmentations
            if found and is_clear:
                records.append(
                    Record(found[0], patient=patient, detail=Volume((found[0],), masks[0] if masks else None))
                )
            rejected += [Rejected(path, f"which segmentation is meant is not clear ({patient})") for path in found
                         if not is_clear]  # fmt: skip
            rejected += [
                Rejected(path, f"a segmentation without its volume ({patient})") for path in masks if not found
            ]
        without = sum(record.detail.mask is None for record in records)
        notes = [f"{without:,} of {len(records):,} volumes have no segmentation"] if without else []
        return self.with_unused(Listing(records, rejected, notes))

    def _named(self, kind: str) -> dict[str, list[Path]]:
        """The files of each patient that are a "volume" or a "segmentation"."""
        found = defaultdict(list)
        for path in walk_files(self.root):
            if ending(path):
                whole = path.relative_to(self.root).with_name(stem(path)).as_posix()
                for naming in NAMINGS:
                    pattern = getattr(naming, kind)
                    name = whole if "/" in pattern else stem(path)
                    if match := re.fullmatch(pattern, name, re.IGNORECASE):
                        found[naming.patient.format(int(match[1]))].append(path)
        return dict(found)


def _by_number(patient: str) -> tuple[str, int]:
    kind, _, number = patient.rpartition("-")
    return kind, int(number)


def _only(paths: list[Path], patient: str) -> tuple[list[Path], list[Rejected]]:
    """The file of a patient, if it is clear which that is, and the rejected ones of several."""
    if len(paths) < 2:
        return paths, []
    if len({_content(path) for path in paths}) == 1:
        copy = f"{patient} again, the same file as {{}}, which is read"
        return paths[:1], [Rejected(path, copy.format(paths[0].name)) for path in paths[1:]]
    reason = f"one of {len(paths)} different files that are {patient}: give each collection a root of its own"
    return [], [Rejected(path, reason) for path in paths]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{path}: {error}"
