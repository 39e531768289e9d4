import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.brain_tumor_mri import BrainTumorMRI
from medsynth.errors import UserError


def write(root: Path, side: str, label: str, name: str, pixels: np.ndarray) -> None:
    (root / side / label).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / side / label / name)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (200, 16, 16), dtype=np.uint8)


def test_sides_and_classes_are_read_from_the_folders(tmp_path: Path, noise: np.ndarray) -> None:
    write(tmp_path / "archive", "Training", "glioma", "a.png", noise[0])
    write(tmp_path / "archive", "Testing", "notumor", "b.png", noise[1])
    records = BrainTumorMRI(tmp_path).records().records
    assert [(r.label, r.official_split) for r in records] == [("glioma", "train"), ("notumor", "test")]


def test_copies_of_test_images_leave_training_and_are_listed(
    tmp_path: Path, noise: np.ndarray, config: Callable[..., dict[str, Any]]
) -> None:
    for k in range(60):
        write(tmp_path / "x", "Training", "glioma", f"{k}.png", noise[k])
    for k in range(60, 70):
        write(tmp_path / "x", "Testing", "glioma", f"{k}.png", noise[k])
    write(tmp_path / "x", "Training", "glioma", "copy.bmp", noise[65])
    write(tmp_path / "x", "Training", "pituitary", "nearly.png", noise[66] // 8 * 8 + 4)
    pack = prepare_pack(config("brain_tumor_mri", tmp_path / "x"), resolution=16, progress=lambda text: None)
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert {entry["file"] for entry in report["excluded"]} == {
        "Training/glioma/copy.bmp",
        "Training/pituitary/nearly.png",
    }
    assert sorted(pack.files[pack.splits["test"]]) == [f"Testing/glioma/{k}.png" for k in range(60, 70)]
    assert len(pack.splits["val"]) > 0
    assert len(pack.splits["train"]) + len(pack.splits["val"]) == 60
    assert ["Testing/glioma/65.png", "Training/glioma/copy.bmp"] in [sorted(copies) for copies in report["duplicates"]]
    assert any("2 images are taken out of training" in warning for warning in report["warnings"])


def test_a_copy_in_another_class_is_warned_of(
    tmp_path: Path, noise: np.ndarray, config: Callable[..., dict[str, Any]]
) -> None:
    for k in range(9):
        write(tmp_path / "x", "Training", "glioma", f"{k}.png", noise[k])
    write(tmp_path / "x", "Training", "pituitary", "0.png", noise[0])
    said: list[str] = []
    prepare_pack(config("brain_tumor_mri", tmp_path / "x"), resolution=16, progress=said.append)
    assert any("1 images occur identically in more than one class" in line for line in said)


def test_folders_without_sides_are_refused(tmp_path: Path, noise: np.ndarray) -> None:
    write(tmp_path, ".", "glioma", "a.png", noise[0])
    with pytest.raises(UserError, match="no folder Training or Testing"):
        BrainTumorMRI(tmp_path).records()
