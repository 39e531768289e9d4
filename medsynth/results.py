"""What every way of evaluating does before and after: the folder, warnings, and the facts of a report."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medsynth import __version__
from medsynth.errors import UserError, say
from medsynth.metrics.entries import Finding
from medsynth.metrics.perceptual import (
    FeatureDistance,
    Perceptual,
    distance_at_hand,
    diversity_finding,
    short_name,
)
from medsynth.metrics.suite import Images, Yardstick
from medsynth.subjects import SHOWN, Subject

FOLDERS = ("data.root=", "real=", "unseen=")
MOST_KEPT = 128 * 1024**2  # bytes


@dataclass(frozen=True)
class Figures:
    """What one kind of subject has beside the figures that all have.

    findings: by metric. sections: further parts of metrics.json. warnings: what a reader must know.
    """

    findings: Mapping[str, Finding] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def make_folder(out: Path) -> None:
    """Before any work, so that a folder that cannot be written costs nobody an evaluation."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"out={out} is not a writable folder")


def warn(lines: Iterable[str]) -> None:
    """On stderr, a line each."""
    for line in lines:
        say(f"warning: {line}")


class Kept:
    """Batches that stay in memory from their first whole pass on, up to 128 MB: making them anew is dear."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self._held: list[Tensor] | None = None

    def __iter__(self) -> Iterator[Tensor]:
        if self._held is not None:
            yield from self._held
            return
        held: list[Tensor] = []
        size = 0
        for batch in self.images:
            size += batch.numel() * batch.element_size()
            held = [*held, batch] if size <= MOST_KEPT else []
            yield batch
        self._held = held if size <= MOST_KEPT else None


def first_images(images: Images, *, most: int = SHOWN) -> Tensor:
    """The images of the first batches, as many as a report shows; no tensor of images but of length 0 without any."""
    shown = list(islice((image for batch in images for image in batch), most))
    return torch.stack(shown) if shown else torch.zeros(0)


def measured(subject: Subject, config: Mapping[str, Any], *, thorough: bool = True) -> Yardstick:
    """The real side of a subject; a GPU for extractors that are worth it."""
    heavy = {"inception", "own"} & set(config["metrics"]["extractors"])
    device = torch.device("cuda") if heavy and torch.cuda.is_available() else None
    return Yardstick.of(subject, config=config["metrics"], device=device, thorough=thorough)


def distance_of(yardstick: Yardstick) -> Perceptual | FeatureDistance | None:
    """By which images of a judgement look alike; None where it has no extractor."""
    extractors = list((yardstick.extractors or {}).values())
    channels, *sides = yardstick.reference.shape
    return distance_at_hand(extractors, channels=channels, side=min(sides)) if extractors else None


def perceptual_diversity(subject: Subject, fake: Images, yardstick: Yardstick) -> dict[str, Finding]:
    """How unlike two synthetic images look to a network, beside real ones."""
    distance = distance_of(yardstick)
    if distance is None:
        return {}
    return {f"diversity_{short_name(distance)}": diversity_finding(subject.reference, fake, distance=distance)}


def complete(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a report with what every evaluation has: when, by what command, with which versions."""
    return {
        **facts,
        "facts": {**facts["facts"], "Judged": time.strftime("%Y-%m-%d %H:%M %z"), "medsynth": __version__},
        "reproduce": [
            *facts["reproduce"],
            without_root(shlex.join(["python", "-m", "medsynth.evaluate", *sys.argv[1:]])),
            f"# medsynth {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        ],
    }


def without_root(command: str) -> str:
    """A command as a report shows it, which others read: folders of real images may be named after people."""
    words = shlex.split(command)
    if not any(word.startswith(FOLDERS) for word in words):
        return command
    return shlex.join(f"{word.partition('=')[0]}=DIR" if word.startswith(FOLDERS) else word for word in words)
