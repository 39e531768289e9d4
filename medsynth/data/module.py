"""Feeds batches of a Pack: every index depends on seed and position alone, and every rank takes its slice of it."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medsynth.attributes import Attributes
from medsynth.augment import FLIPS
from medsynth.augment.affine import Views, flip
from medsynth.batch import Batch
from medsynth.data.degrade import Degradation
from medsynth.data.order import Order
from medsynth.data.pack import Pack, gather, unit_of
from medsynth.data.settings import BALANCES
from medsynth.errors import UserError, say
from medsynth.latent import Draws

Augment = Callable[[Views, Draws, Int[Tensor, " b"]], Views]


class PackDataset(Dataset[dict[str, Any]]):
    """Gathers whole batches by position in the training stream; used with batches of positions only.

    order: of the images `indices`.  others: for an unpaired dataset, the same for the images of the other set.
    """

    def __init__(
        self,
        pack: Pack,
        indices: Int[ndarray, " m"],
        order: Order,
        *,
        batch_size: int,
        others: tuple[Int[ndarray, " k"], Order] | None = None,
    ) -> None:
        self.pack, self.indices, self.order, self.batch_size, self.others = pack, indices, order, batch_size, others
        self.covariates = None
        if pack.covariates is not None:
            self.covariates = torch.from_numpy(Attributes.of(pack).scaled(pack.covariates))  # (n, k)

    def __getitems__(self, positions: range) -> dict[str, Any]:
        """A rank's share of one global batch, still quantised; `first` is the global batch's first position."""
        chosen = self.indices[self.order.at(positions)]
        first = positions.start - positions.start % self.batch_size
        pack = self.pack
        batch: dict[str, Any] = {
            "image": pack.pixels(chosen),
            "row": torch.arange(positions.start - first, positions.stop - first),
            "first": first,
            "width": torch.from_numpy(pack.width(chosen)),
        }
        if "label" in pack.provides:
            batch["label"] = torch.from_numpy(pack.labels[chosen])
        if self.covariates is not None:
            batch["covariates"] = self.covariates[chosen]
        if pack.masks is not None and (pack.mask_channel or "mask" in pack.provides):
            batch["mask"] = gather(pack.masks, chosen)
        if self.others is not None:
            indices, order = self.others
            batch["condition"] = pack.pixels(indices[order.at(positions)])
        elif pack.conditions is not None:
            batch["condition"] = gather(pack.conditions, chosen)
        return batch


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
    """Training batches of one split of a Pack, with labels, covariates and masks where it provides them.

    Covariates are scaled so that the range of the training images is [-1, 1], and stay those of the image before
    augmentation. With pack.mask_channel, "image" has the mask as its last channel.
    batch_size: of the global batch; ranks divide it.  images: real images to draw in all, rounded up to whole batches.
    augment: acts on images, masks and conditions alike, on the device, with parameters drawn for the global batch;
        None for none.
    flips: "none", "horizontal", "vertical" or "both", each with probability 1/2; only where anatomy allows it.
    balance: what is done about classes of different size, see order.py.
    degrade: makes the condition from the image (low dose, low resolution); None for none.
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
        balance: str = "none",
        degrade: Degradation | None = None,
    ) -> None:
        super().__init__()
        self.pack, self.batch_size, self.seed, self.images = pack, batch_size, seed, images
        self.augment, self.flips, self.workers, self.degrade = augment, flips, workers, degrade
        self.indices, self.others, self.balance = pack.training(split), pack.others[split], balance
        self.images_seen = 0
        for why, count in pack.left_out.items() if split == "train" else ():
            say(f"data     {count:,} images of {pack.name} are left out of training: each {why}")
        if balance not in BALANCES:
            raise UserError(f"data.balance={balance} must be one of {', '.join(BALANCES)}")
        if balance != "none" and "label" not in pack.provides:
            raise UserError(f"data.balance={balance} needs labels, and {pack.name} has none for every image")
        if degrade is not None and "condition" in pack.provides:
            raise UserError(f"degrade= makes a condition, but {pack.name} has one already: degrade=none")
        if degrade is not None and degrade.unit not in ("any", unit_of(pack.intensity)):
            raise UserError(f"degrade={type(degrade).__name__} needs values in {degrade.unit}, which {pack.name} lacks")
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
        dataset = PackDataset(
            self.pack, self.indices, self._order(), batch_size=self.batch_size, others=self._other_order()
        )
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
        """On the device: quantised pixels to [-1, 1], flips, augmentation, degradation, the mask as a channel."""
        first, width, row = batch.pop("first"), batch.pop("width"), batch["row"]
        views: Views = {"image": self.pack.floats(batch["image"])}
        if "mask" in batch:
            views["mask"] = batch["mask"]
        if "condition" in batch:
            views["condition"] = self.pack.floats(batch["condition"])
        draws = Draws(self.seed, first, self.batch_size)
        views = flip(views, draws, row, kind=self.flips)
        if self.augment is not None:
            views = self.augment(views, draws, row)
        if self.degrade is not None:
            views["condition"] = self.degrade(views["image"], draws, row, width=width)
        if "mask" in views:
            views["image"] = self.pack.with_mask(views["image"], views["mask"])
        return Batch(**{**batch, **views})  # type: ignore[typeddict-item]

    def _order(self) -> Order:
        return Order(self.pack.labels[self.indices], seed=self.seed, balance=self.balance)

    def _other_order(self) -> tuple[Int[ndarray, " k"], Order] | None:
        """The stream of the other set of an unpaired dataset, independent of the first."""
        if not len(self.others):
            return None
        return self.others, Order(np.zeros_like(self.others), seed=self.seed, name="epoch of conditions")


def _leave_signals_to_the_run(worker: int) -> None:
    """A terminal's Ctrl-C reaches workers too; the run saves first and then ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    """The dataset returns whole batches."""
    return batch
