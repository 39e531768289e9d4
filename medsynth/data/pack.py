"""The Pack: decoded slices as one memory-mapped array and a table, made once and shared by every process."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from medsynth.data.picture import UNKNOWN, Geometry
from medsynth.data.splits import SPLITS
from medsynth.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from medsynth.data.render import Slice
else:  # preparing a pack needs no torch, which takes longer to load, and more memory, than all else
    Tensor = Any

FORMAT = 4


def cache_folder() -> Path:
    """$MEDSYNTH_CACHE, or `medsynth` in the user's cache folder ($XDG_CACHE_HOME or ~/.cache)."""
    chosen = os.environ.get("MEDSYNTH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser().absolute() / "medsynth"


T = TypeVar("T", "Tensor", ndarray)


def to_float(pixels: T) -> T:
    """Quantised pixels of any shape, array or tensor, to float32 in [-1, 1]: v / 127.5 - 1, or v / 32767.5 - 1."""
    half = 127.5 if pixels.itemsize == 1 else 32767.5
    image = pixels.astype(np.float32) if isinstance(pixels, ndarray) else pixels.float()
    image /= half
    image -= 1
    return image


def gather(array: np.memmap, indices: Int[ndarray, " b"] | Sequence[int]) -> Tensor:
    """Slices of a memory-mapped array, as a tensor of its type."""
    import torch

    return torch.from_numpy(np.asarray(array).take(indices, axis=0))


def table_columns(slices: Sequence["Slice"]) -> dict[str, ndarray]:
    """Where each slice lies, as columns of the table; not-a-number and -1 where a file does not say."""
    nowhere = Geometry(np.full((4, 4), np.nan), np.full((4, 4), np.nan), (-1, -1, -1), -1)
    found = [s.geometry or nowhere for s in slices]
    return {
        "affines": np.stack([g.affine for g in found]),
        "source_affines": np.stack([g.source_affine for g in found]),
        "source_shapes": np.array([g.source_shape for g in found], dtype=np.int64),
        "numbers": np.array([g.number for g in found], dtype=np.int64),
        "placements": np.array([s.placement for s in slices], dtype=np.float64),
    }


@dataclass(frozen=True, eq=False)
class Pack:
    """The slices of one dataset at one resolution, opened from its folder.

    key: hash of path, size and mtime of every file and of the settings: finds the pack again.
    content: digest of all arrays, labels, classes and splits: survives a moved root; equal means the same pack.
    images: (n, c, h, w) uint8 or uint16, memory-mapped.  masks: (n, 1, h, w) uint8 labels, UNKNOWN where nobody said.
    conditions: (n, d, h, w), what the images are to be made from.  Both None where the dataset has none.
    labels: (n,) index into class_names, -1 without a label.
    patients: (n,) patient, or the group that stands for one.  files: (n,) path below the root.
    splits: indices of "train", "val" and "test"; images taken out of training stand in none, augmented copies neither.
    others: the same for the images of the other set of an unpaired translation.
    copies: (n,) 0 for an image of the dataset, k for its k-th augmented copy.
    low, high: (n, c) values that became -1 and 1 when packed; condition_low, condition_high: (n, d).
    affines, source_affines, source_shapes, numbers, placements: see geometry().
    intensity: the codec of what tensor() gives.  stored: the codec of the stored values; they differ for CT of 16 bits,
    whose window acts on reading.  provides: "image" and what else there is of "label", "mask", "condition" and
    "covariates".
    covariates: (n, v) in their own units, not-a-number where nobody said; None without any.  covariate_names: theirs.
    mask_channel: whether models are to make the mask as a last channel: 1 where it shows one of mask_labels (None: any
    but 0), -1 elsewhere.  usable: (n,) whether training can draw an image: it has all covariates, and with mask_channel
    a mask that is known everywhere.  left_out: why training images are not usable, and how many.
    """

    folder: Path
    key: str
    content: str
    images: np.memmap
    masks: np.memmap | None
    conditions: np.memmap | None
    labels: Int[ndarray, " n"]
    class_names: list[str]
    patients: ndarray
    files: ndarray
    splits: dict[str, Int[ndarray, " m"]]
    others: dict[str, Int[ndarray, " k"]]
    copies: Int[ndarray, " n"]
    low: Float[ndarray, "n c"]
    high: Float[ndarray, "n c"]
    affines: Float[ndarray, "n 4 4"]
    source_affines: Float[ndarray, "n 4 4"]
    source_shapes: Int[ndarray, "n 3"]
    numbers: Int[ndarray, " n"]
    placements: Float[ndarray, "n 4"]
    name: str
    resolution: int
    channels: int
    bits: int
    stored: dict[str, Any]
    intensity: dict[str, Any]
    provides: frozenset[str]
    condition_low: Float[ndarray, "n d"] | None = None
    condition_high: Float[ndarray, "n d"] | None = None
    covariates: Float[ndarray, "n v"] | None = None
    covariate_names: tuple[str, ...] = ()
    mask_channel: bool = False
    mask_labels: tuple[int, ...] | None = None
    usable: Bool[ndarray, " n"] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        intensity: dict[str, Any] | None = None,
        mask_channel: bool = False,
        mask_labels: Sequence[int] | None = None,
    ) -> "Pack":
        """Open a prepared pack; its pixels stay on disk until they are used.

        intensity: config of the codec to read with; it must be the stored one, or a window on stored HU.
        Raises UserError when a mask channel is asked for and there are no masks, and when no training image is usable.
        """
        folder = Path(folder)
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        with np.load(folder / "table.npz", allow_pickle=False) as table:
            columns = {name: table[name] for name in table.files}
        splits, domains = columns.pop("splits"), columns.pop("domains")
        original, target = columns["copies"] == 0, domains == "target"
        masks = _array(folder / "masks.npy")
        if mask_channel and masks is None:
            raise UserError(f"data.mask_channel=true needs masks, and {facts['name']} has none")
        names = tuple(facts.pop("covariate_names", ()))
        faults = _faults(columns.get("covariates"), names, masks if mask_channel else None)
        usable = ~np.any([np.zeros(len(original), dtype=bool), *faults.values()], axis=0)
        train = (splits == "train") & original & target
        if train.any() and not (train & usable).any():
            raise UserError(f"{facts['name']}: no image is left to train on: each {' or '.join(faults)}")
        splits[train & ~usable] = ""
        del facts["format"]
        codec: dict[str, Any] = intensity or facts["stored"]
        if codec != facts["stored"]:
            facts["content"] = hashlib.sha256(f"{facts['content']} {codec}".encode()).hexdigest()
        return cls(
            folder=folder,
            images=np.load(folder / "images.npy", mmap_mode="r"),
            masks=masks,
            conditions=_array(folder / "conditions.npy"),
            splits={split: np.flatnonzero((splits == split) & original & target) for split in SPLITS},
            others={split: np.flatnonzero((splits == split) & original & ~target) for split in SPLITS},
            provides=frozenset(facts.pop("provides")),
            class_names=columns.pop("class_names").tolist(),
            intensity=codec,
            covariate_names=names,
            mask_channel=mask_channel,
            mask_labels=None if mask_labels is None else tuple(mask_labels),
            usable=usable,
            left_out={why: count for why, rows in faults.items() if (count := int((rows & train).sum()))},
            **columns,
            **facts,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers that are spawned open the folder again instead of receiving its pixels."""
        settings = {"intensity": self.intensity, "mask_channel": self.mask_channel, "mask_labels": self.mask_labels}
        return partial(Pack.open, **settings), (self.folder,)

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Tensor:
        """Quantised slices (b, c, h, w) as they are stored; uint16 stays uint16."""
        return gather(self.images, indices)

    def training(self, split: str) -> Int[ndarray, " m"]:
        """The indices that training draws from: those of the split, and behind them their augmented copies."""
        mine = self.splits[split]
        if split != "train":
            return mine
        copies = self.copies > 0
        return np.concatenate([mine, np.flatnonzero(copies if self.usable is None else copies & self.usable)])

    def shape_facts(self) -> dict[str, int]:
        """What a network must be built for: "channels" of the images it makes or sees, the mask's among them,
        "classes" (0 without labels for every image) and "covariates"."""
        return {
            "channels": self.channels + self.mask_channel,
            "classes": len(self.class_names) if "label" in self.provides else 0,
            "covariates": len(self.covariate_names),
        }

    def targets(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Float[Tensor, "b d h w"]:
        """What a model is to make: slices in [-1, 1], and with mask_channel their masks as the last channel."""
        images = self.tensor(indices)
        return self.with_mask(images, gather(self.masks, indices)) if self.masks is not None else images

    def with_mask(self, images: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b d h w"]:
        """Images with their masks as the last channel, -1 or 1, where mask_channel asks for it, else the images."""
        if not self.mask_channel:
            return images
        import torch

        labels = self.mask_labels
        shown = masks > 0 if labels is None else torch.isin(masks, torch.tensor(labels, device=masks.device))
        return torch.cat([images, shown.to(images.dtype) * 2 - 1], dim=1)

    def tensor(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Slices in [-1, 1]."""
        return self.floats(self.pixels(indices))

    def array(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Float[ndarray, "b c h w"]:
        """The same as an array."""
        return self.floats(np.asarray(self.images).take(indices, axis=0))

    def floats(self, pixels: T) -> T:
        """Stored pixels, array or tensor on any device, in [-1, 1] of the codec `intensity`."""
        image = to_float(pixels)
        if self.intensity == self.stored:
            return image
        (low, high), (from_low, from_high) = codec_range(self.intensity), codec_range(self.stored)
        image *= (from_high - from_low) / (high - low)
        image += (from_low + from_high - low - high) / (high - low)
        return image.clip(-1, 1)

    def width(self, indices: Int[ndarray, " b"]) -> Float[ndarray, " b"]:
        """How much of the source's unit lies between -1 and 1 of each slice's first channel, in what tensor() gives."""
        if self.intensity != self.stored:
            low, high = codec_range(self.intensity)
            return np.full(len(indices), high - low, dtype=np.float32)
        return self.high[indices, 0] - self.low[indices, 0]

    def ranges(self) -> list[list[float]]:
        """The values that -1 and 1 stand for in what tensor() gives, one pair a channel: the median over slices."""
        if self.intensity != self.stored:
            return [list(codec_range(self.intensity))] * self.channels
        middle = np.median(np.stack([self.low, self.high], axis=-1), axis=0)  # (c, 2)
        return [[float(low), float(high)] for low, high in middle]

    def geometry(self, index: int) -> Geometry | None:
        """Where the picture of slice `index` lies, as its file says; None for files that do not.

        placements[index] is (row, column, row step, column step) in that picture: packed pixel (y, x) has its centre
        at (row + y * row step, column + x * column step).
        """
        if self.numbers[index] < 0:
            return None
        x, y, z = (int(side) for side in self.source_shapes[index])
        return Geometry(self.affines[index], self.source_affines[index], (x, y, z), int(self.numbers[index]))

    def affine(self, index: int) -> Float[ndarray, "4 4"] | None:
        """Takes (column, row, 0, 1) of packed slice `index` to millimetres in RAS; None where nobody knows."""
        geometry = self.geometry(index)
        if geometry is None:
            return None
        row, column, row_step, column_step = self.placements[index]
        placed = np.array([[column_step, 0, 0, column], [0, row_step, 0, row], [0, 0, 1, 0], [0, 0, 0, 1]])
        return geometry.affine @ placed

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Median millimetres from row to row, column to column and slice to slice of packed slices, where known."""
        known = np.flatnonzero((self.numbers >= 0) & (self.copies == 0))
        if not len(known):
            return None
        norms = np.linalg.norm(self.affines[known][:, :3, :3], axis=1)  # (n, 3): column, row, slice
        steps = self.placements[known][:, 2:]
        each = np.stack([norms[:, 1] * steps[:, 0], norms[:, 0] * steps[:, 1], norms[:, 2]])
        row, column, between = (float(value) for value in np.median(each, axis=1))
        return row, column, between

    def batches(self, indices: Int[ndarray, " m"], *, batch_size: int = 256) -> "PackBatches":
        """The slices of `indices` in order as batches, as often as one iterates."""
        return PackBatches(self, np.asarray(indices), batch_size)


def _array(path: Path) -> np.memmap | None:
    return np.load(path, mmap_mode="r") if path.exists() else None


def _faults(
    covariates: ndarray | None, names: Sequence[str], masks: np.memmap | None
) -> dict[str, Bool[ndarray, " n"]]:
    """Why training cannot draw images, and which."""
    faults: dict[str, ndarray] = {}
    if covariates is not None:
        faults = {f"has no {name}": np.isnan(covariates[:, k]) for k, name in enumerate(names)}
    if masks is not None:
        parts = [(masks[first : first + 1024] == UNKNOWN).any(axis=(1, 2, 3)) for first in range(0, len(masks), 1024)]
        faults["has a mask that is not known everywhere"] = np.concatenate(parts)
    return faults


def unit_of(config: dict[str, Any]) -> str:
    """What the values of a codec are: "grey", "hu", or "any"."""
    from hydra.utils import instantiate

    return instantiate(config).unit


def codec_range(config: dict[str, Any]) -> tuple[float, float]:
    """The values that a codec with a fixed range turns into -1 and 1."""
    from hydra.utils import instantiate

    return instantiate(config).range()


@dataclass(frozen=True, eq=False)
class PackBatches:
    """Float batches (b, c, h, w) in [-1, 1] of some slices of a pack; each iteration starts anew."""

    pack: Pack
    indices: Int[ndarray, " m"]
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        for first in range(0, len(self.indices), self.batch_size):
            yield self.pack.tensor(self.indices[first : first + self.batch_size])
