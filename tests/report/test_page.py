"""report.html: one file without a network, honest about what is missing, and safe to open."""

import re

import pytest
import torch
from html_page import Page

from medsynth.metrics.suite import judge
from medsynth.report import Embedding, NearestPair, write_report


def images(count, *, seed):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def judgement():
    return judge(
        reference=[images(12, seed=0)],
        held_out=[images(12, seed=1)],
        fake=[images(12, seed=2)],
        config={"count": 12, "extractors": ["random"]},
    )


def report(folder, judgement, **changes):
    arguments = {
        "judgement": judgement,
        "run_facts": {
            "title": "wgan_gp-kidney_ct-64-s0",
            "facts": {"Model": "wgan_gp"},
            "reproduce": ["python -m medsynth.train model=wgan_gp"],
        },
        "real_grid": images(4, seed=0),
        "fake_grid": images(4, seed=2),
        "nearest": [NearestPair(images(1, seed=2)[0], images(1, seed=0)[0], 0.001, "number 3", True)],
        "curves": [
            {"images_seen": 100 * i, "seconds": 1.0, "train/critic/wasserstein": -float(i), "val/swd_12": 30.0 - i}
            for i in range(5)
        ],
    }
    return write_report(folder, **(arguments | changes)).read_text(encoding="utf-8")


def test_the_file_is_whole_and_needs_no_network(tmp_path, judgement):
    html = report(tmp_path / "new" / "folder", judgement)
    page = Page(html)
    assert not re.search(r"https?://|@import|<script|<link|url\(", html)
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in page.tags if tag == "img")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["report.html"]


def test_every_picture_has_a_description_and_every_table_its_headers(tmp_path, judgement):
    page = Page(report(tmp_path, judgement))
    assert all(a["alt"] for tag, a in page.tags if tag == "img")
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in page.tags if tag == "svg")
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    assert next(a for tag, a in page.tags if tag == "html")["lang"] == "en"


def test_the_verdict_comes_first_and_every_metric_is_there(tmp_path, judgement):
    text = Page(report(tmp_path, judgement)).text
    assert text.index("Fidelity") < text.index("swd_12") < text.index("How to reproduce")
    for key in ("frechet_random_12", "kid_random_12", "swd_12", "level of 16 pixels", "ms_ssim_12", "nearest_train_12"):
        assert key in text
    assert "train/critic/wasserstein" in text
    assert "val/swd_12" in text
    assert "python -m medsynth.train model=wgan_gp" in text
    assert "random: 12 images do not fill 232 features" in text


def test_a_copy_is_marked_as_one(tmp_path, judgement):
    page = Page(report(tmp_path, judgement))
    assert ("span", {"class": "tag copy"}) in page.tags


def test_flagged_pairs_are_marked(tmp_path, judgement):
    pairs = [NearestPair(images(1, seed=2)[0], None, 0.1, "number 4", False, True)]
    page = Page(report(tmp_path, judgement, nearest=pairs))
    assert ("span", {"class": "tag copy"}) not in page.tags
    assert "flagged ones first" in page.text
    assert "too close" in page.text


def test_intervals_and_unseen_patients_stand_beside_the_values(tmp_path):
    found = judge(
        reference=[images(12, seed=0)],
        held_out=[images(12, seed=1)],
        fake=[images(12, seed=2)],
        train=[images(12, seed=0)],
        unseen=[images(8, seed=3)],
        config={"count": 12, "extractors": ["random"]},
    )
    found["kid_random_12"] |= {"value": 0.123, "interval": [0.111, 0.222]}
    found["duplicates_12"] |= {"normal": [0.0, 0.25], "copies": 3}
    text = " ".join(Page(report(tmp_path, found)).text.split())
    assert "0.111 to 0.222" in text
    assert "to unseen patients, 8 images a side" in text
    assert "new patients: 0 to 0.250, beyond doubt: 3" in text
    for title in ("Precision", "Recall", "Density", "Coverage"):
        assert f"{title}, random features" in text


@pytest.mark.parametrize(
    ("drawn", "others", "halves"),
    [
        ("patients", "what other patients and other samples", "two sets of real images of different patients"),
        ("volumes", "other volumes or series, each taken for a patient, and", "of different volumes or series"),
        (
            "images",
            "other single images, whose patients nobody knows, and",
            "two sets of real images that share no image",
        ),
    ],
)
def test_the_page_says_what_intervals_drew(tmp_path, judgement, drawn, others, halves):
    found = {**judgement, "images": {**judgement["images"], "drawn": drawn, "n_drawn": 12}}
    text = " ".join(Page(report(tmp_path, found)).text.split())
    assert others in text
    assert halves in text


def test_a_ratio_to_a_kernel_distance_that_is_0_by_chance_is_not_shown(tmp_path, judgement):
    kid = judgement["kid_random_12"] | {"value": 0.3, "real_against_real": 0.0002, "ratio": 1500.0}
    kid |= {"interval": [0.2, 0.4], "unseen": {"value": 0.3, "real": 0.0002, "n": 1}}
    html = report(tmp_path, {**judgement, "kid_random_12": kid})
    assert "1,500" not in html
    assert "1.5e+03" not in html
    assert "to unseen patients, 1 image a side" in html
    assert "1,500" in report(tmp_path, {**judgement, "kid_random_12": kid | {"interval": [0.2999, 0.3001]}})


