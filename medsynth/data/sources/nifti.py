"""Any folder of volumes: masks by name, labels and patients from folders or from a table."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from medsynth.data.sources.source import Listing, Record, Rejected, check_choice, walk_files
from medsynth.data.sources.table import FileTable
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource
from medsynth.data.volume import ENDINGS, ending, is_volume_part, stem
from medsynth.errors import UserError

# Folders of a patient's scans: ses-1, visit2, anat, or a date.
SESSION = re.compile(r"(ses|session|visit)[-_ ]?\w*|scans?|anat|\d{4}-?\d{2}-?\d{2}\D?.*", re.IGNORECASE)
MASK = re.compile(r"masks?(?![a-z])|segmentation|(?<![a-z])(seg|labels?)(?![a-z])", re.IGNORECASE)
CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net's number of a modality behind the name of a case


class NiftiFolder(VolumeSource):
    """NIfTI and MetaImage volumes below `root`.

    images, masks: which files are which, as patterns of names in any folder ("ilist*") or of paths ("images/*_T1");
        `*` stands for anything but /, and endings may be left out. A mask belongs to the image for which every `*`
        stands for the same text, in the same folder unless the patterns name folders: ilist7 and slist7 with "ilist*"
        and "slist*"; x and x_seg with "*" and "*_seg"; images/4H1 and labels/4Mask with "images/*H1" and
        "labels/*Mask". masks=None: there are none. What is a mask is no image. That no file is a mask is noted.
    unit: "signal" (MR), or "hu" for CT.
    labels: "folders": the first folder below `root` is the class; "none".
    table: CSV or TSV below `root` whose labels and patients count instead; its columns, and what becomes of rows that
    contradict each other, as in image_folder.
    A patient is what patient_column says. Without it, a patient is the folder that a volume lies in (or the folder
    around one like ses-1 or a date) when every folder holds a single image, names recur in several folders, or files
    are named after their folder. Where there are more recurring names than folders the name is the patient, and
    otherwise each file is one, whatever nnU-Net's _0000 behind it. That this is a guess is noted.
    """

    compares = False
    origin = "nifti reads your own volumes (.nii, .nii.gz, .mhd, .mha), in any folders"

    def __init__(
        self,
        root: str | Path,
        *,
        images: str = "*",
        masks: str | None = None,
        unit: str = "signal",
        labels: str = "none",
        table: str | None = None,
        file_column: str = "file",
        label_column: str | None = "label",
        patient_column: str | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        super().__init__(root, **reading)
        check_choice("unit", unit, ("signal", "hu"))
        check_choice("labels", labels, ("folders", "none"))
        self.images, self.masks, self.unit, self.labels, self.table = images, masks, unit, labels, None
        if table is not None:
            self.table = FileTable(self.root, table, "data.table", file_column, label_column, patient_column)

    def files(self) -> list[Path]:
        """Every volume below `root`, and the table."""
        table = [self.root / self.table.name] if self.table is not None else []
        return [path for path in walk_files(self.root) if is_volume_part(path)] + table

    def records(self) -> Listing:
        """Every image, by path. Raises UserError when no file is one, and for patterns and tables that do not fit."""
        volumes = [path for path in walk_files(self.root) if ending(path)]
        masks = self._matching(self.masks, volumes) if self.masks is not None else {}
        images = self._matching(self.images, [path for path in volumes if path not in masks])
        if not images:
            raise UserError(
                f"nifti: data.images={self.images} names none of {len(volumes):,} volumes in {self.root} (data.root). "
                f"{self.origin}. Set data.root=DIR or data.images, or data.phantom=true for procedural images"
            )
        if masks and not set(images.values()) & set(masks.values()):
            raise UserError(
                f"nifti: no mask belongs to an image: the wildcards of data.images={self.images} and "
                f"data.masks={self.masks} stand for other texts, {_first(images)} and {_first(masks)}, with folders; "
                "where those differ, name them: data.images='Images/*H1' data.masks='Masks/*Mask'"
            )
        strays = self._named_as_masks(images)
        records, rejected, notes = self._paired({p: key for p, key in images.items() if p not in strays}, masks)
        rejected += [Rejected(p, "calls itself a mask: see data.masks, or name it by data.images") for p in strays]
        if self.masks is not None and not masks:
            notes.append(f"data.masks={self.masks} names no volume: no image has a mask")
        if self.table is not None:
            (records, wrong), compared = self.table.split(records), self.table.compare(records)
            rejected, notes = [*rejected, *wrong], [*notes, *compared]
        return self.with_unused(Listing(records, rejected, notes))

    def _named_as_masks(self, images: dict[Path, tuple[str, ...]]) -> list[Path]:
        """Images that nobody asked for by name and that call themselves masks, unless all do."""
        found = [path for path in images if MASK.search(path.relative_to(self.root).as_posix())]
        return found if self.images == "*" and len(found) < len(images) else []

    def _matching(self, pattern: str, volumes: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
        """The files that a pattern names, with what each of its wildcards stands for, its folder first."""
        regex = re.compile("(?:(.*)/)?" + "".join(_part(part) for part in re.split(r"(\*+)", _without_ending(pattern))))
        found = {}
        for path in volumes:
            if match := regex.fullmatch(path.relative_to(self.root).with_name(stem(path)).as_posix()):
                found[path] = tuple(text or "" for text in match.groups())
        return found

    def _paired(
        self, images: dict[Path, tuple[str, ...]], masks: dict[Path, tuple[str, ...]]
    ) -> tuple[list[Record], list[Rejected], list[str]]:
        by_key = defaultdict(list)
        for path, key in masks.items():
            by_key[key].append(path)
        patients, records, rejected = self._patients(list(images)), [], []
        for path, key in images.items():
            fitting = by_key.get(key, [])
            if len(fitting) > 1:
                rejected.append(Rejected(path, f"has {len(fitting)} masks: {', '.join(m.name for m in fitting)}"))
                continue
            detail = Volume((path,), fitting[0] if fitting else None)
            records.append(Record(path, label=self._label(path), patient=patients[path], detail=detail))
        keys = set(images.values())
        rejected += [Rejected(path, "a mask without its image") for path, key in masks.items() if key not in keys]
        without = sum(record.detail.mask is None for record in records) if masks else 0
        notes = [f"{without:,} of {len(records):,} images have no mask"] if without else []
        if self.table is None or self.table.patient is None:
            count = len({record.patient for record in records})
            notes.append(f"who is who was guessed from names: {count:,} patients; data.patient_column says it for sure")
        return records, rejected, notes

    def _label(self, path: Path) -> str | None:
        parts = path.relative_to(self.root).parts
        return parts[0] if self.labels == "folders" and len(parts) > 1 else None

    def _patients(self, images: Sequence[Path]) -> dict[Path, str]:
        """The patient of each image, by its folder or by its own name: see the class."""
        folders = {path: _folder(path.relative_to(self.root), skip=self._label(path) is not None) for path in images}
        names = {path: CHANNEL.sub("", stem(path)) for path in images}
        recur = max(Counter(stem(path) for path in images).values(), default=0) > 1
        sizes = Counter(folders.values())
        if self.labels == "none" and recur and len(set(names.values())) > len(sizes):  # folders are modalities
            return names
        is_folder = (
            max(sizes.values(), default=0) == 1
            or (len(sizes) > 1 and recur)
            or all(stem(path).lower().startswith(folder.name.lower()) for path, folder in folders.items())
        )
        if is_folder and all(folder.name for folder in folders.values()):
            return {path: folder.as_posix() for path, folder in folders.items()}
        return {path: path.relative_to(self.root).with_name(name).as_posix() for path, name in names.items()}


def _first(found: dict[Path, tuple[str, ...]]) -> str:
    path, key = next(iter(found.items()))
    return f"'{', '.join(key[1:])}' in {path.name}"


def _folder(path: Path, *, skip: bool) -> Path:
    """The folder that may be a patient's, without those of sessions; empty right below the root or the class."""
    folder = path.parent
    least = 1 if skip else 0
    while len(folder.parts) > least and SESSION.fullmatch(folder.name):
        folder = folder.parent
    return folder if len(folder.parts) > least else Path()


def _without_ending(pattern: str) -> str:
    return next((pattern[: -len(end)] for end in ENDINGS if pattern.lower().endswith(end)), pattern)


def _part(part: str) -> str:
    """A piece of a pattern as a regular expression."""
    return {"*": "([^/]*)", "**": "(.*)"}.get(part, re.escape(part))
