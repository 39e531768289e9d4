"""Folders of images as `evaluate` judges them: anyone's synthetic images against anyone's real ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from PIL import Image
from torch import Tensor

from medsynth.data.decode import strict_pillow
from medsynth.data.intensity import Grey
from medsynth.data.pack import to_float
from medsynth.data.picture import BadImage
from medsynth.data.render import Decoder, decode
from medsynth.data.sources.source import is_image, last_number, walk_files, without_masks
from medsynth.errors import UserError
from medsynth.metrics.halves import halves
from medsynth.metrics.suite import Patients
from medsynth.seeds import fold
from medsynth.subjects import Subject


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
