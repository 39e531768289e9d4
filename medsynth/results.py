"""What every way of evaluating does before and after: the folder, warnings, and the facts of a report."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medsynth import __version__
from medsynth.errors import UserError, say
from medsynth.metrics.entries import Finding
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


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """A folder to write into, made before any work, so that one that cannot be written costs nobody an evaluation.

    What nothing was written into is gone again afterwards.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"out={out} is not a writable folder")
    try:
        yield
    finally:
        for folder in new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def warn(lines: Iterable[str]) -> None:
    """On stderr, a line each."""
    for line in lines:
        say(f"warning: {line}")


class Kept:
    """Batches that stay in memory once they are made, up to 128 MB: making them anew is dear.

    A pass ends, or is broken off for good, before the next one begins.
    """

    def __init__(self, images: Images) -> None:
        self.images = images
        self._held: list[Tensor] = []
        self._rest: Iterator[Tensor] | None = iter(images)  # None: they are too many, and each pass makes its own

    def __iter__(self) -> Iterator[Tensor]:
        yield from self._held
        rest = iter(self.images) if self._rest is None else self._rest
        for batch in rest:
            if self._rest is not None:
                self._held.append(batch)
                if sum(one.numel() * one.element_size() for one in self._held) > MOST_KEPT:
                    self._held, self._rest = [], None
            yield batch


def first_images(images: Images, *, most: int = SHOWN) -> Tensor:
    """The images of the first batches, as many as a report shows; no tensor of images but of length 0 without any."""
    shown = list(islice((image for batch in images for image in batch), most))
    return torch.stack(shown) if shown else torch.zeros(0)


def measured(subject: Subject, config: Mapping[str, Any], *, thorough: bool = True) -> Yardstick:
    """The real side of a subject; a GPU for extractors that are worth it."""
    heavy = {"inception", "own"} & set(config["metrics"]["extractors"])
    device = torch.device("cuda") if heavy and torch.cuda.is_available() else None
    return Yardstick.of(subject, config=config["metrics"], device=device, thorough=thorough)


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
