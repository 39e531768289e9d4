"""The sample grid: the same latents from the untrained network to the last image."""

from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from medsynth.attributes import BALANCED, Attributes
from medsynth.callbacks.guard import check_collapse
from medsynth.sampling import synthesise
from medsynth.synthesis import SynthesisModule
from medsynth.viz.grid import grid

COUNT = 64
ROWS = 8  # classes that have a row of their own; of more, all images show the classes in turn


class SampleGrid(Callback):
    """Writes `samples/<images seen>.png`: untrained first, then every `every` images, and at the end.

    Of a model that is conditioned on labels each row is a class, in the order of their names, and each column one
    latent; covariates are drawn as in training.

    Args:
        folder: where the grids go.
        seed: of the fixed latents.
        every: images between two grids; 0 only writes the first and the last.
        images: budget of the run.
        real: training images (b, c, h, w) in [-1, 1], shown once in `samples/real.png`, inside the run directory.
        real_to_loggers: send them to W&B or TensorBoard too.
        attributes: labels and covariates of the training images, for conditional models.
        masks: how many of the last channels of all these images are masks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        every: int,
        images: int,
        real: Tensor,
        real_to_loggers: bool = False,
        attributes: Attributes | None = None,
        masks: int = 0,
    ) -> None:
        self.folder, self.seed, self.every, self.images = folder, seed, every, images
        self.real, self.real_to_loggers = real, real_to_loggers
        self.attributes, self.masks = attributes, masks

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.clock.images_seen == 0:
            if trainer.is_global_zero:
                sheet = grid(self.real, masks=self.masks)
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
        rows = self._rows(module)
        images = torch.cat(rows)
        sheet = grid(images, columns=COUNT // ROWS, masks=self.masks)
        sheet.save(self.folder / f"{seen:09d}.png")
        _show(trainer, "samples", sheet, images_seen=seen)
        # Classes differ even where latents make no difference.
        apart = torch.cat([row - row.mean(dim=0) for row in rows])
        check_collapse(apart[:, : apart.shape[1] - self.masks], images_seen=seen)

    def _rows(self, module: SynthesisModule) -> list[Tensor]:
        """Images of the fixed latents: one (8, c, h, w) a class, or a single (64, c, h, w)."""
        classes = self._classes() if "label" in module.needs else []
        each, labels = COUNT // ROWS, classes
        if not 0 < len(classes) <= ROWS:
            each, labels = COUNT, [BALANCED if classes else None]
        return [
            next(synthesise(module, n=each, seed=self.seed, batch_size=each, attributes=self.attributes, label=label))
            for label in labels
        ]

    def _classes(self) -> list[str]:
        """Those that training images have."""
        if self.attributes is None:
            return []
        return [name for name, count in zip(self.attributes.class_names, self.attributes.counts, strict=True) if count]


def _show(trainer: Trainer, name: str, sheet: Image, *, images_seen: int) -> None:
    """Hand a picture to the loggers that show pictures."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            picture = wandb.Image(sheet, caption=f"{images_seen:,} images")
            logger.experiment.log({name: picture, "images_seen": images_seen})
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pil_to_tensor(sheet), images_seen)
