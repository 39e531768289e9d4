"""The sample grid: the same latents from the untrained network to the last image."""

from pathlib import Path
from typing import Any

from PIL.Image import Image
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from medsynth.callbacks.guard import check_collapse
from medsynth.sampling import synthesise
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
        real: training images (b, c, h, w) in [-1, 1], shown once in `samples/real.png`, inside the run directory.
        real_to_loggers: send them to W&B or TensorBoard too.
    """

    def __init__(
        self, folder: Path, *, seed: int, every: int, images: int, real: Tensor, real_to_loggers: bool = False
    ) -> None:
        self.folder, self.seed, self.every, self.images = folder, seed, every, images
        self.real, self.real_to_loggers = real, real_to_loggers

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.clock.images_seen == 0:
            if trainer.is_global_zero:
                sheet = grid(self.real)
                sheet.save(self.folder / "real.png")
                if self.real_to_loggers:
                    _show(trainer, "real", sheet, images_seen=0)
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
        _show(trainer, "samples", sheet, images_seen=seen)
        check_collapse(images, images_seen=seen)


def _show(trainer: Trainer, name: str, sheet: Image, *, images_seen: int) -> None:
    """Hand a picture to the loggers that show pictures."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            picture = wandb.Image(sheet, caption=f"{images_seen:,} images")
            logger.experiment.log({name: picture, "images_seen": images_seen})
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pil_to_tensor(sheet), images_seen)
