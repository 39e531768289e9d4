"""Charts: round ticks, curves inside their frame, valid SVG."""

import xml.etree.ElementTree as ET

import pytest

from medsynth.report.charts import (
    HEIGHT,
    WIDTH,
    difference_strip,
    line_chart,
    ratio_strip,
    short,
    spread_chart,
    thinned,
    ticks,
)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3.7, 12.2), (1e-5, 2e-5), (0.0, 2e5), (5.0, 5.0), (0.0, 0.0), (-2.0, -2.0)]
)
def test_ticks_are_few_round_and_cover_the_range(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-9 * abs(low)
    assert found[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(found) <= 7


def test_ticks_of_a_simple_range():
    assert ticks(0.0, 100.0) == [0, 50, 100]
    assert ticks(0.0, 4.0) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "text"), [(2e5, "200k"), (2e6, "2M"), (1500.0, "1.5k"), (0.25, "0.25"), (-8.0, "-8"), (1e-15, "0")]
)
def test_axis_numbers_are_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize("values", [[3.0], [1.0, 1.0], [-5.0, 2.0, 900.0], [0.0] * 1000])
def test_a_curve_stays_inside_its_frame(values):
    svg = ET.fromstring(line_chart([(1000.0 * i, v) for i, v in enumerate(values)], title="loss", reference=1.0))
    (curve,) = [e for e in svg.iter() if e.get("class") == "curve"]
    for pair in curve.get("points").split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert "loss" in svg.get("aria-label")


def test_values_that_are_no_numbers_leave_a_gap_and_nothing_else():
    assert line_chart([(0.0, float("nan"))], title="loss") == ""
    assert "nan" not in line_chart([(0.0, float("nan")), (1.0, 2.0), (2.0, float("inf"))], title="loss")


def test_long_curves_are_averaged():
    found = thinned([(float(i), float(i)) for i in range(10_000)])
    assert len(found) <= 240
    assert found[0][0] == found[0][1] == pytest.approx((10_000 // 240 + 1 - 1) / 2, abs=1)


def test_a_ratio_of_one_lies_on_the_mark():
    svg = ET.fromstring(ratio_strip(1.0))
    one = next(e for e in svg.iter() if e.get("class") == "one")
    dot = next(e for e in svg.iter() if e.get("class") == "dot")
    assert one.get("x1") == dot.get("cx")
    assert ratio_strip(None) == ratio_strip(0.0) == ""


@pytest.mark.parametrize(
    ("ends", "kind"), [((-0.2, -0.05), "dot"), ((-0.2, 0.05), "hollow"), (None, "hollow"), ((0.0, 0.1), "hollow")]
)
def test_a_difference_is_hollow_where_its_interval_holds_0(ends, kind):
    value = 0.05 if ends == (0.0, 0.1) else -0.1
    svg = ET.fromstring(difference_strip(value, ends, reach=0.2, label="a − b"))
    (circle,) = [e for e in svg.iter() if e.tag == "circle"]
    zero = next(e for e in svg.iter() if e.get("class") == "one")
    assert circle.get("class") == kind
    assert (float(circle.get("cx")) < float(zero.get("x1"))) == (value < 0)
    ET.fromstring(difference_strip(0.0, (0.0, 0.0), reach=0.0, label="a − b"))


def test_names_in_a_chart_are_escaped():
    svg = spread_chart([("<b>", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])], title="x<y")
    assert "<b>" not in svg
    ET.fromstring(svg)
