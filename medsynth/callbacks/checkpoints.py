"""When checkpoints are written: last.ckpt every so many images and at the end, best.ckpt by a chosen metric."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from medsynth.callbacks.guard import check_weights
from medsynth.checkpoint import FORMAT
from medsynth.synthesis import SynthesisModule


class Checkpoints(Callback):
    """Keeps `last.ckpt`, always whole.

    Args:
        folder: of the checkpoints.
        every: images between two saves; 0 saves only at the end.
        images: budget of the run.
        facts: plain values that make a checkpoint self-contained (configuration, classes, intensity codec).
    """

    def __init__(self, folder: Path, *, every: int, images: int, facts: dict[str, Any]) -> None:
        self.folder, self.every, self.images, self.facts = folder, every, images, facts
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = {"format": FORMAT, **self.facts}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.clock.passed(self.every) or pl_module.clock.images_seen >= self.images:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: SynthesisModule, name: str = "last") -> None:
        """Write `<name>.ckpt`. Every rank must call this."""
        module.reduce_running_statistics()
        check_weights(module.parameters(), images_seen=module.clock.images_seen)
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def offer(self, trainer: Trainer, module: SynthesisModule, value: float) -> None:
        """Write `best.ckpt` if `value` (lower is better) beats all before. Every rank must call this."""
        if self.best is None or value < self.best:
            self.best = value
            self.save(trainer, module, "best")
