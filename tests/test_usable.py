"""The detector of a run: taught on other patients than it is held to, kept while it fits, and what it reports."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medsynth import usable
from medsynth.data.pack import Pack
from medsynth.errors import UserError
from medsynth.latent import generator
from medsynth.metrics.quality import Detector, load_detector, train_detector
from medsynth.metrics.tail import Tail
from medsynth.metrics.undefined import Undefined
from medsynth.subjects import load
from medsynth.usable import detector_of, early_samples, real_choice, scores_of, usable_finding

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """Enough pictures for a detector: 250 of a bright bar."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    root.mkdir()
    for number in range(250):
        picture = rng.normal(60, 20, (16, 16))
        place = rng.integers(2, 12)
        picture[place : place + 3] += 120
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / f"{number:03d}.png")
    return root


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Detectors are taught briefly; grows by the number of early samples each time one is."""
    calls: list[int] = []

    def briefly(*sets: Tensor, early: Tensor | None, steps: int) -> Detector:
        calls.append(0 if early is None else len(early))
        return train_detector(*sets, early=early, steps=2)

    monkeypatch.setattr(usable, "train_detector", briefly)
    monkeypatch.setattr(usable, "EARLY", 40)
    return calls


@pytest.fixture
def trained(run: Run) -> tuple[Path, Pack]:
    path = Path(run("run", "images=80")["run_dir"])
    return path, load(path, checkpoint="last", root=None)[1]


def test_real_images_to_learn_from_and_to_be_held_to_are_of_different_patients(trained: tuple[Path, Pack]):
    pack = trained[1]
    patients = np.array([f"p{number // 3}" for number in range(len(pack))])  # three images each
    for splits in (pack.splits, {"train": np.arange(250), "val": np.arange(0), "test": np.arange(0)}):
        known, held_out = real_choice(replace(pack, patients=patients, splits=splits))
        again = real_choice(replace(pack, patients=patients, splits=splits))
        assert min(len(known), len(held_out)) >= 100
        assert len(set(known) | set(held_out)) == len(known) + len(held_out)
        assert all(np.array_equal(a, b) for a, b in zip((known, held_out), again, strict=True))
        if not len(splits["val"]):
            assert not set(patients[known]) & set(patients[held_out])


def test_unseen_patients_are_enough_where_they_are_many(trained: tuple[Path, Pack]):
    parts = {"train": np.arange(120), "val": np.arange(120, 180), "test": np.arange(180, 250)}
    known, held_out = real_choice(replace(trained[1], splits=parts))
    assert sorted(known) == list(range(120))
    assert sorted(held_out) == list(range(120, 250))


@pytest.mark.parametrize(("images", "per_patient"), [(150, 1), (250, 50)])
def test_too_few_images_or_patients_are_a_reason(trained: tuple[Path, Pack], images: int, per_patient: int):
    patients = np.array([f"p{number // per_patient}" for number in range(len(trained[1]))])
    splits = {"train": np.arange(images), "val": np.arange(0), "test": np.arange(0)}
    with pytest.raises(Undefined, match=f"100 images of 5 patients.*the data have {images} images of"):
        real_choice(replace(trained[1], patients=patients, splits=splits))


def test_a_runs_detector_is_kept_until_its_early_checkpoint_changes(trained: tuple[Path, Pack], taught: list[int]):
    path, pack = trained
    first = detector_of([path], pack)
    assert first.early
    assert load_detector(path / "quality.pt").digest() == first.digest()
    assert detector_of([path], pack).digest() == first.digest()
    assert taught == [40]
    (path / "checkpoints/early.ckpt").unlink()
    assert not detector_of([path], pack).early
    assert taught == [40, 0]
    detector_of([path], replace(pack, content="other"))
    assert taught == [40, 0, 0]


def test_one_detector_for_several_runs_sees_early_samples_of_each_and_is_not_kept(
    trained: tuple[Path, Pack], taught: list[int], run: Run
):
    second = Path(run("second", "images=80", "seed=1")["run_dir"])
    detector_of([trained[0], second], trained[1])
    assert taught == [40]
    assert not list(trained[0].glob("quality*")) + list(second.glob("quality*"))
    early = [path / "checkpoints/early.ckpt" for path in (trained[0], second)]
    samples = early_samples(early, channels=1)
    assert samples.shape == (40, 1, 16, 16)
    assert torch.equal(samples[:20], early_samples(early[:1], channels=1)[:20])


def test_a_damaged_detector_is_taught_anew_and_a_damaged_early_checkpoint_is_said(
    trained: tuple[Path, Pack], taught: list[int]
):
    path, pack = trained
    (path / "quality.pt").write_text("nothing")
    detector_of([path], pack)
    assert taught == [40]
    (path / "checkpoints/early.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"early\.ckpt is corrupt"):
        detector_of([path], pack)


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Knows smooth images of one channel from noise, and calls a score of at most 0.15 unusable."""
    made = train_detector(smooth(100, seed=0), smooth(100, seed=1), early=noise(40, seed=4), steps=20)
    return replace(made, tail=Tail(0.15, 0.05))


def noise(count: int, *, seed: int) -> Tensor:
    return torch.rand(count, 1, 64, 64, generator=generator(seed)) * 2 - 1


def smooth(count: int, *, seed: int) -> Tensor:
    coarse = torch.rand(count, 1, 4, 4, generator=generator(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, 64, mode="bicubic").clamp(-1, 1)


def test_the_usable_ratio_stands_beside_that_of_real_images_and_ignores_masks(detector: Detector):
    fake = torch.cat([smooth(30, seed=2), noise(10, seed=3)])
    found = usable_finding(detector, fake.split(16))
    assert found.value == 0.75
    assert found.real == 0.95
    assert found.interval is not None
    assert 0.5 < found.interval[0] < 0.75 < found.interval[1] < 0.95
    assert found.extra["auc"] == detector.auc
    assert found.extra["early"] is True
    assert list(found.extra["scores"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert usable_finding(detector, torch.cat([fake, fake], dim=1).split(7)).value == found.value


def test_a_blind_detector_gives_a_reason_and_no_value(detector: Detector):
    found = usable_finding(replace(detector, auc=0.61), [smooth(2, seed=2)])
    assert found.value is None
    assert "AUC of 0.61 only: 0.7 is needed" in (found.reason or "")


def test_an_image_that_is_not_finite_is_not_usable(detector: Detector):
    images = smooth(3, seed=2)
    images[1, 0, 5, 5] = float("nan")
    scores = scores_of(detector, [images])
    assert scores[1] == 0
    assert scores.isfinite().all()
