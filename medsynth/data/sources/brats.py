"""BraTS: brain tumours in registered, skull-stripped MR volumes of four modalities, with segmentations."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from medsynth.data.sources.source import SPLIT_FOLDERS, Listing, Record, Rejected, walk_files
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource, check_once
from medsynth.data.volume import ending, is_volume_part, stem
from medsynth.errors import UserError

MODALITIES = {
    "t1": "t1", "t1n": "t1", "t1ce": "t1ce", "t1c": "t1ce", "t2": "t2", "t2w": "t2", "flair": "flair", "t2f": "flair"
}  # fmt: skip
"""What file names and people call a modality (BraTS 2013-2021, and t1n, t1c, t2w, t2f since 2023): our name for it."""
ROLES = MODALITIES | {"seg": "seg", "segm": "seg", "otmulticlass": "seg"}
VSD = re.compile(r"VSD\.Brain.*\.(?:MR_(?P<modality>T1c?|T2|Flair)|OT)(?:\.\d+)?", re.IGNORECASE)  # 2012 to 2015
GRADES = {"hgg": "HGG", "hg": "HGG", "lgg": "LGG", "lg": "LGG"}
TUMOUR = (1, 2, 3, 4)

# Names of cases with a time point behind the patient: BraTS-GLI-00000-000 (2023 and later); brats_2013_pat0005_1,
# Brats18_TCIA01_131_1 (2013 to 2019). BraTS20_Training_001 and BraTS2021_00000 have none.
TIMED = re.compile(r"(BraTS(?:-[A-Z]+)+-\d+)-\d+|(brats(?:1[3-9])?_[a-z0-9]+_\w+?)_\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """The volumes of one examination. files: by role, a modality or "seg"."""

    name: str
    path: Path
    files: dict[str, list[Path]]


class Brats(VolumeSource):
    """One folder per case anywhere below `root`, named after the case; or all cases in one folder.

    A volume's role is the last word of its name (BraTS20_Training_001_t1ce.nii.gz, BraTS-GLI-00000-000-t1c.nii.gz), or
    the first (T1c_subtrMeanDivStd.nii.gz). Of 2012 to 2015, VSD.Brain.XX.O.MR_T1c.N.mha is a modality and
    VSD.Brain_3more.XX.XX.OT.N.mha the segmentation, each in a folder of its own in that of the case, whose name, where
    it is a number, is one of its grade: HG/0001 and LG/0001 are two patients. A case that lacks a wanted modality is
    rejected by name.
    target: modality, or list of them, that become the channels.  condition: those they are to be made from; None: none.
    Labels of masks: 1 necrosis, 2 oedema, 3 or 4 enhancing tumour; all of them are organ and lesion of `slices`.
    Folders named HGG and LGG, or HG and LG, are classes. Folders train, validation and test are published splits, of
    which validation counts as train. Two time points of a patient are one patient.
    """

    origin = "BraTS: synapse.org/brats, or Kaggle awsaf49/brats20-dataset-training-validation"
    unit = "signal"
    compares = False

    def __init__(
        self,
        root: str | Path,
        *,
        target: str | Sequence[str] = "flair",
        condition: str | Sequence[str] | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        super().__init__(root, **(Reading(lesion_labels=TUMOUR) | reading))
        self.target = modalities("data.target", target)
        self.condition = modalities("data.condition", condition)
        check_once("modality", self.target, self.condition)
        if not self.target:
            raise UserError(f"data.target={target} names no modality; choices: t1, t1ce, t2, flair, or a list of them")
        self.channels = (len(self.target),)

    def files(self) -> list[Path]:
        """Every volume below the root, and what holds the voxels of headers."""
        return [path for path in walk_files(self.root) if is_volume_part(path)]

    def records(self) -> Listing:
        """Every case with all wanted modalities, by path. Raises UserError where no file name says a modality."""
        volumes = [path for path in self.files() if ending(path)]
        cases = list(_cases([path for path in volumes if _role(path)], self.root))
        if not any(case.files.keys() - {"seg"} for case in cases):
            raise UserError(
                f"brats: no volume named ..._flair.nii.gz, ...-t2f.nii.gz or like another modality under {self.root} "
                f"(data.root). {self.origin}. Set data.root=DIR, or data.phantom=true for procedural images"
            )
        faults = {case.path: self._fault(case) for case in cases}
        good = [case for case in cases if not faults[case.path]]
        notes = [note for note in (_about_others(volumes), _about_masks(good), self._about_validation(good)) if note]
        return Listing(
            [self._record(case) for case in good],
            [Rejected(path, fault) for path, fault in faults.items() if fault],
            notes,
        )

    def _fault(self, case: Case) -> str:
        """Why the case cannot be used; empty when it can."""
        has = ", ".join(role for role in case.files if role != "seg") or "no modality"
        for role in (*self.target, *self.condition):
            if role not in case.files:
                return f"case {case.name} has no {role}, only {has}"
        for role in (*self.target, *self.condition, "seg"):
            if len(same := case.files.get(role, [])) > 1:
                return f"case {case.name} has {len(same)} files for {role}: {', '.join(path.name for path in same)}"
        return ""

    def _record(self, case: Case) -> Record:
        folders = self._folders(case)
        first = {role: files[0] for role, files in case.files.items()}
        return Record(
            first[self.target[0]],
            label=next((GRADES[folder] for folder in folders if folder in GRADES), None),
            patient=patient_of(case.name),
            official_split=next((split for folder, split in SPLIT_FOLDERS.items() if folder in folders), None),
            detail=Volume(
                images=tuple(first[role] for role in self.target),
                mask=first.get("seg"),
                condition=tuple(first[role] for role in self.condition),
            ),
        )

    def _about_validation(self, cases: Sequence[Case]) -> str:
        count = sum("validation" in self._folders(case) for case in cases)
        return f"{count:,} cases of a validation folder count as train, from which val is drawn" if count else ""

    def _folders(self, case: Case) -> list[str]:
        return [folder.lower() for folder in case.path.relative_to(self.root).parts[:-1]]


def modalities(key: str, names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Our names of the modalities that a setting names. Raises UserError for others."""
    listed = [] if names is None else [names] if isinstance(names, str) else list(names)
    for name in listed:
        if str(name).lower() not in MODALITIES:
            raise UserError(f"{key}={name} must be one of {', '.join(MODALITIES)}, or a list of them")
    return tuple(MODALITIES[str(name).lower()] for name in listed)


