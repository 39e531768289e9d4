"""Judging while training: the suite of `metrics=` every so many images, and the best checkpoint by one figure."""

import time
from collections.abc import Iterator
from typing import Any

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
from medsynth.sampling import synthesise
from medsynth.synthesis import SynthesisModule


class Evaluation(Callback):
    """Judges the averaged generator every `every` images; 0, or `metrics=none`, judges nothing. Masks are not judged.

    Args:
        pack: real images; its training split is divided into halves of different patients, as in the evaluate verb.
        metrics: the `metrics` group.
        checkpoints: keeps `best.ckpt` by the figure that `metrics.monitor` names.
        seed: of the judged images.
    """

    def __init__(self, pack: Pack, metrics: dict[str, Any], checkpoints: Checkpoints, *, every: int, seed: int) -> None:
        asked = settings(metrics).count
        count = min(asked, len(real_halves(pack, count=asked)[0])) if asked else 0
        if count < asked and every:
            say(f"metrics.count={asked:,}, but half of the training images are {count:,}: figures carry that number")
        self.pack, self.metrics, self.checkpoints = pack, {**metrics, "count": count}, checkpoints
        self.settings = settings(self.metrics)
        self.every, self.seed = every if self.settings.count else 0, seed
        self.attributes = Attributes.of(pack)
        self._yardstick: Yardstick | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.clock.passed(self.every):
            pl_module.reduce_running_statistics()
            value = self._judge(trainer, pl_module) if trainer.is_global_zero else None
            value = trainer.strategy.broadcast(value)
            if value is not None:
                self.checkpoints.offer(trainer, pl_module, value)

    def _judge(self, trainer: Trainer, module: SynthesisModule) -> float | None:
        """Judge on rank 0, log the figures, and return the monitored one."""
        start = time.perf_counter()
        # The real side is measured once a process.
        self._yardstick = self._yardstick or yardstick(self.pack, self.metrics, device=module.device)
        judgement = self._yardstick.judge(self._images(module))
        figures = scalars(judgement)
        seconds = time.perf_counter() - start
        row = {"images_seen": module.clock.images_seen, **{f"val/{key}": value for key, value in figures.items()}}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=module.clock.images_seen)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        say(f"judged at {module.clock.images_seen:,} images in {seconds:.1f} s: {shown}")
        entry = find(judgement, self.settings.monitor) if self.settings.monitor else None
        return entry["value"] if entry else None

    def _images(self, module: SynthesisModule) -> Iterator[Tensor]:
        """Synthetic images without their masks, labels and covariates as often as in training."""
        for images in synthesise(module, n=self.settings.count, seed=self.seed, attributes=self.attributes):
            yield images[:, : self.pack.channels]
