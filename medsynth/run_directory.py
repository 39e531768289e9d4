"""A run directory: its name, what resumes and what is refused, and the files that every other verb reads."""

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsynth.errors import UserError, say

# What may change between two starts of one run: everything else alters the mathematics. The data are compared by
# content, so they may lie elsewhere.
FREE = """
run_dir images log_every sample_every evaluate_every checkpoint_every metrics logger
data.root data.phantom data.workers trainer.accelerator trainer.devices trainer.num_nodes trainer.strategy
"""
# What a default name leaves out of its hash: its own first part, and what is free. Another data.root is another name.
NOT_HASHED = {"model", "data", "resolution", "seed", "trainer", *FREE.split()} - {"data.root", "data.phantom"}


def is_free(key: str) -> bool:
    """May `key` (dotted) change when a run is resumed?"""
    return any(key == free or key.startswith(free + ".") for free in FREE.split())


def default_name(*, model: str, data: str, resolution: int, seed: int, overrides: Sequence[str]) -> str:
    """`<model>-<data>-<resolution>-s<seed>[-<8 hex of the other overrides>]`: the same command, the same place."""
    name = f"{model}-{data}-{resolution}-s{seed}"
    keys = {word: word.lstrip("+~").split("=")[0] for word in overrides}
    others = sorted(w for w, k in keys.items() if k not in NOT_HASHED and k.split(".")[0] not in ("logger", "metrics"))
    return name + (f"-{hashlib.sha256(' '.join(others).encode()).hexdigest()[:8]}" if others else "")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    if not isinstance(config, dict):
        return {prefix[:-1]: config}
    return {key: value for name, inner in config.items() for key, value in flatten(inner, f"{prefix}{name}.").items()}


def check_run(run: Path, *, key: str = "run") -> None:
    """Raise UserError unless a folder is one that training made."""
    if not (run / "config.yaml").exists():
        raise UserError(f"{key}={run} is no run directory: it has no config.yaml")


def names_of(runs: Sequence[Path]) -> dict[str, Path]:
    """What each run is called: its folder, with as many of those above it as tell all runs apart."""
    if len(runs) < 2:
        raise UserError(f"runs=[{','.join(map(str, runs))}]: give two run directories or more; run=RUN judges one")
    whole = [run.resolve().parts for run in runs]
    if len(set(whole)) < len(whole):
        raise UserError(f"runs=[{','.join(map(str, runs))}] names a run twice")
    length = next(n for n in range(1, 1 + max(map(len, whole))) if len({parts[-n:] for parts in whole}) == len(whole))
    return {"/".join(parts[-length:]): run for parts, run in zip(whole, runs, strict=True)}


class RunDirectory:
    """One run's folder. Nothing is written before `create`, so that a refused command leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.samples = path / "samples"

    def check(self, config: dict[str, Any]) -> None:
        """Refuse a folder that cannot be written, is something else, or holds a run of other mathematics."""
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(f"run_dir={self.path} cannot be written: {nearest} is not a writable folder")
        config_file = self.path / "config.yaml"
        if not config_file.exists():
            if self.path.is_dir() and any(p.name != ".lock" and p.suffix != ".partial" for p in self.path.iterdir()):
                raise UserError(f"run_dir={self.path} holds other files and no config.yaml; choose an empty folder")
            return
        differences = self._differences(config)
        refused = [f"{key} {old} -> {new}" for key, old, new in differences if not is_free(key)]
        if refused and self.last.exists():
            raise UserError(
                f"run_dir={self.path} holds a run with other mathematics: {'; '.join(refused)}; "
                "repeat its values to resume, or choose another run_dir"
            )

    def _differences(self, config: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """Keys whose value differs from the stored configuration: (key, old, new)."""
        old, new = flatten(self.config()), flatten(config)
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return [(key, old.get(key), new.get(key)) for key in keys]

    def config(self) -> dict[str, Any]:
        """The stored resolved configuration, as plain Python."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        check_run(self.path)
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"), resolve=False)
        except (YAMLError, OmegaConfBaseException, ValueError) as error:
            raise UserError(f"{self.path / 'config.yaml'} is damaged: {str(error).splitlines()[0]}") from None
        if not isinstance(config, dict):
            raise UserError(f"{self.path / 'config.yaml'} is damaged: it holds no mapping")
        return {str(key): value for key, value in config.items()}

    def create(self, config: dict[str, Any]) -> None:
        """Write config.yaml and command.txt, and record what changed since the last start in changes.jsonl."""
        from omegaconf import OmegaConf

        self.path.mkdir(parents=True, exist_ok=True)
        resumed = (self.path / "config.yaml").exists()
        if resumed and (changes := self._differences(config)):
            record = {"time": _now(), "changes": {key: [old, new] for key, old, new in changes}}
            with (self.path / "changes.jsonl").open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            say("changed since the last start: " + "; ".join(f"{key} {old} -> {new}" for key, old, new in changes))
        write_whole(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        command = f"python -m medsynth.train {shlex.join(sys.argv[1:])}"
        with (self.path / "command.txt").open("a") as stream:
            stream.write(f"{_now()}  {command}\n")
        self.checkpoints.mkdir(exist_ok=True)
        self.samples.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; a second one is refused. The system frees the lock of a killed process."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"run_dir={self.path} is in use: another process trains there now") from None
        try:
            yield
        finally:
            lock.release()


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader, or a kill, never meets half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
