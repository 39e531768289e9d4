"""Judging while training: the suite of `metrics=` every so many images, and the best checkpoint by one figure."""

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from medsynth.attributes import Attributes
from medsynth.callbacks.checkpoints import Checkpoints
from medsynth.data.pack import Pack
from medsynth.errors import say
from medsynth.metrics.entries import find
from medsynth.metrics.real import real_halves, yardstick
from medsynth.metrics.settings import settings
from medsynth.metrics.suite import Yardstick, scalars
from medsynth.sampling import CHUNK, synthesise
from medsynth.synthesis import SynthesisModule

MOST_SHARE = 0.05  # of the time that judging may take without a word


class Evaluation(Callback):
    """Judges the averaged generator every `every` images; 0, or `metrics=none`, judges nothing. Masks are not judged.

    Args:
        pack: real images; its training split is divided into halves of different patients, as in the evaluate verb.
        metrics: the `metrics` group.
        checkpoints: keeps `best.ckpt` by the figure that `metrics.monitor` names.
        seed: of the judged images.
    """

    def __init__(self, pack: Pack, metrics: dict[str, Any], checkpoints: Checkpoints, *, every: int, seed: int) -> None:
        self.settings = settings(metrics)
        asked = self.settings.count
        self.count = min(asked, len(real_halves(pack, count=asked)[0])) if asked else 0
        if self.count < asked and every:
            say(f"metrics.count={asked:,}, but half of the training images are {self.count:,}: figures are of these")
        self.pack, self.metrics, self.checkpoints = pack, metrics, checkpoints
        self.every, self.seed = every if self.count else 0, seed
        self.attributes = Attributes.of(pack)
        self._yardstick: Yardstick | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._started, self._spent, self._judgements = time.perf_counter(), 0.0, 0
        self._first_image = pl_module.clock.images_seen

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.clock.passed(self.every):
            start = time.perf_counter()
            pl_module.reduce_running_statistics()
            judgement = self._judge(trainer, pl_module)
            self._spent += time.perf_counter() - start
            self._judgements += 1
            value = self._tell(trainer, pl_module, judgement, time.perf_counter() - start) if judgement else None
            value = trainer.strategy.broadcast(value)
            if value is not None:
                self.checkpoints.offer(trainer, pl_module, value)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._judgements and self.share() > MOST_SHARE:
            seconds = self._spent / self._judgements
            rate = (pl_module.clock.images_seen - self._first_image) / (self._elapsed() - self._spent)
            enough = math.ceil(seconds * rate * (1 - MOST_SHARE) / MOST_SHARE / 1000) * 1000
            say(
                f"judging took {self.share():.0%} of the time; evaluate_every={enough:_} or more would take less than "
                f"{MOST_SHARE:.0%}"
            )

    def share(self) -> float:
        """Of the time since training began, what was spent on judging, 0 to 1."""
        return self._spent / max(self._elapsed(), 1e-9)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _judge(self, trainer: Trainer, module: SynthesisModule) -> dict[str, Any] | None:
        """Judge images of which every rank makes and measures its part; the judgement is rank 0's."""
        self._yardstick = real = self._yardstick or self._real_side(trainer, module)
        first, last = share_of(self.count, rank=trainer.global_rank, ranks=trainer.world_size)
        measured = real.measure(self._images(module, first=first, n=last - first), first=first)
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.gather_object(measured, parts if trainer.is_global_zero else None)
            for part in parts[1:] if trainer.is_global_zero else ():
                measured.append(part)
        return real.judgement(measured, real.find(measured)) if trainer.is_global_zero else None

    def _real_side(self, trainer: Trainer, module: SynthesisModule) -> Yardstick:
        """Measured once a process, by rank 0 first: the others find it in the cache."""
        made = None
        for turn in (trainer.is_global_zero, not trainer.is_global_zero):
            made = yardstick(self.pack, self.metrics, device=module.device) if turn else made
            trainer.strategy.barrier()
        assert made is not None
        return made

    def _tell(
        self, trainer: Trainer, module: SynthesisModule, judgement: dict[str, Any], seconds: float
    ) -> float | None:
        """Log the figures, and return the monitored one."""
        figures = scalars(judgement)
        row = {"images_seen": module.clock.images_seen, **{f"val/{key}": value for key, value in figures.items()}}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=module.clock.images_seen)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        cost = f"{seconds:.1f} s, {self.share():.1%} of the time so far"
        say(f"judged at {module.clock.images_seen:,} images in {cost}: {shown}")
        entry = find(judgement, self.settings.monitor) if self.settings.monitor else None
        return entry["value"] if entry else None

    def _images(self, module: SynthesisModule, *, first: int, n: int) -> Iterator[Tensor]:
        """Synthetic images without their masks, labels and covariates as often as in training."""
        for images in synthesise(module, n=n, seed=self.seed, first=first, attributes=self.attributes):
            yield images[:, : self.pack.channels]


def share_of(count: int, *, rank: int, ranks: int) -> tuple[int, int]:
    """The first image of a rank's part of `count` images, and the one after its last: whole calls of the generator."""
    calls = math.ceil(count / CHUNK)
    first, last = (min(count, CHUNK * (calls * place // ranks)) for place in (rank, rank + 1))
    return first, last
