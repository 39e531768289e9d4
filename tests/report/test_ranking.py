"""Ranking: a run is better only where the paired interval leaves out 0, and only by what metrics can rank."""

import pytest
from made_up import comparison, entry

from medsynth.report.ranking import Difference, better, compare, listed, rankings, sentence


@pytest.mark.parametrize(
    ("first", "second", "toward", "real", "expected"),
    [
        (1.0, 2.0, "low", None, 1),
        (2.0, 1.0, "low", 3.0, -1),
        (1.0, 1.0, "low", None, 0),
        (0.9, 0.5, "high", None, 1),
        (0.9, 0.8, "high", 0.7, 0),
        (0.9, 0.6, "high", 0.7, 1),
        (0.4, 0.5, "real", 0.3, 1),
        (0.1, 0.2, "real", 0.3, -1),
        (0.2, 0.5, "real", 0.3, 0),
        (0.2, 0.5, "real", None, 0),
        (1.0, 2.0, None, 0.5, 0),
    ],
)
def test_what_is_better_depends_on_the_metric_and_its_real_value(first, second, toward, real, expected):
    assert better(first, second, toward=toward, real=real) == expected
    assert better(second, first, toward=toward, real=real) == -expected


def test_a_difference_turned_twice_is_itself():
    one = Difference("a", "b", 0.2, (0.1, 0.4))
    assert one.turned() == Difference("b", "a", -0.2, (-0.4, -0.1))
    assert one.turned().turned() == one
    assert one.is_clear
    assert one.turned().is_clear
    assert not Difference("a", "b", 0.2, (-0.1, 0.4)).is_clear
    assert not Difference("a", "b", 0.2, None).is_clear


def test_the_better_of_two_runs_is_named_with_its_difference():
    found = compare(comparison({"b": [0.05], "a": [0.02]}))
    assert found.tone == "good"
    assert found.headline == (
        "a is better than b by the kernel distance (random features): -0.0300 (-0.0400 to -0.0200)."
    )


def test_an_interval_that_holds_0_tells_nobody_apart():
    found = compare(comparison({"a": [0.05], "b": [0.045]}))
    assert found.tone == "unknown"
    assert found.headline == "a and b cannot be told apart by these images."
    assert "(-0.0150 to 0.00500)" in found.points[0].text


def test_of_several_runs_the_first_must_beat_the_runner_up():
    clear = comparison({"a": [0.05], "b": [0.2], "c": [0.01]})
    assert compare(clear).headline.startswith("c is better than all others by the kernel distance")
    close = comparison({"a": [0.05], "b": [0.2], "c": [0.045]})
    found = compare(close)
    assert found.headline.startswith("No run is clearly the best")
    assert "better than b, but not clearly better than a" in found.points[0].text
    (ranking,) = rankings(close)
    assert ranking.order == ("c", "a", "b")
    assert ranking.best is None
    assert ranking.beats("c", "b")
    assert not ranking.beats("b", "c")


def test_runs_on_either_side_of_the_real_value_differ_but_neither_is_better():
    (ranking,) = rankings(comparison({"a": [0.05], "b": [0.12]}, metrics=["ms_ssim"]))
    assert ranking.best is None
    assert sentence(ranking).startswith("b and a differ by MS-SSIM between pairs, but neither is better: 0.0700 (")


def test_runs_without_a_common_value_are_not_compared():
    found = compare(comparison({"a": [0.05], "b": [None]}))
    assert found.headline == "The runs have no distance that could be compared."
    assert found.tone == "unknown"


def test_differences_without_intervals_decide_nothing():
    given = comparison({"a": [0.05], "b": [0.01]})
    given["differences"]["kid_random_100"][0]["interval"] = None
    found = compare(given)
    assert found.tone == "unknown"
    assert "b comes before a by the kernel distance (random features), nobody knows if by" in found.points[0].text
    assert "(no interval)" in found.points[0].text
    assert "none can be told from chance" in found.points[-1].text


def test_the_verdict_counts_what_chance_would_give():
    given = comparison({name: [0.05 * i, 0.5] for i, name in enumerate("abcd", 1)}, metrics=("kid_random", "spectrum"))
    chance = compare(given).points[-1]
    assert chance.aspect == "Chance"
    assert "6 of 12 paired differences leave out 0" in chance.text
    assert "about 0.6 would" in chance.text


def test_a_best_run_that_copies_is_no_good_news():
    given = comparison({"a": [0.05], "b": [0.2]})
    copies = entry(0.01, copies=5, n_train=500, n_unseen=50, copies_unseen=0, near=0.2)
    given["runs"]["a"]["nearest_train_100"] = copies
    found = compare(given)
    assert found.tone == "poor"
    assert found.headline.startswith("a is better than b")
    assert "But of a by itself: Do not share these images" in found.headline
    assert any(point.aspect == "Copies: a" and point.tone == "poor" for point in found.points)


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_names_are_listed_in_words(names, text):
    assert listed(names) == text
