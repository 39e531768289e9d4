"""SIGTERM and SIGINT: finish the batch, write the row, save, stop."""

import os
import signal
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer

from medsynth.callbacks.checkpoints import Checkpoints
from medsynth.callbacks.journal import Journal
from medsynth.errors import Interrupted, say

AGREE_EVERY = 16  # batches between two agreements of the ranks whether one of them was told to stop


class StopOnSignal(Callback):
    """Holds the handlers while training runs; `received` is the signal's number, 0 if none came."""

    def __init__(self, journal: Journal, checkpoints: Checkpoints) -> None:
        self.journal, self.checkpoints = journal, checkpoints
        self.received = 0
        self._parent = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        # Here, because Lightning's own handlers, which exit with 1 or 0, were set before this hook.
        self._parent = os.getppid()
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._restore()

    def _note(self, number: int, frame: Any) -> None:
        # torchrun repeats a signal that the terminal has sent already; only an impatient person means the second one.
        if self.received and number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise Interrupted(
                number, "SIGINT twice: stopped at once; the same command goes on from the last checkpoint"
            )
        self.received = number
        say(f"\n{signal.Signals(number).name}: saving after this batch")

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._agreed(trainer, pl_module) and pl_module.clock.images_seen < self.journal.images:
            self.journal.write(trainer, pl_module)
            self.checkpoints.save(trainer, pl_module)
            trainer.should_stop = True

    def _agreed(self, trainer: Trainer, module: Any) -> bool:
        if trainer.world_size == 1:
            return bool(self.received)
        if module.clock.batches_seen % AGREE_EVERY:
            return False
        if os.getppid() != self._parent:  # whoever started these ranks was killed: do not train on as orphans
            self.received = self.received or signal.SIGTERM
        flag = torch.tensor(self.received, device=module.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        self.received = int(flag.item())
        return bool(self.received)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
