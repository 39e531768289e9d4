"""The benchmarks of learning: what counts as learnt, by which model, and what a record holds."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import convergence
import zoo
from convergence import Judged, blob, judge_blobs, kinds, place


def blobs(kind: np.ndarray) -> np.ndarray:
    """A blob of each kind, in [-1, 1]."""
    return 2 * blob(*place(kind)) - 1


def test_a_blob_is_told_by_its_place_and_other_images_are_none():
    every = np.arange(convergence.PLACES)
    assert kinds(blobs(every)).tolist() == every.tolist()
    dim, moved = 0.3 * blobs(every), 2 * blob(*(at + 1 for at in place(every))) - 1
    assert kinds(dim).tolist() == kinds(moved).tolist() == every.tolist()
    two = np.maximum(blobs(every), blobs((every + 1) % convergence.PLACES))
    noise = np.random.default_rng(0).normal(size=(8, convergence.SIDE, convergence.SIDE))
    for images in (two, noise, blobs(every) + 3 * noise, np.zeros_like(noise)):
        assert set(kinds(images)) == {-1}


@pytest.mark.parametrize(("rarest", "meets"), [(0.021, True), (0.019, False), (0.0, False)])
def test_the_rarest_place_decides(rarest: float, meets: bool, monkeypatch: pytest.MonkeyPatch):
    kind = np.arange(2_000) % (convergence.PLACES - 1)
    kind[: round(rarest * 2_000)] = convergence.PLACES - 1
    monkeypatch.setattr(convergence, "samples", lambda *_: blobs(kind))
    found = judge_blobs(None)
    assert found.figures["least_share"] == rarest
    assert found.figures["none"] == 0
    assert found.meets is meets


def test_every_model_has_a_case_and_every_recipe_a_model():
    cases = {case: convergence.models(case) for case in convergence.BUDGET}
    assert {name for names in cases.values() for name in names} == set(zoo.models())
    assert all(set(recipes) <= set(cases[case]) for case, recipes in convergence.RECIPES.items())


def settings(root: Path, *overrides: str) -> dict[str, Any]:
    tiny = ("model.generator.width=4", "model.critic.width=4", "batch_size=8", "resolution=16", *overrides)
    return convergence.settings("blobs", "wgan_gp", root, seed=0, overrides=tiny)


def test_a_bar_must_hold_twice_in_a_row(image_root: Path, tmp_path: Path):
    meets = [True, False, True, True, True]
    seen: list[int] = []

    def judge(run: Any) -> Judged:
        seen.append(run.images_seen)
        return Judged({"number": len(seen)}, meets[len(seen) - 1])

    record = convergence.learn(settings(image_root), tmp_path / "run", every=16, budget=600, judge=judge)
    assert seen == [16, 32, 48, 64]
    assert record["pass"]
    assert record["number"] == 4
    assert [one["images"] for one in record["course"]] == seen
    assert record["cpu_seconds"] > 0


def test_a_spent_budget_ends_a_training_that_has_not_learnt(image_root: Path, tmp_path: Path):
    record = convergence.learn(
        settings(image_root), tmp_path / "run", every=16, budget=1e-9, judge=lambda _: Judged({}, True)
    )
    assert record["images"] == 16
    assert record["pass"] is False


def test_samples_of_all_models_become_one_picture_in_two_columns(tmp_path: Path):
    shades = {"a": 40, "b": 120, "c": 250}
    for name, shade in shades.items():
        Image.new("RGB", (20, 12), (shade,) * 3).save(tmp_path / f"{name}.png")
    zoo.sheet({name: tmp_path / f"{name}.png" for name in shades}, tmp_path / "all.png")
    picture = np.asarray(Image.open(tmp_path / "all.png").convert("L")).astype(int)
    assert picture.shape == (24, 2 * (zoo.LABEL + 20))
    middles = [picture[6, zoo.LABEL + 10], picture[18, zoo.LABEL + 10], picture[6, 2 * zoo.LABEL + 30]]
    assert np.abs(np.array(middles) - list(shades.values())).max() <= 4
    assert picture[:, : zoo.LABEL].max() > 200  # names
