"""Parts of a model that do not fit one another or the data are named before there is a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medsynth.errors import UserError
from medsynth.launch import processes

if TYPE_CHECKING:
    from medsynth.synthesis import SynthesisModule


def images_at_once(config: Mapping[str, Any]) -> int:
    """Images of a batch that networks see together."""
    return config["batch_size"] // (config["accumulate"] * max(1, processes(config["trainer"])))


def choices_of(config: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """What the command line says of the model's parts and optimizers beyond their names, and a batch of one image."""
    words = [word for word in overrides if word.lstrip("+~").startswith(("model.", "optimizer."))]
    return words if images_at_once(config) > 1 else [*words, f"batch_size={config['batch_size']}"]


@contextmanager
def blamed_on(words: Sequence[str], *, model: str) -> Iterator[Sequence[str]]:
    """Turn an error within into one line that names these choices; without any, the fault is ours and goes on."""
    try:
        yield words
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        if not words:
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"model={model} does not work with {' '.join(words)}: {reason}") from error


def rehearse(model: "SynthesisModule", *, size: int, side: int, channels: int, classes: int, covariates: int) -> None:
    """Compute every phase's loss once, on a copy of the model and a batch of dark images in the data's shapes."""
    from copy import deepcopy

    import torch

    batch: Any = {"image": -torch.ones(size, channels, side, side), "row": torch.arange(size)}
    if classes:
        batch["label"] = torch.full((size,), classes - 1)
    if covariates:
        batch["covariates"] = torch.zeros(size, covariates)
    for phase in deepcopy(model).train().phases():
        phase.loss(batch)
