"""The `metrics` group of a configuration, checked, and the extractors that it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medsynth.errors import UserError
from medsynth.metrics.features import Extractor, MissingWeights
from medsynth.metrics.inception import load_inception
from medsynth.metrics.random_features import RandomConvolutions

EXTRACTORS = ("random", "inception")


@dataclass(frozen=True)
class Weights:
    """Where the weights of downloaded extractors come from.

    weights: a file; None looks in the cache folder. download: may they be fetched?
    """

    weights: str | None = None
    download: bool = False


@dataclass(frozen=True)
class Settings:
    """The `metrics` group of a configuration.

    count: how many images of each set are judged, and part of every name; 0 judges nothing.
    extractors: any of `random`, `inception`.
    monitor: the metric, named without count, whose smallest value marks a run's best checkpoint; None: no such mark.
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
    source = dict(config.get("extractor") or {})
    if unknown := sorted(set(source) - {"weights", "download"}):
        raise UserError(f"metrics.extractor.{unknown[0]} is unknown; keys: download, weights")
    if isinstance(config.get("extractors", ()), str):
        raise UserError(f"metrics.extractors={config['extractors']} must be a list: [{config['extractors']}]")
    count, extractors = config.get("count", Settings.count), tuple(config.get("extractors", Settings.extractors))
    if not isinstance(count, int) or count < 0 or count == 1:
        raise UserError(f"metrics.count={count} must be a whole number above 1, or 0 to judge nothing")
    if wrong := [name for name in extractors if name not in EXTRACTORS]:
        raise UserError(f"metrics.extractors={wrong[0]} is unknown; choices: {', '.join(EXTRACTORS)}")
    names = {"swd", "ms_ssim", "nearest_train"}
    for name in extractors:
        names |= {"fid", "kid"} if name == "inception" else {f"frechet_{name}", f"kid_{name}"}
    if (monitor := config.get("monitor")) is not None and count and monitor not in names:
        raise UserError(f"metrics.monitor={monitor} is not judged; choices: {', '.join(sorted(names))}")
    return Settings(count, extractors, Weights(**source), monitor)


def load_extractors(chosen: Settings, *, channels: int) -> dict[str, Extractor | MissingWeights]:
    """Build the chosen extractors for images of so many channels; what cannot be had stands as its reason."""
    found: dict[str, Extractor | MissingWeights] = {}
    for name in chosen.extractors:
        try:
            found[name] = (
                RandomConvolutions(channels)
                if name == "random"
                else load_inception(weights=chosen.extractor.weights, download=chosen.extractor.download)
            )
        except MissingWeights as missing:
            found[name] = missing
    return found
