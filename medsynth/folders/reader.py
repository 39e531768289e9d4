"""Pictures of a folder as tensors: decoded a batch at a time, in file order or any other, and never all held."""

import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from medsynth.data.decode import read_image, strict_pillow
from medsynth.data.dicom import inflate
from medsynth.data.intensity import Intensity
from medsynth.data.pack import to_float
from medsynth.data.picture import UNKNOWN, BadImage, Picture
from medsynth.data.render import Decoder, Slice, render
from medsynth.data.sources.dicom_series import Shot
from medsynth.data.sources.grid import Volume
from medsynth.data.sources.nifti import NiftiFolder
from medsynth.data.sources.source import Record
from medsynth.data.volume import ending
from medsynth.folders.views import View, runs

BATCH = 64
EMPTY = 0.02  # of the window: slices whose values deviate by less, of air and its noise, pass for copies of each other


@dataclass(frozen=True)
class Fixed(Intensity):
    """One range for all images, so that brightness compares between them. low, high: the values of -1 and 1."""

    low: float
    high: float
    unit = "fixed"

    def range(self) -> tuple[float, float]:
        """The two values."""
        return self.low, self.high

    def fit(self, values: Float[ndarray, "..."]) -> Intensity:
        """Itself: the range is fixed."""
        return self


@dataclass(frozen=True)
class Reader:
    """Reads views.

    modality: what values of DICOM are taken as, "CT" for HU: rescaled, never by a display window.
    white: stored value of image files that is white; None: 255 or 65535 by the file's type; 1 leaves values as stored.
    """

    decoder: Decoder
    modality: str = "MR"
    white: float | None = None

    def pixels(self, views: Sequence[View]) -> Iterator[UInt[ndarray, "c h w"]]:
        """Quantised pixels of each view, in order. Raises BadImage."""
        for run in runs(views):
            for picture in self.pictures(run):
                yield self.render(picture).pixels

    def tensor(self, view: View) -> Float[Tensor, "c h w"]:
        """One view in [-1, 1]."""
        return as_tensor(np.stack(list(self.pixels([view]))))[0]

    def render(self, picture: Picture) -> Slice:
        """The picture in the square and range of the decoder."""
        with strict_pillow():
            return render(picture, self.decoder)

    def pictures(self, run: Sequence[View], *, with_masks: bool = False) -> Iterator[Picture]:
        """Rising slices of one file at full size, in the unit of the file; image files as fractions of white.

        Raises BadImage, after the last slice too where a compressed file is damaged behind it.
        """
        first = run[0]
        if first.shot is not None:
            yield from (_frame(view, self.modality, with_masks) for view in run)
        elif ending(first.path):
            yield from self._volume(run, with_masks)
        else:
            yield _image(first, with_masks, white=self.white)

    def _volume(self, run: Sequence[View], with_masks: bool) -> Iterator[Picture]:
        first, wanted = run[0], {view.number for view in run}
        source = NiftiFolder(first.path.parent, plane=first.plane)
        record = Record(first.path, detail=Volume((first.path,), first.mask if with_masks else None))
        for number, load in enumerate(source.read(record, Fixed(0.0, 1.0))):
            if number in wanted:
                yield load()


