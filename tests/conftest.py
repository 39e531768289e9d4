"""Images, configurations and runs that the tests make themselves."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)  # two pytest workers share two cores

CHOICES = {"model": "wgan_gp", "data": "image_folder"}
TINY = {"width": "4", "widths": "[8,8]", "r1_every": "2"}
SMALL = ["resolution=16", "batch_size=8", "images=64", "trainer=cpu", "metrics=none", "sample_every=0"]
Compose = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs, runs and W&B files of a test stay in its own folder; no test talks to W&B."""
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """Sixty 16x16 pictures in two class folders: a bright bar, upright or lying, at a random place."""
    rng = np.random.default_rng(0)
    for label in ("lying", "upright"):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(30):
            picture = rng.normal(60, 20, (16, 16))
            place = rng.integers(2, 12)
            picture[(slice(None), slice(place, place + 3))[:: 1 if label == "upright" else -1]] += 120
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    return tmp_path / "images"


@cache
def narrow(model: str) -> list[str]:
    """Overrides that make a model tiny: every `width` is 4, all `widths` are two of 8; and lazy phases act soon."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from medsynth.cli import conf_dir

    def found(config: Any, path: str) -> list[str]:
        if not isinstance(config, dict):
            return []
        own = [f"{path}.{key}={value}" for key, value in TINY.items() if key in config]
        return [*own, *(word for key, value in config.items() for word in found(value, f"{path}.{key}"))]

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides=[f"model={model}"]))
    return found(config["model"], "model")


@pytest.fixture
def compose(image_root: Path) -> Compose:
    """Composes a verb's configuration from conf/ and overrides: the smallest training by default, plain Python."""
    from composed import composed

    def build(*overrides: str, model: str = "wgan_gp") -> dict[str, Any]:
        words = [
            f"model={model}",
            *narrow(model),
            "data=image_folder",
            f"data.root={image_root}",
            *SMALL,
            *overrides,
        ]
        return composed("train", *words)

    return build


@pytest.fixture
def power_cut(run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Trains as `run` does until so many images are seen, and breaks off there."""
    from medsynth.synthesis import SynthesisModule

    original = SynthesisModule.training_step

    def cut(name: str, *overrides: str, at: int) -> None:
        def step(self: SynthesisModule, batch: Any, batch_idx: int) -> None:
            if self.clock.images_seen == at:
                raise RuntimeError("power cut")
            original(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(SynthesisModule, "training_step", step)
            with pytest.raises(RuntimeError, match="power cut"):
                run(name, *overrides)

    return cut


@pytest.fixture
def run(compose: Compose, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Trains in `tmp_path / name` and returns the verb's JSON."""
    from medsynth.train import train

    def start(name: str, *overrides: str, model: str = "wgan_gp") -> dict[str, Any]:
        config = compose(f"run_dir={tmp_path / name}", *overrides, model=model)
        return train(config, choices={"model": model, "data": "image_folder"}, overrides=[])

    return start
