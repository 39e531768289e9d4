"""Charts of embeddings: valid SVG that holds every point within its frame, and a script that needs nothing else."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch

from medsynth.report.embedding_charts import (
    MOST_DOTS,
    MOST_TURNING,
    Embedding,
    density_chart,
    density_charts,
    density_matrix,
    edge_sheets,
    rotating_scatter,
    scatter_chart,
    script,
    style,
)

CHARTS = {
    "scatter": scatter_chart,
    "real alone": lambda shown: density_chart(shown, "real"),
    "synthetic alone": lambda shown: density_chart(shown, "fake"),
    "side by side": density_charts,
    "matrix": density_matrix,
    "rotating": rotating_scatter,
}


def embedding(real=60, fake=40, *, shares=(0.5, 0.25, 0.1)):
    stream = torch.Generator().manual_seed(0)
    return Embedding(torch.randn(real, 3, generator=stream), 1 + torch.randn(fake, 3, generator=stream), shares)


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_and_stays_in_its_frame(name):
    svg = ET.fromstring(CHARTS[name](embedding()))
    _, _, width, height = numbers(svg.get("viewBox"))
    for path in svg.iter("path"):
        points = numbers(path.get("d").replace("h.01", ""))
        assert all(0 <= x <= width for x in points[::2])
        assert all(0 <= y <= height for y in points[1::2])
    assert "images" in svg.get("aria-label")


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("points", [torch.zeros(5, 3), torch.zeros(1, 3), torch.arange(15.0).reshape(5, 3)])
def test_points_without_spread_are_drawn_all_the_same(name, points):
    chart = CHARTS[name](Embedding(points, points.clone(), ()))
    ET.fromstring(chart)
    assert "nan" not in chart


@pytest.mark.parametrize("name", CHARTS)
def test_a_collapsed_set_is_drawn_as_dots_without_a_warning(name):
    real = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    chart = CHARTS[name](Embedding(real, 0.013 + 1e-5 * real[:40], (0.5, 0.2, 0.1)))
    assert "nan" not in chart
    assert 'd=""' not in chart
    if name in ("synthetic alone", "side by side", "matrix"):
        assert 'class="dots fake"' in chart
        assert "overlap" not in chart


@pytest.mark.parametrize("shares", [(0.5, 0.25, 0.1), ()])
def test_axes_say_what_they_are(shares):
    chart = scatter_chart(embedding(shares=shares))
    assert ("component 1 (50%)" if shares else "dimension 1") in chart


def test_every_point_is_drawn_and_of_many_the_first():
    charts = {"real": scatter_chart(embedding(MOST_DOTS + 500, 10)), "fake": scatter_chart(embedding())}
    for side, count in (("real", MOST_DOTS), ("fake", 40)):
        (dots,) = [path for path in ET.fromstring(charts[side]).iter("path") if path.get("class") == f"dots {side}"]
        assert dots.get("d").count("M") == count
    svg = ET.fromstring(rotating_scatter(embedding(MOST_TURNING + 100, 10)))
    assert len(svg.find("g")) == MOST_TURNING + 10


def test_real_and_synthetic_differ_in_more_than_colour():
    assert ".cloud .real { stroke: var(--real); stroke-linecap: round; }" in style()
    assert ".cloud .fake { stroke: var(--fake); stroke-linecap: square; }" in style()


def test_densities_that_agree_overlap_more():
    same, apart = embedding(400, 400), embedding(400, 400)
    same = Embedding(same.real, same.fake - 1, same.shares)
    apart = Embedding(apart.real, apart.fake + 20, apart.shares)
    shares = [int(re.search(r"overlap by (\d+)%", density_charts(shown))[1]) for shown in (same, apart)]
    assert shares[0] > 80
    assert shares[1] == 0


def test_the_cube_is_drawn_before_the_points_and_the_nearest_point_last():
    svg = ET.fromstring(rotating_scatter(embedding()))
    widths = [float(dot.get("stroke-width")) for dot in svg.find("g")]
    assert widths == sorted(widths)
    assert len(svg.findall("line")) == 12
    assert [child.tag for child in svg].index("g") > 12
    assert svg.get("tabindex") == "0"


def test_names_are_escaped():
    shown = embedding()
    object.__setattr__(shown, "name", lambda axis: "<b>")
    for chart in (scatter_chart(shown), rotating_scatter(shown)):
        assert "<b>" not in chart


def test_style_and_script_need_no_network_and_cannot_end_their_element():
    for text in (style(), script()):
        assert not re.search(r"https?:|//cdn|@import|url\(|import\(|fetch\(", text)
        assert "</" not in text


def test_edges_are_shown_beside_their_images():
    images = torch.rand(10, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sheets = edge_sheets(images)
    assert list(sheets) == ["images", "sobel", "canny"]
    assert len({sheet.size for sheet in sheets.values()}) == 1