def patient_of(case: str) -> str:
    """The patient of a case: its name without the time point, if it has one."""
    timed = TIMED.fullmatch(case)
    return next(filter(None, timed.groups())) if timed else case


def _role(path: Path) -> str | None:
    """The modality of a volume, or "seg"; None when its name says neither."""
    if vsd := VSD.fullmatch(stem(path)):
        return ROLES[(vsd["modality"] or "seg").lower()]
    words = re.split(r"[-_.\s]", stem(path).lower())
    return ROLES.get(words[-1]) or ROLES.get(words[0])


def _case_name(path: Path) -> str:
    """The name of a volume without its role: of the case, where cases share a folder."""
    return re.sub(r"[-_.\s][^-_.\s]*$", "", stem(path))


def _folder(path: Path) -> Path:
    """The folder of a volume's case."""
    return path.parent.parent if VSD.fullmatch(path.parent.name) else path.parent


def _folder_name(folder: Path, root: Path) -> str:
    """That of a case; a number is one of the folder around it."""
    parts = folder.relative_to(root).parts
    return "/".join(parts[-2:]) if folder.name.isdecimal() and parts else folder.name


def _cases(volumes: Sequence[Path], root: Path) -> Iterator[Case]:
    """The cases of all volumes with a role. A folder is one, unless a role occurs under two names in it."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in volumes:
        folders[_folder(path)].append(path)
    for folder, inside in folders.items():
        names = {role: {_case_name(p) for p in inside if _role(p) == role} for role in map(_role, inside)}
        shared = any(len(different) > 1 for different in names.values())
        for name in sorted({_case_name(path) for path in inside}) if shared else [_folder_name(folder, root)]:
            mine = [path for path in inside if not shared or _case_name(path) == name]
            roles: dict[str, list[Path]] = defaultdict(list)
            for path in mine:
                roles[_role(path) or ""].append(path)
            yield Case(name, mine[0], dict(roles))


def _about_others(volumes: Sequence[Path]) -> str:
    others = Counter(path.name for path in volumes if _role(path) is None)
    named = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(5))
    return f"{others.total():,} volumes are no modality and no segmentation and are not used: {named}" if others else ""


def _about_masks(cases: Sequence[Case]) -> str:
    count = sum("seg" not in case.files for case in cases)
    return f"{count:,} of {len(cases):,} cases have no segmentation" if count else ""
