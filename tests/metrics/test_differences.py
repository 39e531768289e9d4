"""Paired intervals: what real patients do to all figures alike cancels."""

from typing import Any

import pytest
import torch
from torch import Tensor

from medsynth.metrics.differences import differences
from medsynth.metrics.entries import Finding
from medsynth.metrics.suite import Patients, Yardstick

CONFIG = {"count": 60, "extractors": ["random"]}


def noise(*, seed: int, rounds: int = 2000) -> Tensor:
    return torch.randn(rounds, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_difference_is_first_less_second_and_its_interval_that_of_the_deviations():
    a, b = 0.1 * noise(seed=0), 0.1 * noise(seed=1)
    found = {"A": {"kid": Finding(3.0, deviations=a)}, "B": {"kid": Finding(2.0, deviations=b)}}
    (row,) = differences(found, count=256)["kid_256"]
    assert (row["first"], row["second"], row["value"]) == ("A", "B", 1.0)
    low, high = row["interval"]
    assert low == pytest.approx(1 - 1.96 * 0.1 * 2**0.5, abs=0.02)
    assert high == pytest.approx(1 + 1.96 * 0.1 * 2**0.5, abs=0.02)


def test_deviations_that_two_sets_share_cancel():
    shared = 5 * noise(seed=0)
    a, b = shared + 0.1 * noise(seed=1), shared + 0.1 * noise(seed=2)
    found = {"A": {"kid": Finding(3.0, deviations=a)}, "B": {"kid": Finding(2.0, deviations=b)}}
    low, high = differences(found, count=256)["kid_256"][0]["interval"]
    assert 0.5 < low < high < 1.5


def test_every_pair_stands_once_and_where_one_side_has_no_draws_without_an_interval():
    found = {
        name: {"kid": Finding(value, deviations=noise(seed=k)), "copies": Finding(1.0), "fid": Finding(None)}
        for k, (name, value) in enumerate({"A": 1.0, "B": 2.0, "C": 4.0}.items())
    }
    rows = differences(found, count=10)
    assert set(rows) == {"kid_10", "copies_10"}
    assert [(row["value"], row["interval"]) for row in rows["copies_10"]] == 3 * [(0.0, None)]
    assert all(row["interval"] for row in rows["kid_10"])
    assert [(row["first"], row["second"], row["value"]) for row in rows["kid_10"]] == [
        ("A", "B", -1.0),
        ("A", "C", -3.0),
        ("B", "C", -2.0),
    ]


@pytest.fixture(scope="module")
def judged() -> dict[str, list[dict[str, Any]]]:
    """Sets of one kind, and one of another, judged by one yardstick whose patients differ in brightness."""
    stream = torch.Generator().manual_seed(0)

    def images(count: int, *, brightness: float = 0.0) -> Tensor:
        grey = torch.randn(count // 4, 1, 1, 1, generator=stream).mul(0.2).repeat_interleave(4, dim=0)
        texture = torch.randn(count, 1, 16, 16, generator=stream) * 0.2
        return (grey + brightness + texture).clamp(-1, 1)

    patients = torch.arange(60).div(4, rounding_mode="floor").numpy()
    yardstick = Yardstick(
        reference=[images(60)],
        held_out=[images(60)],
        config=CONFIG,
        patients=Patients(reference=patients),
        thorough=True,
    )
    sets = {"A": images(60), "like A": images(60), "brighter": images(60, brightness=0.4)}
    return differences(
        {name: yardstick.find(yardstick.measure([one]), name=name) for name, one in sets.items()}, count=60
    )


def test_sets_of_one_kind_are_not_told_apart_and_another_kind_is(judged: dict[str, list[dict[str, Any]]]):
    for metric in ("frechet_random_60", "kid_random_60"):
        alike, first, second = judged[metric]
        assert (alike["first"], alike["second"]) == ("A", "like A")
        assert alike["interval"][0] < 0 < alike["interval"][1]
        assert first["interval"][1] < 0
        assert second["interval"][1] < 0


def test_all_distances_and_the_diversity_have_differences(judged: dict[str, list[dict[str, Any]]]):
    names = ("frechet_random", "kid_random", "precision_random", "recall_random", "density_random", "coverage_random")
    drawn = {f"{name}_60" for name in (*names, "swd", "spectrum", "ms_ssim")}
    assert {key for key, rows in judged.items() if all(row["interval"] for row in rows)} == drawn
    assert {key for key, rows in judged.items() if not any(row["interval"] for row in rows)} == set(judged) - drawn
