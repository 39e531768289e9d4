"""Classes in the report: figures beside real ones, words by the rules of the verdict, and reasons."""

import torch
from made_up import entry

from medsynth.report.classes import class_section


def found(frechet=0.1, ms_ssim=0.1, *, n=40, **more):
    metrics = {"frechet_random": entry(frechet), "kid_random": entry(-0.001), "precision_random": entry(0.7, real=0.8),
               "recall_random": entry(0.6, real=0.8), "ms_ssim": entry(ms_ssim)}  # fmt: skip
    return {"n_real": n, "n_fake": n, "n_held_out": n, "metrics": metrics | more}


def judged(**classes):
    return {"classes": classes, "insufficient": {}}


def test_columns_are_the_distance_precision_recall_and_diversity():
    section = class_section(judged(Cyst=found()), {})
    assert section["columns"] == ["Fréchet distance", "Precision", "Recall", "MS-SSIM between pairs"]
    assert section["features"] == "random features"
    (row,) = section["rows"]
    assert row["counts"] == "40 real, 40 synthetic"
    assert [cell["value"] for cell in row["cells"]] == ["0.100", "0.700", "0.600", "0.100"]
    assert [cell["real"] for cell in row["cells"]] == ["0.100", "0.800", "0.800", "0.100"]


def test_words_follow_the_rules_of_the_whole_verdict():
    rows = class_section(judged(a=found(), b=found(frechet=0.5), c=found(frechet=5.0, ms_ssim=0.2)), {})["rows"]
    assert [[point.tone for point in row["points"]] for row in rows] == [
        ["good", "good"], ["mixed", "good"], ["poor", "poor"],
    ]  # fmt: skip
    assert "Fréchet distance is 5.0 times" in rows[1]["points"][0].text


def test_a_class_without_figures_says_why():
    few = found()
    few["metrics"] = {name: entry(None, reason="3 images a side are too few") for name in few["metrics"]}
    first, second = class_section(judged(Cyst=found(), Rare=few), {})["rows"]
    assert first["reason"] is None
    assert second["reason"] == "3 images a side are too few"
    assert second["points"] == []


def test_without_a_frechet_distance_the_kernel_distance_stands_for_it():
    only = found()
    only["metrics"] = {name: one for name, one in only["metrics"].items() if not name.startswith("frechet")}
    assert class_section(judged(Cyst=only), {})["columns"][0] == "Kernel distance"


def test_real_images_of_a_class_can_be_withheld_and_no_classes_make_no_section():
    shown = torch.zeros(3, 1, 16, 16)
    first, second = class_section(judged(), {"a": (None, shown), "b": (shown, shown)})["images"]
    assert first["real"] is None
    assert second["real"]["count"] == first["fake"]["count"] == 3
    assert class_section({"insufficient": {}}, {}) is None