def test_pairs_have_a_point_and_no_gallery_of_copies(tmp_path, judgement):
    error = judgement["swd_12"] | {"value": 12.3, "unit": "HU", "pairs": 1, "levels": {}}
    page = Page(report(tmp_path, {**judgement, "pair_mae_12": error}))
    assert "Of 1 pair: mean absolute error 12.3 HU" in " ".join(page.text.split())
    assert ("h2", {"id": "memorisation"}) not in page.tags
    assert ("li", {"class": "figures"}) in page.tags
    assert ("h2", {"id": "memorisation"}) in Page(report(tmp_path, judgement)).tags


def test_warnings_are_on_the_page(tmp_path, judgement):
    text = Page(report(tmp_path, {**judgement, "warnings": ["few patients"]})).text
    assert "few patients" in text


def test_an_embedding_brings_its_charts_and_the_script_that_turns_them(tmp_path, judgement):
    points = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    html = report(tmp_path, judgement, embedding=Embedding(*points, shares=(0.5, 0.2, 0.1), extractor="random"))
    assert html.count("<script>") == html.count("</script>") == 1
    assert html.count('class="cloud') >= 4
    assert "rotatable" in html
    assert "Each image is a point: its random features" in html
    assert not re.search(r"https?://|@import|<link|url\(", html)


def test_a_map_of_neighbours_stands_beside_the_components_with_a_warning(tmp_path, judgement):
    points = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shown = Embedding(*points, shares=(0.5, 0.2, 0.1), extractor="random")
    placed = Embedding(*points[..., :2], method="UMAP")
    with_map, without = (
        Page(report(tmp_path, judgement, embedding=shown, neighbours=one)).text for one in (placed, None)
    )
    assert "UMAP keeps neighbours together" in with_map
    assert "How far groups lie apart and how large they" in with_map
    assert "UMAP" not in without


def test_edges_stand_under_the_rule_of_real_images(tmp_path, judgement):
    alts = [a["alt"] for tag, a in Page(report(tmp_path, judgement)).tags if tag == "img"]
    assert sum(alt.startswith("real images: ") for alt in alts) == 3
    alts = [a["alt"] for tag, a in Page(report(tmp_path, judgement, real_grid=None)).tags if tag == "img"]
    assert sum(alt.startswith("real images: ") for alt in alts) == 0
    assert sum(alt.startswith("synthetic images: ") for alt in alts) == 3


def test_real_images_can_be_withheld(tmp_path, judgement):
    withheld = [NearestPair(images(1, seed=2)[0], None, 0.01, "number 3", False)]
    page = Page(report(tmp_path, judgement, real_grid=None, nearest=withheld))
    assert "shown only in reports inside a run directory" in page.text
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert len(shown) == 5
    assert all("synthetic" in alt for alt in shown)


def test_nulls_and_few_images_say_why(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "cache"))
    found = judge(
        reference=[images(5, seed=0)],
        held_out=None,
        fake=[images(5, seed=2)],
        config={"count": 100, "extractors": ["inception"]},
    )
    text = Page(report(tmp_path, found, nearest=[], curves=[])).text
    told = " ".join(text.split())
    assert told.count("Not computed. no Inception weights") == 1
    assert told.count("Not computed. For the reason above.") >= 5
    assert "too few images" in text
    assert "No overall verdict" in text


def test_a_unit_stands_behind_the_value_of_pairs(tmp_path, judgement):
    error = {**judgement["insufficient"], **judgement}["swd_12"] | {
        "value": 12.3,
        "unit": "HU",
        "pairs": 80,
        "levels": {},
    }
    text = Page(report(tmp_path, {**judgement, "pair_mae_12": error})).text
    assert "Mean absolute error, pairs" in text
    assert "12.3 HU" in text
    assert "80 pairs" in text


def test_sections_that_nobody_asked_for_are_not_there(tmp_path, judgement):
    html = report(tmp_path, judgement)
    assert 'id="classes"' not in html
    assert 'id="truncation"' not in html


def test_classes_and_truncation_have_their_sections(tmp_path, judgement):
    metrics = {key.rpartition("_")[0]: value for key, value in judgement.items() if key.endswith("_12")}
    hostile = "<b>Cyst"
    found = {
        **judgement,
        "classes": {hostile: {"n_real": 12, "n_fake": 12, "n_held_out": 12, "metrics": metrics}},
        "truncation": {"rows": [], "reason": "the generator normalises latents"},
    }
    page = Page(report(tmp_path, found, class_grids={hostile: (None, images(4, seed=0))}))
    text = " ".join(page.text.split())
    assert "12 real, 12 synthetic" in text
    assert "Not computed. the generator normalises latents" in text
    assert f"4 synthetic {hostile} images, side by side" in [a["alt"] for tag, a in page.tags if tag == "img"]
    assert "b" not in {tag for tag, _ in page.tags}


def test_names_from_outside_are_escaped(tmp_path, judgement):
    hostile = "<script>alert(1)</script>"
    facts = {"title": hostile, "facts": {hostile: hostile}, "reproduce": [hostile]}
    nearest = [NearestPair(images(1, seed=2)[0], None, 0.01, '"><script>', False)]
    html = report(
        tmp_path, judgement, run_facts=facts, nearest=nearest, curves=[{"images_seen": 1, f"val/{hostile}": 2.0}]
    )
    assert "<script" not in html
    assert "&lt;script&gt;" in html
