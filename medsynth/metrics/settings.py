"""The `metrics` group of a configuration, checked, and the extractors that it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsynth.errors import UserError
from medsynth.metrics.comparison import monitored
from medsynth.metrics.encoder.extractor import Encoder, load_encoder
from medsynth.metrics.features import Extractor, MissingWeights
from medsynth.metrics.inception import cached_weights, load_inception
from medsynth.metrics.own_network import OwnSettings, load_own_network, own_settings
from medsynth.metrics.random_features import RandomConvolutions

EXTRACTORS = ("random", "inception", "encoder", "own")


@dataclass(frozen=True)
class Weights:
    """Where the weights of extractors come from.

    weights: Inception's file; None looks in the cache folder. download: may they be fetched?
    encoder: the file of an encoder; None takes the one that was trained on the pack at hand.
    lpips: AlexNet's file for the published perceptual distance; None looks in the cache folder.
    own: a network of the user's.
    """

    weights: str | None = None
    download: bool = False
    encoder: str | None = None
    lpips: str | None = None
    own: OwnSettings = field(default_factory=OwnSettings)


@dataclass(frozen=True)
class Settings:
    """The `metrics` group of a configuration.

    count: how many images of each set are judged, and part of every name; 0 judges nothing.
    extractors: any of `random`, `inception`, `encoder`, `own`.
    monitor: the distance, named without count, whose smallest value marks a run's best checkpoint; None: no such mark.
    """

    count: int = 256
    extractors: tuple[str, ...] = ("random",)
    extractor: Weights = field(default_factory=Weights)
    monitor: str | None = None


def settings(config: Mapping[str, Any]) -> Settings:
    """Check the `metrics` group. Raises UserError for an unknown key or extractor and an impossible count."""
    known = {"count", "extractors", "extractor", "monitor"}
    if unknown := sorted(set(config) - known):
        raise UserError(f"metrics.{unknown[0]} is unknown; keys: {', '.join(sorted(known))}")
    if isinstance(config.get("extractors", ()), str):
        raise UserError(f"metrics.extractors={config['extractors']} must be a list: [{config['extractors']}]")
    count, extractors = config.get("count", Settings.count), tuple(config.get("extractors", Settings.extractors))
    if not isinstance(count, int) or count < 0 or count == 1:
        raise UserError(f"metrics.count={count} must be a whole number above 1, or 0 to judge nothing")
    if wrong := [name for name in extractors if name not in EXTRACTORS]:
        raise UserError(f"metrics.extractors={wrong[0]} is unknown; choices: {', '.join(EXTRACTORS)}")
    names = monitored(extractors)
    if (monitor := config.get("monitor")) is not None and count and monitor not in names:
        raise UserError(f"metrics.monitor={monitor} is no distance that is judged; choices: {', '.join(sorted(names))}")
    return Settings(count, extractors, _weights(dict(config.get("extractor") or {})), monitor)


def _weights(config: dict[str, Any]) -> Weights:
    known = sorted(Weights.__dataclass_fields__)
    if unknown := sorted(set(config) - set(known)):
        raise UserError(f"metrics.extractor.{unknown[0]} is unknown; keys: {', '.join(known)}")
    if not isinstance(config.get("download", False), bool):
        raise UserError(f"metrics.extractor.download={config['download']} must be true or false")
    own = own_settings(dict(config.pop("own", None) or {}))
    for name in ("weights", "encoder", "lpips"):
        if not isinstance(config.get(name), str | None):
            raise UserError(f"metrics.extractor.{name}={config[name]} must be a file, or null")
    return Weights(**config, own=own)


def load_extractors(
    chosen: Settings, *, channels: int, trained: Path | None = None
) -> dict[str, Extractor | MissingWeights]:
    """Build the chosen extractors for images of so many channels; what cannot be had stands as its reason.

    Args:
        trained: where the encoder of the images at hand lies when the settings name none; None: nobody knows.
    """
    found: dict[str, Extractor | MissingWeights] = {}
    for name in chosen.extractors:
        try:
            found[name] = _load(name, chosen.extractor, channels=channels, trained=trained)
        except MissingWeights as missing:
            found[name] = missing
    return found


def _load(name: str, source: Weights, *, channels: int, trained: Path | None) -> Extractor:
    match name:
        case "random":
            return RandomConvolutions(channels)
        case "inception":
            return load_inception(weights=source.weights, download=source.download)
        case "encoder":
            return _encoder(source.encoder, trained)
    return load_own_network(source.own)


def _encoder(file: str | None, trained: Path | None) -> Encoder:
    if file is not None:
        return load_encoder(Path(file).expanduser())
    if trained is not None and trained.is_file():
        return load_encoder(trained)
    raise MissingWeights(
        "no encoder of these images: train one with python -m medsynth.metrics.encoder data=D resolution=N, or set "
        "metrics.extractor.encoder=FILE",
        fill=str(trained or cached_weights().with_name("encoder.pt")),
    )
