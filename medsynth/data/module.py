"""Feeds batches of a Pack: every index depends on seed and position alone, and every rank takes its slice of it."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medsynth.augment.affine import FLIPS, flip
from medsynth.batch import Batch
from medsynth.data.pack import Pack, to_float
from medsynth.errors import UserError
from medsynth.latent import Draws, generator

Augment = Callable[[Float[Tensor, "b c h w"], Draws, Int[Tensor, " b"]], Float[Tensor, "b c h w"]]


def stream(positions: range, *, count: int, seed: int) -> Int[ndarray, " b"]:
    """Which of `count` images stand at these positions of the endless training stream.

    Position p is place p % count of epoch p // count, and each epoch is a permutation of its own, a function of
    (seed, epoch): a batch may straddle two epochs, and no image comes twice before all others came once.
    """
    parts = []
    first = positions.start
    while first < positions.stop:
        epoch, offset = divmod(first, count)
        taken = min(count - offset, positions.stop - first)
        parts.append(_permutation(count, seed, epoch)[offset : offset + taken])
        first += taken
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _permutation(count: int, seed: int, epoch: int) -> Int[ndarray, " count"]:
    return torch.randperm(count, generator=generator(seed, "epoch", epoch)).numpy()


class PackDataset(Dataset[dict[str, Any]]):
    """Gathers whole batches by position in the training stream; used with batches of positions only."""

    def __init__(self, pack: Pack, indices: Int[ndarray, " m"], *, batch_size: int, seed: int) -> None:
        self.pack, self.indices, self.batch_size, self.seed = pack, indices, batch_size, seed
        self._epoch: tuple[int, Int[ndarray, " m"]] = (-1, indices)

    def __getitems__(self, positions: range) -> dict[str, Any]:
        """A rank's share of one global batch, still quantised; `first` is the global batch's first position."""
        chosen = self._order(positions)
        first = positions.start - positions.start % self.batch_size
        batch: dict[str, Any] = {
            "image": self.pack.pixels(chosen),
            "row": torch.arange(positions.start - first, positions.stop - first),
            "first": first,
        }
        if "label" in self.pack.provides:
            batch["label"] = torch.from_numpy(self.pack.labels[chosen])
        return batch

    def _order(self, positions: range) -> Int[ndarray, " b"]:
        """Pack indices at these positions; the permutation of the running epoch is kept."""
        count = len(self.indices)
        epoch, offset = divmod(positions.start, count)
        if offset + len(positions) > count:
            return self.indices[stream(positions, count=count, seed=self.seed)]
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self.indices[_permutation(count, self.seed, epoch)])
        return self._epoch[1][offset : offset + len(positions)]


class ShareSampler:
    """This rank's contiguous share of every global batch from `first` up to `images`, as ranges of positions."""

    def __init__(self, *, first: int, images: int, batch_size: int, rank: int, world: int) -> None:
        self.first, self.images, self.batch_size = first, images, batch_size
        self.share = batch_size // world
        self.rank = rank

    def __len__(self) -> int:
        return max(0, -(-(self.images - self.first) // self.batch_size))

    def __iter__(self) -> Iterator[range]:
        for batch in range(len(self)):
            start = self.first + batch * self.batch_size + self.rank * self.share
            yield range(start, start + self.share)


class ImageDataModule(LightningDataModule):
    """Training batches of one split of a Pack.

    batch_size: of the global batch; ranks divide it.  images: real images to draw in all, rounded up to whole batches.
    augment: acts on float images on the device, with parameters drawn for the global batch; None for none.
    flips: "none", "horizontal", "vertical" or "both", each with probability 1/2; only where anatomy allows it.
    `images_seen` (0, or what a checkpoint says; a multiple of batch_size) is where the stream begins.
    Raises UserError for a batch larger than the split, and in train_dataloader for ranks that do not divide it.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        batch_size: int,
        seed: int,
        images: int,
        augment: Augment | None = None,
        flips: str = "none",
        workers: int = 0,
        split: str = "train",
    ) -> None:
        super().__init__()
        self.pack, self.batch_size, self.seed, self.images = pack, batch_size, seed, images
        self.augment, self.flips, self.workers = augment, flips, workers
        self.indices = pack.splits[split]
        self.images_seen = 0
        if flips not in FLIPS:
            raise UserError(f"data.flips={flips} must be one of {', '.join(FLIPS)}")
        if not isinstance(workers, int) or workers < 0:
            raise UserError(f"data.workers={workers} must be a whole number of at least 0")
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be at least 1")
        if batch_size > len(self.indices):
            raise UserError(
                f"batch_size={batch_size} is larger than the {len(self.indices):,} images of split '{split}' of "
                f"{pack.name}; lower batch_size"
            )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches from images_seen on; with several ranks, this rank's share of each."""
        rank = self.trainer.global_rank if self.trainer else 0
        world = self.trainer.world_size if self.trainer else 1
        if self.batch_size % world:
            raise UserError(
                f"batch_size={self.batch_size} is the global batch and must be a multiple of the {world} ranks; "
                f"nearest: {self.batch_size - self.batch_size % world or world}"
            )
        sampler = ShareSampler(
            first=self.images_seen, images=self.images, batch_size=self.batch_size, rank=rank, world=world
        )
        dataset = PackDataset(self.pack, self.indices, batch_size=self.batch_size, seed=self.seed)
        # The sampler yields ranges, which __getitems__ takes, and it returns whole batches: DataLoader's own types
        # know neither.
        whole: Any = _as_it_is
        return DataLoader(
            dataset,
            batch_sampler=sampler,  # type: ignore[arg-type]
            collate_fn=whole,
            num_workers=self.workers,
            worker_init_fn=_leave_signals_to_the_run,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """On the device: quantised pixels to [-1, 1], flips and augmentation."""
        first = batch.pop("first")
        image, row = to_float(batch["image"]), batch["row"]
        draws = Draws(self.seed, first, self.batch_size)
        image = flip(image, draws, row, kind=self.flips)
        if self.augment is not None:
            image = self.augment(image, draws, row)
        return Batch(**{**batch, "image": image})


def _leave_signals_to_the_run(worker: int) -> None:
    """A terminal's Ctrl-C reaches workers too; the run saves first and then ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    """The dataset returns whole batches."""
    return batch
