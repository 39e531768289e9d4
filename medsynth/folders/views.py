"""What a folder holds to judge: image files, volumes of slices or DICOM series, as single pictures in a fixed order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from medsynth.data.decode import strict_pillow
from medsynth.data.picture import BadImage
from medsynth.data.sources.dicom import OTHERS, Dicom
from medsynth.data.sources.dicom_series import Series, Shot
from medsynth.data.sources.nifti import MASK
from medsynth.data.sources.source import is_image, last_number, walk_files, without_masks
from medsynth.data.volume import PLANES, Upright, ending, open_volume, stem
from medsynth.errors import UserError, counted

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
MASKED = ("_seg", "_mask")  # behind the name of a volume: its labels; the last one counts
LEAST = 2  # pictures that can be judged
UNPLACED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class View:
    """One picture: an image file, or a slice of a volume or series.

    path: its file.  name: its path below the folder without an ending; equal in two folders for a pair.
    number: of the slice in its file, from 0.  slices: how many the file has.
    size: (height, width) as stored; None for a file whose header cannot be read.
    bits: of a pixel of an image file, 8, 16 or 32.
    group: the volume or series, or the patient where headers tell patients apart: what halves may not share.
    plane: that a volume is cut along.  mask: the file of labels beside it.  shot, mask_shot: of DICOM.
    """

    path: Path
    name: str
    number: int = 0
    slices: int = 1
    size: tuple[int, int] | None = None
    bits: int = 8
    group: str = ""
    plane: str = "axial"
    mask: Path | None = None
    shot: Shot | None = None
    mask_shot: Shot | None = None

    @property
    def shown(self) -> str:
        """What a report calls it."""
        return self.path.name if self.slices == 1 else f"{self.path.name}, slice {self.number + 1}"


@dataclass(frozen=True)
class Found:
    """The pictures of a folder. key: the name of the setting that it was given by.

    kind: "image", "NIfTI" or "DICOM".  modality: of DICOM.  patients: whether the groups are patients.
    notes: what a reader of the judgement must know.
    """

    key: str
    root: Path
    kind: str
    views: list[View]
    notes: list[str]
    modality: str = ""
    patients: bool = False

    @property
    def grouped(self) -> bool:
        """Whether any two pictures are known to belong together."""
        return len({view.group for view in self.views}) < len(self.views)


def find(key: str, root: Path) -> Found:
    """Every picture below a folder: one-slice volumes and frames as they are, other volumes as their axial slices.

    Masks beside images (x_mask.png, x_mask.dcm) and volumes that call themselves masks (x_mask.nii.gz, x_seg.nii.gz,
    labels/x.nii.gz) are no pictures.

    Raises:
        UserError: no folder, several kinds of files, or fewer than two pictures.
    """
    if not root.is_dir():
        raise UserError(f"{key}={root} is not a folder")
    kinds: dict[str, list[Path]] = {"image": [], "NIfTI": [], "DICOM": []}
    for path in walk_files(root):
        kind = "image" if is_image(path) else "NIfTI" if ending(path) else "DICOM" if _is_dicom(path) else None
        if kind:
            kinds[kind].append(path)
    held = {kind: paths for kind, paths in kinds.items() if paths}
    if len(held) > 1:
        mixture = " and ".join(f"{len(paths):,} {kind} files ({paths[0].name})" for kind, paths in held.items())
        raise UserError(f"{key}={root} holds {mixture}; give a folder of one kind")
    kind, paths = next(iter(held.items()), ("image", []))
    found = READERS[kind](key, root, paths)
    if len(found.views) < LEAST:
        told = f" ({found.notes[0]})" if found.notes else ""
        raise UserError(
            f"{key}={root} holds {counted(len(found.views), 'image')}; judging needs at least {LEAST}{told}"
        )
    return found


def check_alike(sides: Sequence[Found]) -> list[str]:
    """What to know about folders of several kinds. Raises UserError for kinds whose values cannot be of one unit."""
    first = sides[0]
    for side in sides[1:]:
        if "image" in (first.kind, side.kind) and first.kind != side.kind:
            raise UserError(
                f"{first.key}={first.root} holds {first.kind} files and {side.key}={side.root} {side.kind} files: "
                "their values are of different units; give both in one format"
            )
        told = {one.modality for one in (first, side)} - {"", "OT"}
        if len(told) > 1:
            raise UserError(
                f"{first.key}={first.root} holds {first.modality} and {side.key}={side.root} {side.modality}; give "
                "both of one modality"
            )
    if len({side.kind for side in sides}) > 1:
        return ["NIfTI is judged against DICOM: their values are taken to be of one unit"]
    return []


def _is_dicom(path: Path) -> bool:
    """By its ending, or, where the ending says nothing, by its first bytes."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix in OTHERS or path.name == "DICOMDIR":
        return False
    if suffix in DICOM_ENDINGS:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _images(key: str, root: Path, paths: Sequence[Path]) -> Found:
    """Image files by subfolder and file number."""
    images, masks = without_masks(paths)
    beside = {(mask.parent, mask.stem.removesuffix("_mask")): mask for mask in masks}
    views = []
    with strict_pillow():
        for path in sorted(images, key=lambda p: (p.parent, -1 if (n := last_number(p)) is None else n, p)):
            name = path.relative_to(root).with_suffix("").as_posix()
            view = View(path, name, group=path.relative_to(root).as_posix(), mask=beside.get((path.parent, path.stem)))
            try:
                with Image.open(path) as image:
                    view = replace(view, size=(image.height, image.width), bits=_bits(image))
            except UNPLACED:
                pass  # decoding names it with its reason
            views.append(view)
    return Found(key, root, "image", views, _of_masks(key, len(masks)))


