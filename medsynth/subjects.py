"""What `evaluate` judges: a run against the images it was trained on, or one folder of images against another."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from PIL import Image
from torch import Tensor

from medsynth.attributes import Attributes
from medsynth.checkpoint import TRUSTED, LoadedRun, check_targets, load_run
from medsynth.data.decode import strict_pillow
from medsynth.data.intensity import Grey
from medsynth.data.pack import Pack, to_float
from medsynth.data.picture import BadImage
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.render import Decoder, decode
from medsynth.data.sources.source import is_image, last_number, walk_files, without_masks
from medsynth.errors import UserError
from medsynth.metrics.halves import halves
from medsynth.metrics.origin import Origin
from medsynth.metrics.real import real_halves, real_sets
from medsynth.metrics.suite import Images, Patients
from medsynth.sampling import synthesise
from medsynth.seeds import fold

SHOWN = 32  # images of each side in a report
FEW_GROUPS = 50  # patients below which two halves of a training set are visibly different people


@dataclass(frozen=True)
class Subject:
    """Image sets to judge, and how to look at single images of them.

    reference, held_out, train, unseen, patients, fake: as `medsynth.metrics.suite.judge` takes them.
    real_split: what the real images are. show_fake, show_train: the image of that number in `fake` and `train`.
    fake_name: how image number k of `fake` is called. warnings: what a reader must know about the sets.
    origin: the pack of the real images; None for folders.
    """

    reference: Images
    held_out: Images | None
    train: Images | None
    unseen: Images | None
    fake: Images
    patients: Patients
    real_split: str
    show_fake: Callable[[int], Float[Tensor, "c h w"]]
    show_train: Callable[[int], Float[Tensor, "c h w"]]
    fake_name: Callable[[int], str]
    warnings: list[str] = field(default_factory=list)
    origin: Origin | None = None


# ------------------------------------------------------------------------------------------------------- runs


def load(run: Path, *, checkpoint: str, root: str | None) -> tuple[LoadedRun, Pack]:
    """A run and the pack that it was trained on, prepared again if it is gone.

    Args:
        root: where the raw images lie now; None: where training found them.
    """
    loaded = load_run(run, checkpoint=checkpoint)
    data = dict(loaded.config["data"])
    check_targets(data, TRUSTED)
    if root is not None:
        data |= {"root": root, "phantom": False}
    augment = dict(loaded.config["augment"])
    if augment.get("copies"):
        check_targets(augment, TRUSTED)
    return loaded, prepare_pack(data, resolution=loaded.config["resolution"], augment=augment)


def run_subject(loaded: LoadedRun, pack: Pack, *, count: int, seed: int, batch_size: int) -> Subject:
    """The synthetic images of a run against halves of its training split; `val` and `test` are the unseen patients."""
    warnings = []
    if loaded.pack_content != pack.content:
        warnings.append("the real images at hand are not those of the training: their content differs")
    sets, train = real_sets(pack, count=count), pack.splits["train"]
    if (groups := len(set(pack.patients[train]))) < FEW_GROUPS:
        warnings.append(
            f"training knows {groups} patients or series: halves that share none differ much, so real-against-real "
            "figures are large, and a ratio below 1 does not mean better than real"
        )
    if sets.held_out is None:
        warnings.append("the training images are of one patient or series, so they have no second half to compare with")
    fake = Synthetic(
        loaded.model,
        n=len(real_halves(pack, count=count)[0]),
        seed=seed,
        batch_size=batch_size,
        channels=len(loaded.ranges),
        attributes=loaded.attributes,
    )
    return Subject(
        reference=sets.reference,
        held_out=sets.held_out,
        train=sets.train,
        unseen=sets.unseen,
        patients=sets.patients,
        fake=fake,
        real_split="train",
        show_fake=fake.image,
        show_train=lambda number: pack.tensor(train[number : number + 1])[0],
        fake_name=lambda number: f"number {number}",
        warnings=warnings,
        origin=sets.origin,
    )


@dataclass(frozen=True)
class Synthetic:
    """The images 0 ... n - 1 of a model and seed, made anew at each iteration.

    channels: how many of an image's are judged, the first ones; a mask behind them is not.
    attributes: what images are conditioned on, as often as in training.
    """

    model: Any
    n: int
    seed: int
    batch_size: int
    channels: int
    attributes: Attributes | None = None

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        for images in self._made(n=self.n, batch_size=self.batch_size):
            yield images[:, : self.channels]

    def image(self, number: int) -> Float[Tensor, "c h w"]:
        """Image number k alone."""
        return next(self._made(n=1, batch_size=1, first=number))[0, : self.channels]

    def _made(self, *, n: int, batch_size: int, first: int = 0) -> Iterator[Float[Tensor, "b d h w"]]:
        return synthesise(
            self.model, n=n, seed=self.seed, first=first, batch_size=batch_size, attributes=self.attributes
        )


# ---------------------------------------------------------------------------------------------------- folders


def folder_subject(
    real: Path, fake: Path, *, unseen: Path | None, resolution: int | None, channels: int, count: int, seed: int
) -> Subject:
    """Two folders of images, of one size or resized to `resolution`; non-square ones are padded with the dark end.

    Patients are unknown: within each subfolder the first half in file-number order stands against the second, because
    neighbouring numbers tend to be of one patient.
    """
    warnings = [
        "patients are unknown: real against real compares the first half of each subfolder, in the order of file "
        "numbers, with the second"
    ]
    named = {"real": real, "fake": fake} | ({"unseen": unseen} if unseen else {})
    listed = {key: list_images(key, folder) for key, folder in named.items()}
    for key in listed:
        listed[key], masks = without_masks(listed[key])
        warnings += [f"{key}: {len(masks):,} masks beside their images (*_mask) are not judged"] if masks else []
    side = resolution or common_side(listed)
    decoder = Decoder(side, channels, 8, "pad", Grey())
    for key in listed:
        listed[key], rejected = readable(listed[key], decoder)
        warnings += [f"{key}: {line}" for line in rejected]
        if len(listed[key]) < 2:
            why = f" ({rejected[0]})" if rejected else ""
            raise UserError(
                f"{key}={named[key]} holds {len(listed[key])} readable images; judging needs at least 2{why}"
            )
    reals, fakes = listed["real"], shuffled(listed["fake"], seed)
    labels, groups = blocks(reals)
    a, b = halves(groups, labels, seed=seed)
    if min(len(a), len(b)) < 2:
        a, b = np.concatenate([a, b]), b[:0]
    n = min(count, len(a), len(b) or len(a), len(fakes))
    return Subject(
        reference=FileBatches([reals[i] for i in a[:n]], decoder),
        held_out=FileBatches([reals[i] for i in b[:n]], decoder) if len(b) else None,
        train=FileBatches(reals, decoder),
        unseen=FileBatches(listed["unseen"], decoder) if unseen else None,
        patients=Patients(),
        fake=FileBatches(fakes[:n], decoder),
        real_split=real.name,
        show_fake=lambda number: read(fakes[number], decoder),
        show_train=lambda number: read(reals[number], decoder),
        fake_name=lambda number: fakes[number].name,
        warnings=warnings,
    )


def list_images(key: str, folder: Path) -> list[Path]:
    """Every image below a folder, by subfolder and file number. Raises UserError when there are fewer than two."""
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is not a folder")
    found = [path for path in walk_files(folder) if is_image(path)]
    if len(found) < 2:
        raise UserError(f"{key}={folder} holds {len(found)} images; judging needs at least 2")
    return sorted(
        found, key=lambda path: (path.parent, number if (number := last_number(path)) is not None else -1, path)
    )


def common_side(listed: dict[str, list[Path]]) -> int:
    """The longer side of images that all have one size, read from their headers. Raises UserError naming two sizes."""
    first: tuple[tuple[int, int], Path] | None = None
    for path in (path for paths in listed.values() for path in paths):
        try:
            with strict_pillow(), Image.open(path) as image:
                size = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
            continue  # decoding names it with its reason
        first = first or (size, path)
        if size != first[0]:
            (width, height), (other_width, other_height) = first[0], size
            raise UserError(
                f"images have several sizes: {first[1]} is {width}x{height} and {path} is "
                f"{other_width}x{other_height}; set resolution=N to resize them"
            )
    return max(first[0]) if first else 0


def readable(paths: Sequence[Path], decoder: Decoder) -> tuple[list[Path], list[str]]:
    """The images that decode, and a line for each that does not."""
    good, lines = [], []
    for path in paths:
        try:
            read(path, decoder)
            good.append(path)
        except BadImage as reason:
            lines.append(f"{path} was left out: {reason}")
    return good, lines


def read(path: Path, decoder: Decoder) -> Float[Tensor, "c h w"]:
    """One image file in [-1, 1]."""
    with strict_pillow():
        return to_float(torch.from_numpy(decode(path, decoder).pixels)[None])[0]


def shuffled(paths: Sequence[Path], seed: int) -> list[Path]:
    """Images in a random order, the same for the same seed and number of images."""
    order = np.random.default_rng(fold(seed, "files")).permutation(len(paths))
    return [paths[i] for i in order]


def blocks(paths: Sequence[Path]) -> tuple[Int[ndarray, " n"], ndarray]:
    """The subfolder of each image as a number, and the half of it (in file order) as a group's name."""
    _, labels = np.unique([str(path.parent) for path in paths], return_inverse=True)
    groups = np.empty(len(paths), dtype=object)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        for half, part in enumerate(np.array_split(members, 2)):
            groups[part] = f"{label}/{half}"
    return labels, groups.astype(str)


@dataclass(frozen=True)
class FileBatches:
    """Image files as batches (b, c, h, w) in [-1, 1], decoded anew at each iteration."""

    paths: Sequence[Path]
    decoder: Decoder
    batch_size: int = 64

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        for start in range(0, len(self.paths), self.batch_size):
            yield torch.stack([read(path, self.decoder) for path in self.paths[start : start + self.batch_size]])


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
