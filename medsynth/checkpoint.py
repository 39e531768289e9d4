"""Checkpoints: self-contained, written whole or not at all, and safe to load from a stranger."""

import os
import pickle
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from pytorch_lightning.plugins.io import TorchCheckpointIO

from medsynth.attributes import Attributes
from medsynth.errors import Failure, UserError
from medsynth.synthesis import SynthesisModule

FORMAT = 4  # of the "run" entry below
# What a configuration from a run directory may build. Anything else could run a stranger's code.
TRUSTED = (
    "medsynth.models.",
    "medsynth.networks.",
    "medsynth.losses.",
    "medsynth.augment.",
    "medsynth.data.",
    "torch.optim.",
)
UNREADABLE = (RuntimeError, EOFError, KeyError, ValueError, TypeError, OSError, pickle.UnpicklingError, AttributeError)


@dataclass(frozen=True)
class LoadedRun:
    """A trained model and where it came from.

    intensity: config of the codec of its images.  ranges: the values of -1 and 1, one pair a channel; of a codec that
    is fitted to each volume, the median of the training data.  spacing: median millimetres from row to row, column to
    column and slice to slice of the training data; None where nobody knows.  attributes: labels and covariates of the
    training images.
    """

    model: SynthesisModule
    config: dict[str, Any]
    checkpoint: Path
    images_seen: int
    class_names: list[str]
    pack_key: str
    pack_content: str
    intensity: dict[str, Any]
    ranges: list[list[float]]
    spacing: list[float] | None
    attributes: Attributes


class WholeCheckpointIO(TorchCheckpointIO):
    """How Lightning's Trainer writes checkpoints here: beside the place and renamed, so a kill or a full disk
    leaves the one before. Lightning's own makes two more copies, in memory and in the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write tensors and plain values to `path`. Raises Failure when the disk refuses."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            # torch.save answers a failed write with a RuntimeError of its own, in the context of the real one
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            previous = "the one before it is whole" if path.exists() else "there is none before it"
            raise Failure(f"{path} could not be written ({cause.strerror}); {previous}") from error


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values on the CPU, without running any code that it may carry."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a foreign file before it refuses it
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        run = checkpoint["run"]
        for part in (run["config"]["model"], run["config"]["data"], run["intensity"], checkpoint["state_dict"]):
            if not isinstance(part, dict):
                raise TypeError("a part of it is no mapping")
        int(checkpoint["clock"]["images_seen"])
        if run["format"] != FORMAT:
            raise UserError(f"checkpoint {path} has format {run['format']}; this medsynth reads format {FORMAT}")
    except FileNotFoundError:
        raise UserError(f"checkpoint {path} does not exist") from None
    except UNREADABLE as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"checkpoint {path} is corrupt or not a checkpoint of medsynth: {reason}") from None
    return checkpoint


def load_run(run: Path | str, *, checkpoint: str = "last") -> LoadedRun:
    """Build a run's model from its checkpoint alone, in eval mode, on the GPU where there is one.

    Args:
        run: the run directory.
        checkpoint: `last`, `best`, or a file.
    """
    run = Path(str(run))
    named = run / "checkpoints" / f"{checkpoint}.ckpt" if checkpoint in ("last", "best") else Path(checkpoint)
    if not named.exists():
        found = sorted(path.name for path in (run / "checkpoints").glob("*.ckpt"))
        raise UserError(f"run={run} has no checkpoint {named.name}; found: {', '.join(found) or 'none'}")
    stored = read(named)
    facts = stored["run"]
    check_targets(facts["config"]["data"], TRUSTED)
    check_targets(facts["intensity"], TRUSTED)
    try:
        model = build_model(facts["config"]["model"], trusted=TRUSTED)
        model.load_state_dict(stored["state_dict"])
    except (RuntimeError, HydraException) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"checkpoint {named} does not fit its own configuration: {reason}") from None
    return LoadedRun(
        model=model.eval().to("cuda" if torch.cuda.is_available() else "cpu"),
        config=facts["config"],
        checkpoint=named,
        images_seen=stored["clock"]["images_seen"],
        class_names=facts["class_names"],
        pack_key=facts["pack_key"],
        pack_content=facts["pack_content"],
        intensity=facts["intensity"],
        ranges=facts["ranges"],
        spacing=facts["spacing"],
        attributes=Attributes.of_plain(facts["attributes"]),
    )


def build_model(config: dict[str, Any], *, trusted: Iterable[str] | None = None) -> SynthesisModule:
    """Instantiate a model's configuration.

    Args:
        trusted: prefixes of import paths that `_target_` may name; None trusts the user's own command line.
    """
    from hydra.utils import instantiate

    if trusted is not None:
        check_targets(config, tuple(trusted))
    return instantiate(config, _convert_="all")


def fit_to_data(config: Any, *, channels: int, classes: int, covariates: int) -> Any:
    """A model's configuration with every null of these names filled in: a shape is a fact of the data, no choice.

    channels: of an image, masks included.  classes: 0 without labels.  covariates: their number.
    Raises UserError where a conditional network would have nothing to be conditioned on.
    """
    facts = {"channels": channels, "classes": classes, "covariates": covariates}
    if isinstance(config, list):
        return [fit_to_data(value, **facts) for value in config]
    if not isinstance(config, dict):
        return config
    if config.get("classes", 0) is None and classes == covariates == 0:
        raise UserError("needs labels or data.covariates")
    return {
        key: facts[key] if key in facts and value is None else fit_to_data(value, **facts)
        for key, value in config.items()
    }


def check_targets(config: Any, trusted: tuple[str, ...]) -> None:
    """Refuse interpolations, and `_target_`s that are no classes which `trusted` modules define themselves."""
    if isinstance(config, str) and "${" in config:
        # Hydra would resolve it, and ${oc.create:...} builds anything; what a run stores is resolved already.
        raise UserError(f"{config[:60]} is refused: a run's configuration holds no interpolations")
    if isinstance(config, dict):
        check_targets(list(config), trusted)
        if (target := config.get("_target_")) is not None and not _is_trusted(str(target), trusted):
            raise UserError(
                f"_target_={target} is refused: a run's configuration may only build medsynth's own classes"
            )
        for value in config.values():
            check_targets(value, trusted)
    elif isinstance(config, list):
        for value in config:
            check_targets(value, trusted)


def _is_trusted(target: str, trusted: tuple[str, ...]) -> bool:
    if not target.startswith(trusted):
        return False
    module, _, name = target.rpartition(".")
    # A dotted path may walk through a trusted module to what it imports (medsynth.data.pack.os.system), so only a
    # class that a trusted module defines is accepted.
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return isinstance(found, type) and f"{found.__module__}.".startswith(trusted)
