"""What is asked of synthetic images, and of the model that made them, by whoever judges or compares."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medsynth.checkpoint import LoadedRun
from medsynth.data.pack import Pack
from medsynth.metrics.entries import Finding
from medsynth.metrics.measurement import Measurement
from medsynth.metrics.path_length import path_length_finding
from medsynth.metrics.perceptual import FeatureDistance, Perceptual, distances_at_hand, diversity_finding
from medsynth.metrics.quality import Detector
from medsynth.metrics.suite import Images, Yardstick
from medsynth.metrics.undefined import Undefined
from medsynth.model_metrics import membership_finding
from medsynth.subjects import Subject
from medsynth.usable import detector_of, usable_finding

SYNTHETIC = "synthetic"  # the draws of the first or only synthetic images
Looks = Mapping[str, Perceptual | FeatureDistance | Finding]


def looks_of(yardstick: Yardstick) -> Looks:
    """By which distances images of a judgement look alike, by short name; a finding where one cannot be had."""
    channels, *sides = yardstick.reference.shape
    lpips = yardstick.settings.extractor.lpips
    found = list((yardstick.extractors or {}).values())
    return distances_at_hand(found, channels=channels, side=min(sides), lpips=lpips)


def lacking(looks: Looks, yardstick: Yardstick) -> list[str]:
    """What was asked for by its file and is not there; what nobody asked for is null without a word."""
    asked = yardstick.settings.extractor.lpips is not None
    return [f"{name}: {one.reason}" for name, one in looks.items() if asked and isinstance(one, Finding)]


def by_look(kind: str, looks: Looks, find: Callable[[Perceptual | FeatureDistance], Finding]) -> dict[str, Finding]:
    """A figure by each of these distances, under its name."""
    return {f"{kind}_{name}": one if isinstance(one, Finding) else find(one) for name, one in looks.items()}


def of_images(
    subject: Subject,
    fake: Images,
    yardstick: Yardstick,
    synthetic: Measurement,
    looks: Looks,
    *,
    drawn: str = SYNTHETIC,
) -> dict[str, Finding]:
    """What every judgement says of synthetic images: all distances, and how unlike two of them look.

    fake, synthetic: the images, and what was measured on them. drawn: names the draws of them behind the intervals.
    """
    diversity = partial(diversity_finding, subject.reference, fake, drawn=drawn)
    return {
        **yardstick.find(synthetic, name=drawn),
        **by_look("diversity", looks, lambda distance: diversity(distance=distance)),
    }


def detector_at_hand(runs: Sequence[Path], pack: Pack, config: Mapping[str, Any]) -> Detector | Finding | None:
    """What tells usable images of these runs; a finding where it cannot be had, None where nobody asks."""
    if not config["usable"]:
        return None
    try:
        return detector_of(runs, pack)
    except Undefined as undefined:
        return Finding(None, reason=undefined.reason)


def of_model(
    loaded: LoadedRun,
    pack: Pack,
    config: Mapping[str, Any],
    *,
    fake: Images,
    looks: Looks,
    detector: Detector | Finding | None,
    count: int,
    drawn: str = SYNTHETIC,
) -> dict[str, Finding]:
    """What needs the model: whom its critic knows, its usable images, and its paths."""
    found = {"membership": membership_finding(loaded, pack, count=count, seed=config["seed"])}
    if detector is not None:
        found["usable"] = detector if isinstance(detector, Finding) else usable_finding(detector, fake, drawn=drawn)
    if not config["path_pairs"]:
        return found
    length = partial(
        path_length_finding,
        loaded.model,
        channels=pack.channels,
        attributes=loaded.attributes,
        pairs=config["path_pairs"],
        seed=config["seed"],
    )
    return found | by_look("ppl", looks, lambda distance: length(distance=distance))
