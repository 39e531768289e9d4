"""What cannot be judged is answered in words: a null with its reason, a warning or one line; never NaN or traceback."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics.bootstrap import resample
from medsynth.metrics.chain import Chain
from medsynth.metrics.entries import entries, find
from medsynth.metrics.frechet import frechet_distance, frechet_of_features, moments
from medsynth.metrics.inception import FILE
from medsynth.metrics.kernel import kernel_distance
from medsynth.metrics.ms_ssim import ms_ssim
from medsynth.metrics.prdc import neighbours
from medsynth.metrics.random_features import RandomConvolutions
from medsynth.metrics.spectrum import radial_profiles, spectrum, spectrum_distance
from medsynth.metrics.suite import Patients, judge
from medsynth.metrics.undefined import Undefined

COUNT = 24
FAST = {"count": COUNT, "extractors": ["random"], "extractor": {"weights": None, "download": False}}
SETS = ("reference", "held_out", "fake", "train", "unseen")


def images(count: int, *, seed: int, side: int = 32, channels: int = 1) -> Tensor:
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def judged(
    config: dict[str, Any] = FAST, patients: Patients | None = None, /, **changed: Tensor | None
) -> dict[str, Any]:
    """The judgement of random images with some sets changed; JSON without NaN, or the test ends here."""
    sets = {name: images(COUNT, seed=seed) for seed, name in enumerate(SETS)} | changed
    batches: Any = {name: None if found is None else found.split(7) for name, found in sets.items()}
    judgement = judge(**batches, config=config, patients=patients)
    json.dumps(judgement, allow_nan=False)
    for key, found in entries(judgement).items():
        assert found["value"] is not None or found["reason"], key
    return judgement


def entry(judgement: dict[str, Any], name: str) -> dict[str, Any]:
    return entries(judgement)[f"{name}_{COUNT}"]


SPREAD = ("frechet_random", "kid_random", "precision_random", "recall_random", "density_random", "coverage_random")


@pytest.mark.parametrize("name", SETS)
def test_one_image_of_any_set_is_judged_without_what_needs_a_spread(name: str):
    judgement = judged(**{name: images(1, seed=9)})
    if name in ("reference", "fake"):
        for metric in SPREAD:
            assert entry(judgement, metric)["value"] is None
            assert entry(judgement, metric)["reason"] == "a set of one image has no spread"
        assert any("1 image a side is fewer than" in line for line in judgement["warnings"])
        assert find(judgement, "swd") is not None
    if name == "held_out":
        assert entry(judgement, "frechet_random")["real_against_real"] is None
        assert any("second set of real images has 1 image instead" in line for line in judgement["warnings"])


def test_one_image_of_every_set_is_judged():
    judgement = judged(**{name: images(1, seed=seed) for seed, name in enumerate(SETS)})
    assert entry(judgement, "ms_ssim")["reason"] == "one image makes no pair"


@pytest.mark.parametrize("count", [2, 5])
def test_a_handful_of_images_has_no_neighbours(count: int):
    judgement = judged(fake=images(count, seed=9))
    assert entry(judgement, "recall_random")["reason"].startswith(f"{count} images of a side have no 5 neighbours")
    assert find(judgement, "frechet_random") is not None


@pytest.mark.parametrize("make", [lambda: images(1, seed=9), lambda: torch.zeros(1, 1, 32, 32)], ids=["equal", "flat"])
@pytest.mark.parametrize("names", [("fake",), ("reference", "held_out"), SETS], ids=["fake", "real", "all"])
def test_identical_images_are_judged_as_what_they_are(make: Callable[[], Tensor], names: tuple[str, ...]):
    judgement = judged(**dict.fromkeys(names, make().expand(COUNT, -1, -1, -1)))
    if "fake" in names:
        assert entry(judgement, "ms_ssim")["value"] == pytest.approx(1, abs=1e-5)
    if names == ("fake",):
        assert entry(judgement, "recall_random")["value"] == 0
    if names == SETS:
        assert entry(judgement, "frechet_random")["value"] == pytest.approx(0, abs=1e-9)
        assert entry(judgement, "frechet_random")["ratio"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["reference", "held_out", "fake", "unseen"])
def test_images_that_are_no_numbers_are_refused_in_one_line(name: str, value: float):
    damaged = images(COUNT, seed=9)
    damaged[3, 0, 5, 5] = value
    with pytest.raises(UserError, match=r"^1 of \d+ .* images hold NaN or infinite values$"):
        judged(**{name: damaged})


def test_fewer_images_than_features_come_with_a_warning():
    judgement = judged()
    assert any("random: 24 images do not fill 232 features" in line for line in judgement["warnings"])
    assert entry(judgement, "frechet_random")["value"] > 0


@pytest.mark.parametrize("name", ["held_out", "fake"])
@pytest.mark.parametrize(("side", "channels"), [(48, 1), (16, 1), (32, 3)])
def test_images_of_another_size_are_refused_in_one_line(name: str, side: int, channels: int):
    with pytest.raises(UserError, match="real ones 32x32 of 1 channel; both must have one size"):
        judged(**{name: images(COUNT, seed=9, side=side, channels=channels)})


def test_missing_weights_are_null_and_say_where_to_put_them(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    judgement = judged({**FAST, "extractors": ["random", "inception"]})
    for name in ("fid", "kid", *(f"{kind}_inception" for kind in ("precision", "recall", "density", "coverage"))):
        found = entry(judgement, name)
        assert found["value"] is None
        assert f"put it at {tmp_path}" in found["reason"]
        assert found["fill"].endswith(FILE)
    assert find(judgement, "frechet_random") is not None


def test_a_weights_file_that_does_not_exist_is_null_too(tmp_path: Any):
    weights = {"weights": str(tmp_path / "none.pth"), "download": False}
    found = entry(judged({**FAST, "extractors": ["inception"], "extractor": weights}), "fid")
    assert (found["value"], found["fill"]) == (None, weights["weights"])
    assert "does not exist" in found["reason"]


def test_images_of_one_patient_have_no_intervals():
    alone = Patients(*(np.zeros(COUNT, dtype=int) for _ in range(3)))
    judgement = judged(FAST, alone)
    assert entry(judgement, "frechet_random")["value"] > 0
    assert "interval" not in entry(judgement, "frechet_random")


# ------------------------------------------------------------------------------------------------ pure functions

ONE, MANY = torch.ones(1, 8), torch.randn(30, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "measure",
    [frechet_of_features, kernel_distance, neighbours, lambda a, b: frechet_distance(moments(a), moments(b))],
    ids=["frechet of features", "kid", "neighbours", "frechet of moments"],
)
def test_features_that_give_no_figure_are_undefined(measure: Callable[[Tensor, Tensor], Any]):
    for first, second in ((ONE, MANY), (MANY, ONE), (ONE, ONE)):
        with pytest.raises(Undefined):
            measure(first, second)
    for value in (math.nan, math.inf):
        damaged = MANY.clone()
        damaged[2, 3] = value
        for first, second in ((damaged, MANY), (MANY, damaged)):
            with pytest.raises(Undefined, match="the features hold NaN or infinite values"):
                measure(first, second)


@pytest.mark.parametrize("measure", [frechet_of_features, lambda a, b: kernel_distance(a, b).mean])
def test_equal_vectors_are_at_no_distance(measure: Callable[[Tensor, Tensor], float]):
    same = MANY[:1].expand(20, -1)
    assert measure(same, same) == pytest.approx(0, abs=1e-9)
    assert measure(same[:5], same) == pytest.approx(0, abs=1e-9)  # fewer vectors than features


def test_images_too_bright_for_a_spectrum_are_undefined():
    good = spectrum(radial_profiles(images(3, seed=0)))
    for value in (1e30, math.nan):
        bad = spectrum(radial_profiles(images(3, seed=1) * value))
        with pytest.raises(Undefined, match="no numbers"):
            spectrum_distance(good, bad)


def test_one_patient_cannot_be_drawn_again():
    with pytest.raises(Undefined, match="one patient say nothing"):
        resample(["a"] * 9, name="real")
    with pytest.raises(Undefined):
        resample([], name="real")


def test_similarity_of_no_pair_is_nan_for_the_caller_to_name():
    found = Chain(ms_ssim)
    found.update(images(1, seed=0))
    assert math.isnan(found.compute())
    assert len(found.values()) == 0


@pytest.mark.parametrize("name", ["train", "unseen"])
@pytest.mark.parametrize(("side", "channels"), [(48, 1), (16, 1), (32, 3)])
def test_training_and_unseen_images_of_another_size_are_refused_too(name: str, side: int, channels: int):
    with pytest.raises(UserError, match=f"{name} real images .* both must have one size"):
        judged(**{name: images(COUNT, seed=9, side=side, channels=channels)})


def test_training_images_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="train real images hold NaN"):
        judged(train=images(COUNT, seed=9).fill_(math.nan))


def test_copies_of_few_images_and_a_single_patient_come_with_warnings():
    alone = Patients(*(np.zeros(COUNT, dtype=int) for _ in range(3)))
    judgement = judged(FAST, alone, fake=images(1, seed=9).expand(COUNT, -1, -1, -1))
    assert any("24 synthetic images are only 1 different one:" in line for line in judgement["warnings"])
    assert any("of one patient alone, so there are no intervals" in line for line in judgement["warnings"])
    assert entry(judgement, "authenticity")["value"] is None
    assert not any("different ones" in line for line in judged()["warnings"])


def test_features_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RandomConvolutions, "__call__", lambda self, images: torch.full((len(images), 4), math.nan))
    with pytest.raises(UserError, match="extractors=random gives NaN or infinite features of real images"):
        judged()


def test_unseen_images_that_are_training_images_calibrate_nothing_and_are_warned_of():
    same = images(COUNT, seed=9)
    judgement = judged(reference=same, train=same, unseen=same, fake=same)
    found = entry(judgement, "nearest_train")
    assert (found["copies"], found["copies_unseen"]) == (COUNT, COUNT)
    assert "near" not in found
    assert entry(judgement, "duplicates")["reason"] == "every unseen image is a training image"
    assert any("24 of 24 unseen images are among the training images too" in line for line in judgement["warnings"])


def test_an_entry_says_how_many_images_differ_and_the_judgement_who_was_drawn():
    patients = Patients(np.arange(COUNT) // 3, np.arange(COUNT) // 3, np.arange(COUNT) // 3)
    judgement = judged(FAST, patients, fake=images(4, seed=9).repeat(6, 1, 1, 1))
    assert entry(judgement, "nearest_train")["different"] == {"real": COUNT, "fake": 4}
    assert (judgement["images"]["drawn"], judgement["images"]["n_drawn"]) == ("patients", 8)
    facts = judged()["images"]
    assert (facts["drawn"], facts["n_drawn"]) == ("images", COUNT)
