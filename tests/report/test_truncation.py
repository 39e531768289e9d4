"""The truncation sweep: thresholds in their order, precision against recall, and a reason for none."""

import xml.etree.ElementTree as ET

import pytest

from medsynth.report.charts import HEIGHT, WIDTH
from medsynth.report.truncation import TALL, step_name, steps_chart, trade_chart, truncation_section


def row(truncation, *, precision=0.7, recall=0.5, mode="psi", **figures):
    kept = None if truncation is None else mode
    return {"truncation": truncation, "mode": kept, "frechet": 0.4, "precision": precision, "recall": recall, **figures}


ROWS = [row(None), row(0.8, precision=0.8, recall=0.4, frechet=0.5), row(0.4, precision=0.9, recall=0.1, frechet=2.0)]


def section(rows, **more):
    return truncation_section({"truncation": {"rows": rows, **more}, "insufficient": {}})


def test_a_row_a_threshold_and_a_column_a_figure():
    found = section(ROWS)
    assert [one["name"] for one in found["rows"]] == ["none", "0.8", "0.4"]
    assert found["columns"] == ["Fréchet distance", "Precision", "Recall"]
    assert found["rows"][1]["cells"] == ["0.500", "0.800", "0.400"]
    assert [chart["title"] for chart in found["charts"]] == ["Precision against recall", "Fréchet distance"]


def test_figures_may_be_named_with_their_features():
    rows = [
        {"truncation": t, "mode": "psi", "kid_random": 0.1, "kid_encoder": 0.2, "ms_ssim": None} for t in (None, 0.5)
    ]
    found = section(rows)
    assert found["columns"] == ["Kernel distance, random features", "Kernel distance, features learnt from real images"]
    assert len(found["charts"]) == 2


def test_nobody_asked_or_there_is_a_reason():
    assert truncation_section({"insufficient": {}}) is None
    found = section([], reason="latents are normalised")
    assert (found["reason"], found["rows"], found["charts"]) == ("latents are normalised", [], [])


def test_several_modes_are_told_apart():
    rows = [row(None), row(0.8), row(0.8, mode="resample")]
    assert [step_name(one, rows) for one in rows] == ["none", "0.8 psi", "0.8 resample"]


def test_missing_values_are_dashes_and_leave_a_gap():
    found = section([*ROWS, row(0.2, precision=None)])
    assert found["rows"][-1]["cells"][1] == "–"
    chart = trade_chart([*ROWS, row(0.2, precision=None)], precision="precision", recall="recall")
    assert chart.count("<circle") == len(ROWS)


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [0.0, 1.0, 0.3], [0.1, 0.100001, 0.1]])
def test_every_point_stays_inside_its_frame(values):
    rows = [row(t, precision=v, recall=1 - v, frechet=v) for t, v in zip((None, 0.8, 0.4), values, strict=True)]
    for chart, height in (
        (trade_chart(rows, precision="precision", recall="recall"), TALL),
        (steps_chart(rows, "frechet", reference=0.4), HEIGHT),
    ):
        svg = ET.fromstring(chart)
        dots = [e for e in svg.iter() if e.get("class") == "dot"]
        assert len(dots) == 3
        assert all(0 <= float(e.get("cx")) <= WIDTH and 0 <= float(e.get("cy")) <= height for e in dots)


def test_one_threshold_makes_no_curve():
    assert trade_chart(ROWS[:1], precision="precision", recall="recall") == ""
    assert steps_chart(ROWS[:1], "frechet") == ""


def test_the_chart_tells_its_figures_to_whom_cannot_see_it():
    label = ET.fromstring(trade_chart(ROWS, precision="precision", recall="recall")).get("aria-label")
    assert "none: 0.7 and 0.5" in label
    assert "0.4: 0.9 and 0.1" in label


@pytest.mark.parametrize("named", [["frechet_random", "frechet_encoder"], ["fid", "frechet_random"], ["frechet"]])
def test_the_dashed_line_is_that_of_the_first_extractor(named):
    values = {f"{name}_100": {"value": 0.5, "real_against_real": 0.4 / (i + 1)} for i, name in enumerate(named)}
    shown = truncation_section({"truncation": {"rows": ROWS}, "insufficient": {}, **values})
    chart = next(chart["svg"] for chart in shown["charts"] if chart["title"] == "Fréchet distance")
    assert chart == steps_chart(ROWS, "frechet", reference=0.4)
