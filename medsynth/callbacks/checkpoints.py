"""When checkpoints are written: last.ckpt every so many images and at the end, best.ckpt by a chosen metric, and once
early.ckpt, whose samples show what nobody would use."""

from math import ceil
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from medsynth.callbacks.guard import check_weights
from medsynth.checkpoint import FORMAT
from medsynth.clock import Clock
from medsynth.synthesis import SynthesisModule

EARLY, LATEST = 0.02, 0.1  # of the budget: when early.ckpt is written, and after which it would not be early
UNTRAINED = 20_000  # images: however large the budget, few generators are good by then, and some are later on


class Checkpoints(Callback):
    """Keeps `last.ckpt`, always whole, and `early.ckpt`.

    The early one is written once in the life of a run, at the first batch end at or after 2 % of `images` but no later
    than after 20,000, and holds no optimizers: it is sampled (`medsynth.usable`), never resumed. A budget of fewer than
    ten batches has none, and a larger one later on does not write it again.

    Args:
        folder: of the checkpoints.
        every: images between two saves; 0 saves only at the end.
        images: budget of the run.
        facts: plain values that make a checkpoint self-contained (configuration, classes, intensity codec).
    """

    def __init__(self, folder: Path, *, every: int, images: int, facts: dict[str, Any]) -> None:
        self.folder, self.every, self.images, self.facts = folder, every, images, facts
        self.best: float | None = None
        self.early_at: int | None = None  # images seen when early.ckpt was written

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "early_at": self.early_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.early_at = state_dict["best"], state_dict.get("early_at")  # runs from before it have none

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = {"format": FORMAT, **self.facts}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.early_at is None and _is_early(pl_module.clock, self.images):
            self._save_early(trainer, pl_module)
        if pl_module.clock.passed(self.every) or pl_module.clock.images_seen >= self.images:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: SynthesisModule, name: str = "last") -> None:
        """Write `<name>.ckpt`. Every rank must call this."""
        module.reduce_running_statistics()
        check_weights(module.parameters(), images_seen=module.clock.images_seen)
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def _save_early(self, trainer: Trainer, module: SynthesisModule) -> None:
        self.early_at = module.clock.images_seen
        module.reduce_running_statistics()
        check_weights(module.parameters(), images_seen=self.early_at)
        # Not by the Trainer, which leaves callbacks, and so what makes it self-contained, out with the optimizers.
        checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(checkpoint)
        self.on_save_checkpoint(trainer, module, checkpoint)
        trainer.strategy.save_checkpoint(checkpoint, self.folder / "early.ckpt")
        trainer.strategy.barrier()

    def offer(self, trainer: Trainer, module: SynthesisModule, value: float) -> None:
        """Write `best.ckpt` if `value` (lower is better) beats all before. Every rank must call this."""
        if self.best is None or value < self.best:
            self.best = value
            self.save(trainer, module, "best")


def _is_early(clock: Clock, budget: int) -> bool:
    """Did the last counted batch reach the image at which a run of `budget` images keeps its early checkpoint?"""
    point = max(min(ceil(EARLY * budget), UNTRAINED), clock.batch_size)
    return point <= LATEST * budget and clock.images_seen - clock.batch_size < point <= clock.images_seen
