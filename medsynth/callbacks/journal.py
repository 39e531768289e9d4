"""The run's journal: a row of figures every so many images, and one live line for people."""

import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from medsynth.callbacks.guard import check_terms
from medsynth.errors import say
from medsynth.loggers import FileLogger
from medsynth.synthesis import SynthesisModule


class Journal(Callback):
    """Reads the loss terms, lets the guard look at them, hands them to every logger, and shows progress.

    Args:
        images: budget of the run, for the time left.
        every: lengths in images after which a row is due; the checkpoint's is among them, so that the sums of a
            resumed run start where an uninterrupted run's do.
    """

    def __init__(self, *, images: int, every: tuple[int, ...]) -> None:
        self.images, self.every = images, every
        self.seconds = 0.0  # of training, resumes included
        self.latest: dict[str, float] = {}
        self._time = time.perf_counter()
        self._images_seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, FileLogger):
                    logger.cut(pl_module.clock.images_seen)
        self._time, self._images_seen = time.perf_counter(), pl_module.clock.images_seen

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        clock = pl_module.clock
        if any(map(clock.passed, self.every)) or clock.images_seen >= self.images:
            self.write(trainer, pl_module)

    def write(self, trainer: Trainer, module: SynthesisModule) -> None:
        """Write the row of the terms collected since the last one. Every rank must call this."""
        images_seen = module.clock.images_seen
        terms = module.read_terms()
        if not terms:
            return
        check_terms(terms, self.latest, images_seen=images_seen)
        self.latest = terms
        elapsed = time.perf_counter() - self._time
        rate = (images_seen - self._images_seen) / elapsed
        self.seconds += elapsed
        self._time, self._images_seen = time.perf_counter(), images_seen
        if trainer.is_global_zero:
            row = {
                "images_seen": images_seen,
                "seconds": round(self.seconds, 3),
                "images_per_second": round(rate, 2),
                **terms,
            }
            for logger in trainer.loggers:
                logger.log_metrics(row, step=images_seen)
            self._show(images_seen, rate, terms)

    def _show(self, images_seen: int, rate: float, terms: dict[str, float]) -> None:
        left = (self.images - images_seen) / rate
        figures = "  ".join(f"{name.removeprefix('train/')} {value:.3g}" for name, value in terms.items())
        line = f"{images_seen:,} / {self.images:,} images  {rate:.0f} img/s  {figures}  {_memory()}"
        line += f"  {_duration(left)} left"
        live = sys.stderr.isatty() and images_seen < self.images
        say(f"\r\033[K{line}" if sys.stderr.isatty() else line, end="" if live else "\n")


def _memory() -> str:
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return f"GPU {used / 2**30:.1f} GiB"
    import psutil

    return f"RAM {psutil.Process().memory_info().rss / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
