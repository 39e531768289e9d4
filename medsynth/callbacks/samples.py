"""The sample grid: the same latents from the untrained network to the last image."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from medsynth.callbacks.guard import check_collapse
from medsynth.generate import synthesise
from medsynth.synthesis import SynthesisModule
from medsynth.viz.grid import grid

COUNT = 64


class SampleGrid(Callback):
    """Writes `samples/<images seen>.png`: untrained first, then every `every` images, and at the end.

    Args:
        folder: where the grids go.
        seed: of the fixed latents.
        every: images between two grids; 0 only writes the first and the last.
        images: budget of the run.
    """

    def __init__(self, folder: Path, *, seed: int, every: int, images: int) -> None:
        self.folder, self.seed, self.every, self.images = folder, seed, every, images

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.clock.images_seen == 0:
            self._write(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.clock.passed(self.every) or pl_module.clock.images_seen >= self.images:
            pl_module.reduce_running_statistics()
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: SynthesisModule) -> None:
        if not trainer.is_global_zero:
            return
        seen = module.clock.images_seen
        (images,) = synthesise(module, n=COUNT, seed=self.seed, batch_size=COUNT)
        sheet = grid(images)
        sheet.save(self.folder / f"{seen:09d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("samples", [sheet], step=None, caption=[f"{seen:,} images"])
            elif isinstance(logger, TensorBoardLogger):
                from torchvision.transforms.functional import pil_to_tensor

                logger.experiment.add_image("samples", pil_to_tensor(sheet), seen)
        check_collapse(images, images_seen=seen)
