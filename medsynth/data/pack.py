"""The Pack: decoded slices as one memory-mapped array and a table, made once and shared by every process."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

FORMAT = 1
SPLITS = ("train", "val", "test")


def cache_folder() -> Path:
    """$MEDSYNTH_CACHE, or `medsynth` in the user's cache folder ($XDG_CACHE_HOME or ~/.cache)."""
    chosen = os.environ.get("MEDSYNTH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser().absolute() / "medsynth"


def to_float(pixels: Tensor) -> Float[Tensor, "b c h w"]:
    """Quantised pixels to [-1, 1]: v / 127.5 - 1 for 8 bits, v / 32767.5 - 1 for 16."""
    return pixels.to(torch.float32).div_(127.5 if pixels.dtype == torch.uint8 else 32767.5).sub_(1.0)


@dataclass(frozen=True, eq=False)
class Pack:
    """The slices of one dataset at one resolution, opened from its folder.

    key: hash of path, size and mtime of every file and of the settings: finds the pack again.
    content: digest of pixels, labels, classes and splits: survives a moved root and says that two packs are the same.
    images: (n, c, h, w) uint8 or uint16, memory-mapped.  labels: (n,) index into class_names, -1 without a label.
    patients: (n,) patient, or the group that stands for one.  files: (n,) path below the root.
    splits: indices of "train", "val" and "test"; images taken out of training stand in none.
    low, high: (n,) values that became -1 and 1.  intensity: the codec's config.  provides: {"image"} or with "label".
    """

    folder: Path
    key: str
    content: str
    images: np.memmap
    labels: Int[ndarray, " n"]
    class_names: list[str]
    patients: ndarray
    files: ndarray
    splits: dict[str, Int[ndarray, " m"]]
    low: Float[ndarray, " n"]
    high: Float[ndarray, " n"]
    name: str
    resolution: int
    channels: int
    bits: int
    intensity: dict[str, Any]
    provides: frozenset[str]

    @classmethod
    def open(cls, folder: Path | str) -> "Pack":
        """Open a prepared pack; its pixels stay on disk until they are used."""
        folder = Path(folder)
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        with np.load(folder / "table.npz", allow_pickle=False) as table:
            columns = {name: table[name] for name in table.files}
        splits = columns.pop("splits")
        provides = frozenset(facts.pop("provides"))
        del facts["format"]
        return cls(
            folder=folder,
            images=np.load(folder / "images.npy", mmap_mode="r"),
            splits={split: np.flatnonzero(splits == split) for split in SPLITS},
            provides=provides,
            **columns,
            **facts,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers that are spawned open the folder again instead of receiving its pixels."""
        return Pack.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Tensor:
        """Quantised slices (b, c, h, w) as they are stored; uint16 stays uint16."""
        return torch.from_numpy(np.asarray(self.images).take(indices, axis=0))

    def tensor(self, indices: Int[ndarray, " b"] | Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Slices in [-1, 1]."""
        return to_float(self.pixels(indices))

    def batches(self, indices: Int[ndarray, " m"], *, batch_size: int = 256) -> "PackBatches":
        """The slices of `indices` in order as batches, as often as one iterates."""
        return PackBatches(self, np.asarray(indices), batch_size)


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