def as_tensor(pixels: UInt[ndarray, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Quantised pixels in [-1, 1]."""
    return to_float(torch.from_numpy(pixels))


def _image(view: View, with_masks: bool, *, white: float | None) -> Picture:
    with strict_pillow():
        picture = read_image(view.path, white=white)
        return _with_mask(picture, mask_image(view.mask)) if with_masks and view.mask else picture


def mask_image(path: Path) -> UInt8[ndarray, "h w"]:
    """The labels of a mask file: its grey levels, or 1 where a mask of nothing else is white. Raises BadImage."""
    try:
        with Image.open(path) as image:
            stored = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"{path.name}: not an image Pillow can read") from error
    return _labels(stored, path)


def _labels(stored: ndarray, path: Path) -> UInt8[ndarray, "h w"]:
    if set(np.unique(stored).tolist()) <= {0, UNKNOWN}:
        return (stored > 0).astype(np.uint8)
    if stored.min() < 0 or stored.max() >= UNKNOWN or (stored != np.rint(stored)).any():
        raise BadImage(f"{path.name}: labels are whole numbers from 0 to {UNKNOWN - 1}")
    return stored.astype(np.uint8)


def _frame(view: View, modality: str, with_masks: bool) -> Picture:
    picture = _read(view.shot, modality)
    if picture.is_colour:
        raise BadImage("a colour DICOM object; give such images as PNG")
    if not with_masks or view.mask_shot is None:
        return picture
    return _with_mask(picture, _labels(_read(view.mask_shot, "MR").values, view.mask_shot.stored.path))


def _read(shot: Shot | None, modality: str) -> Picture:
    assert shot is not None
    return replace(shot, modality=modality).picture((), inflate(shot.stored) if shot.stored.deflated else None)


def _with_mask(picture: Picture, mask: UInt8[ndarray, "h w"]) -> Picture:
    if mask.shape != picture.values.shape[:2]:
        raise BadImage(f"its mask is {mask.shape[1]}x{mask.shape[0]} and not of its size")
    return replace(picture, mask=mask)


@dataclass
class Batches:
    """Views as batches (b, c, h, w) in [-1, 1].

    Files are decoded anew at each iteration, unless slices of one file lie apart in the order: then each file is
    decoded once, and its pixels wait in an unnamed temporary file of at most one byte, or two above 8 bits, a pixel.
    """

    views: Sequence[View]
    reader: Reader
    batch_size: int = BATCH
    _kept: IO[bytes] | None = field(default=None, init=False, repr=False)

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        pixels = self._scattered() if self._is_scattered() else self.reader.pixels(self.views)
        batch = []
        for one in pixels:
            batch.append(one)
            if len(batch) == self.batch_size:
                yield as_tensor(np.stack(batch))
                batch = []
        if batch:
            yield as_tensor(np.stack(batch))

    def _is_scattered(self) -> bool:
        return sum(1 for _ in runs(self.views)) > len({view.path for view in self.views})

    def _scattered(self) -> Iterator[UInt[ndarray, "c h w"]]:
        decoder = self.reader.decoder
        shape = (decoder.channels, decoder.resolution, decoder.resolution)
        dtype = np.dtype(np.uint8 if decoder.bits == 8 else np.uint16)
        size = int(np.prod(shape)) * dtype.itemsize
        if self._kept is None:
            kept = TemporaryFile()  # noqa: SIM115 - it lives as long as this set
            order = sorted(range(len(self.views)), key=lambda i: (self.views[i].path, self.views[i].number))
            for i, pixels in zip(order, self.reader.pixels([self.views[i] for i in order]), strict=True):
                kept.seek(i * size)
                kept.write(np.ascontiguousarray(pixels).data)
            self._kept = kept
            weakref.finalize(self, kept.close)
        for i in range(len(self.views)):
            self._kept.seek(i * size)
            yield np.frombuffer(bytearray(self._kept.read(size)), dtype).reshape(shape)


def readable(views: Sequence[View], reader: Reader) -> tuple[list[int], list[int], list[str]]:
    """Which views are of files that decode whole, which of these show next to nothing, and a line a bad file."""
    least = EMPTY * (2**reader.decoder.bits - 1)
    good, blank, lines, first = [], [], [], 0
    for run in runs(views):
        numbers = range(first, first + len(run))
        first += len(run)
        try:
            shown = [reader.render(picture).pixels.std() > least for picture in reader.pictures(run)]
        except BadImage as reason:
            lines.append(f"{run[0].path} was left out: {told(reason)}")
            continue
        good += numbers
        blank += [number for number, is_shown in zip(numbers, shown, strict=True) if not is_shown]
    return good, blank, lines


def told(reason: BadImage) -> str:
    """The reason without a remedy that only preparing data knows."""
    return re.split(r"; (?:set )?data\.", str(reason))[0]
