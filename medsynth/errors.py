"""How medsynth speaks to people: one line for a mistake or a failure, and everything for human eyes on stderr."""

import os
import sys
from collections.abc import Mapping
from typing import Any


class UserError(Exception):
    """A mistake the user can mend: shown as one line, exit status 2, never with a traceback."""


class Failure(Exception):
    """Something went wrong that no knob caused (a full disk, a diverged training): one line, exit status 1."""


class Interrupted(BaseException):
    """A signal ended the command, after a save where training had begun: exit status 128 + `signal_number`.

    No Exception, so that a sweep ends with it instead of counting a failed job.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def check_whole(config: Mapping[str, Any], name: str, *, least: int) -> None:
    """Raise UserError unless `config[name]` is a whole number of at least `least`."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value} must be a whole number of at least {least}")


def check_flag(config: Mapping[str, Any], name: str) -> None:
    """Raise UserError unless `config[name]` is true or false: a word such as no would count as true."""
    if not isinstance(value := config[name], bool):
        raise UserError(f"{name}={value} must be true or false")


def is_rank_zero() -> bool:
    """Is this the process that speaks and writes? True outside torchrun and srun."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def say(text: str = "", *, end: str = "\n") -> None:
    """Write for people to stderr, from rank 0; stdout carries the verb's JSON alone."""
    if is_rank_zero():
        print(text, file=sys.stderr, flush=True, end=end)


def check_number(name: str, value: object, *, least: int) -> None:
    """Raise UserError unless `value` is a number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise UserError(f"{name}={value} must be a number of at least {least}")


def counted(count: int, noun: str) -> str:
    """1, "image" -> "1 image"; 1200, "image" -> "1,200 images"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def in_short(error: BaseException) -> str:
    """The first sentence of a library's error, at most 160 letters of it; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    sentence = first.partition(". ")[0]
    return sentence if len(sentence) <= 160 else f"{sentence[:159]}…"
