"""Small image trees for the tests of data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Config = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MEDSYNTH_CACHE", str(folder))
    return folder


@pytest.fixture
def config() -> Config:
    """Builds a `data` config as the YAML files hold it; keyword arguments replace entries."""

    def build(name: str, root: Path, /, **changes: Any) -> dict[str, Any]:
        sources = {"kidney_ct": "KidneyCT", "brain_tumor_mri": "BrainTumorMRI", "image_folder": "ImageFolder"}
        plain = {
            "name": name,
            "root": str(root),
            "source": {"_target_": f"medsynth.data.sources.{name}.{sources[name]}"},
            "phantom": False,
            "phantom_patients": 2,
            "phantom_size": 32,
            "phantom_seed": 0,
            "channels": 1,
            "bits": 8,
            "fit": "pad",
            "intensity": {"_target_": "medsynth.data.intensity.Grey"},
            "flips": "none",
            "white": None,
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
            "workers": 0,
        }
        return plain | changes

    return build


@pytest.fixture
def patient() -> Callable[..., list[np.ndarray]]:
    """Draws the slices of a made-up patient: smooth noise of its own, drifting slowly, uint8."""

    def draw(seed: int, *, slices: int, side: int = 24) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        base, drift = rng.uniform(0, 255, (2, 6, 6))
        pictures = []
        for k in range(slices):
            blend = np.clip(base + 0.08 * k * (drift - 128), 0, 255).astype(np.uint8)
            pictures.append(np.asarray(Image.fromarray(blend).resize((side, side), Image.Resampling.BICUBIC)))
        return pictures

    return draw


@pytest.fixture
def kidney_tree(patient: Callable[..., list[np.ndarray]]) -> Callable[..., Path]:
    """Writes kidney_ct's class folders with some patients of consecutive file numbers per class."""

    def write(root: Path, *, patients: int = 4, slices: int = 5, seed: int = 0) -> Path:
        for c, label in enumerate(("Cyst", "Normal", "Stone", "Tumor")):
            (root / label).mkdir(parents=True, exist_ok=True)
            for p in range(patients):
                for k, picture in enumerate(patient(seed + 1000 * c + p, slices=slices)):
                    number = p * slices + k + 1
                    Image.fromarray(picture).save(root / label / f"{label}- ({number}).png")
        return root

    return write
