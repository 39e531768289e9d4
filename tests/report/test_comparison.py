"""comparison.html: a verdict first, every run in every row, the best marked only where that is clear."""

import re

import pytest
import torch
from html_page import Page
from made_up import comparison

from medsynth.report import write_comparison

FACTS = {"title": "two runs", "facts": {"Real": "kidney_ct"}, "reproduce": ["python -m medsynth.evaluate runs=[A,B]"]}


def images(count, *, seed):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def write(folder, given, *, facts=FACTS):
    grids = {name: images(4, seed=seed) for seed, name in enumerate(given["runs"])}
    return write_comparison(folder, comparison=given, run_facts=facts, grids=grids).read_text("utf-8")


@pytest.fixture
def two():
    return comparison({"a": [0.02, 0.3], "b": [0.05, 0.3]}, metrics=("kid_random", "recall_random"))


def best(page):
    return sum(attributes.get("class") == "best-mark" for _, attributes in page.tags)


def test_the_file_is_whole_and_needs_no_network(tmp_path, two):
    html = write(tmp_path / "new", two)
    page = Page(html)
    assert not re.search(r"https?://|@import|<script|<link|url\(", html)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["comparison.html"]
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == [
        f"4 {name} synthetic images, side by side" for name in "ab"
    ]
    assert all(a["aria-label"] or a["aria-hidden"] for tag, a in page.tags if tag == "svg" and "aria-hidden" not in a)
    assert all(a.get("scope") in ("col", "row", "rowgroup") for tag, a in page.tags if tag == "th")


def test_the_verdict_comes_first_then_metrics_differences_and_how_to_reproduce(tmp_path, two):
    text = Page(write(tmp_path, two)).text
    places = [
        text.index(words) for words in ("a is better than b", "kid_random_100", "Paired differences", "runs=[A,B]")
    ]
    assert places == sorted(places)
    assert "medsynth comparison" in text


def test_the_best_value_is_marked_only_where_that_is_clear(tmp_path, two):
    page = Page(write(tmp_path, two))
    assert best(page) == 1
    text = " ".join(page.text.split())
    assert "best 0.0200" in text
    assert "cannot be told apart" in text
    assert "1 of 2 paired differences leave out 0" in text


def test_of_three_runs_every_pair_has_a_row(tmp_path):
    given = comparison({"a": [0.05], "b": [0.2], "c": [0.045]})
    page = Page(write(tmp_path, given))
    text = " ".join(page.text.split())
    assert all(pair in text for pair in ("a − b", "a − c", "b − c"))
    assert best(page) == 0
    assert "c is better" in text


def test_a_metric_that_no_run_has_is_named_below_the_table(tmp_path):
    given = comparison({"a": [0.05, None], "b": [0.2, None]}, metrics=("kid_random", "swd"))
    text = " ".join(Page(write(tmp_path, given)).text.split())
    assert "Not computed for any run: Sliced Wasserstein distance" in text


def test_a_metric_that_one_run_lacks_leaves_a_dash(tmp_path):
    given = comparison({"a": [0.05, 0.2], "b": [0.2, None]}, metrics=("kid_random", "swd"))
    del given["runs"]["b"]["swd_100"]
    assert "–" in Page(write(tmp_path, given)).text


def test_warnings_are_on_the_page_and_names_are_escaped(tmp_path):
    hostile = "<script>alert(1)</script>"
    given = comparison({hostile: [0.05], "b": [0.2]}) | {"warnings": ["few patients", hostile]}
    html = write(tmp_path, given, facts={"title": hostile, "facts": {hostile: hostile}, "reproduce": [hostile]})
    assert "<script" not in html
    assert "few patients" in html