def _bits(image: Image.Image) -> int:
    """8, or 16, or 32 where no level is known to be white."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        return 32
    return 16 if image.mode.startswith("I") else 8


def _volumes(key: str, root: Path, paths: Sequence[Path]) -> Found:
    """Slices of volumes, by file and in stored order; each file is a group."""
    masks = _mask_volumes(paths)
    hidden = {path for path in paths if MASK.search(path.relative_to(root).as_posix())} | set(masks.values())
    hidden = hidden if len(hidden) < len(paths) else set()
    views, notes = [], []
    if hidden:
        example = min(hidden).relative_to(root)
        notes.append(f"{key}: {len(hidden):,} volumes that call themselves masks ({example}) are not judged")
    for path in paths:
        if path in hidden:
            continue
        try:
            volume = open_volume(path)
        except BadImage as reason:
            notes.append(f"{key}: {path} was left out: {reason}")
            continue
        uprights = {plane: Upright.of(volume, plane) for plane in PLANES}
        plane = next((name for name, upright in uprights.items() if upright.slices == 1), "axial")
        name = path.relative_to(root).with_name(stem(path)).as_posix()
        view = View(path, name, slices=uprights[plane].slices, size=uprights[plane].size, group=name, plane=plane)
        view = replace(view, mask=masks.get((path.parent, stem(path))))
        views += [replace(view, number=number) for number in range(view.slices)]
    if cut := sum(view.slices > 1 for view in views):
        notes.append(f"{key}: {cut:,} images are axial slices of volumes")
    return Found(key, root, "NIfTI", views, notes)


def _mask_volumes(paths: Sequence[Path]) -> dict[tuple[Path, str], Path]:
    """Of the folder and name of an image, the volume of labels beside it."""
    known = {(path.parent, stem(path)): path for path in paths}
    return {
        (folder, name): known[folder, name + end]
        for folder, name in known
        for end in MASKED
        if (folder, name + end) in known
    }


def _series(key: str, root: Path, paths: Sequence[Path]) -> Found:
    """Frames of DICOM series in the plane they were taken in, by series and place."""
    try:
        listing = Dicom(root, modality=None).records()
    except UserError as error:
        raise UserError(f"{key}={root}: {str(error).partition(';')[0]}; give a folder of one modality") from None
    shots = [shot for record in listing.records for shot in record.detail.shots]
    masks = _mask_shots(shots)
    hidden = {mask.stored.path for mask in masks.values()}
    folders = {path.parent.relative_to(root).as_posix() for path in paths}
    known = {record.patient for record in listing.records if record.patient and record.patient not in folders}
    views = []
    for record in listing.records:
        series: Series = record.detail
        group = record.patient if len(known) > 1 and record.patient in known else None
        group = group or series.path.relative_to(root).as_posix()
        views += [_view(shot, root, group, masks) for shot in series.shots if shot.stored.path not in hidden]
    notes = _of_masks(key, len(masks))
    notes += [
        f"{key}: {entry.path} was left out: {entry.reason}"
        for entry in listing.rejected
        if entry.reason not in ("no DICOM file", "empty file") and not entry.reason.startswith("no image")
    ]
    return Found(key, root, "DICOM", views, notes, shots[0].modality if shots else "", len(known) > 1)


def _mask_shots(shots: Sequence[Shot]) -> dict[Path, Shot]:
    """The first frame of the mask beside a file, by that file."""
    first = {shot.stored.path: shot for shot in reversed(shots)}
    beside = {path: path.with_name(f"{path.stem}_mask{path.suffix}") for path in first}
    return {path: first[mask] for path, mask in beside.items() if mask in first}


def _view(shot: Shot, root: Path, group: str, masks: Mapping[Path, Shot]) -> View:
    stored = shot.stored
    mask = masks.get(stored.path)
    ends = stored.path.suffix.lower() in DICOM_ENDINGS  # what follows the last dot of a UID is no ending
    name = stored.path.relative_to(root)
    return View(
        stored.path,
        (name.with_suffix("") if ends else name).as_posix(),
        number=shot.frame.number,
        slices=stored.frames,
        size=(stored.rows, stored.columns),
        group=group,
        mask=mask.stored.path if mask else None,
        shot=shot,
        mask_shot=mask,
    )


def _of_masks(key: str, count: int) -> list[str]:
    return [f"{key}: {count:,} masks beside their images (*_mask) are not judged as images"] if count else []


READERS: dict[str, Callable[[str, Path, Sequence[Path]], Found]] = {
    "image": _images,
    "NIfTI": _volumes,
    "DICOM": _series,
}


def runs(views: Sequence[View]) -> Iterator[list[View]]:
    """Views that follow each other in one file, in its order, so that it is opened once for them."""
    run: list[View] = []
    for view in views:
        if run and (view.path != run[-1].path or view.number <= run[-1].number):
            yield run
            run = []
        run.append(view)
    if run:
        yield run


def common_side(sides: Sequence[Found]) -> int:
    """The longer side of pictures that all have one size. Raises UserError naming two that differ."""
    views = [view for side in sides for view in side.views if view.size is not None]
    for (height, width), same in groupby(views, key=lambda view: view.size or (0, 0)):
        if (height, width) != views[0].size:
            rows, columns = views[0].size or (0, 0)
            raise UserError(
                f"images have several sizes: {views[0].path} is {columns}x{rows} and {next(same).path} is "
                f"{width}x{height}; set resolution=N to resize them"
            )
    return max(views[0].size or (0, 0)) if views else 0
