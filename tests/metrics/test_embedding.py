"""Projections and densities: closed forms, scikit-learn, and words for what cannot be."""

import numpy as np
import pytest
import torch

from medsynth.metrics.embedding import (
    CELLS,
    Frame,
    density,
    frame,
    line_density,
    mass_levels,
    overlap,
    principal_axes,
)
from medsynth.metrics.frechet import moments


def features(count, *, seed=0, dimension=6, scales=(5.0, 3.0, 1.0, 0.2, 0.2, 0.1)):
    drawn = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * torch.tensor(scales)


def test_axes_of_independent_features_are_the_features():
    basis = principal_axes(moments(features(4000)))
    torch.testing.assert_close(basis.axes, torch.eye(6, dtype=torch.float64)[:3], atol=0.05, rtol=0)
    assert basis.variances.sqrt().tolist() == pytest.approx([5, 3, 1], rel=0.05)


def test_projections_and_variances_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = features(200) @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = decomposition.PCA(3).fit(x.numpy())
    basis = principal_axes(moments(x))
    assert basis.explained() == pytest.approx(theirs.explained_variance_ratio_.tolist())
    assert abs(np.abs(basis.project(x).numpy()) - np.abs(theirs.transform(x.numpy()))).max() < 1e-9
    assert basis.explained_of(moments(x)) == pytest.approx(basis.explained())


def test_the_same_features_in_another_order_give_the_same_picture():
    x = features(100)
    first, second = (principal_axes(moments(y)).project(x) for y in (x, x.flip(0)))
    torch.testing.assert_close(first, second)


def test_a_set_that_varies_elsewhere_says_so():
    basis = principal_axes(moments(features(500)))
    assert sum(basis.explained()) > 0.98
    assert sum(basis.explained_of(moments(features(500, scales=(0.1, 0.1, 0.1, 3.0, 3.0, 3.0))))) < 0.01


def test_equal_features_have_no_variance_and_no_error():
    basis = principal_axes(moments(torch.ones(5, 4)))
    assert basis.explained() == basis.explained_of(moments(torch.zeros(5, 4))) == [0.0] * 3


def test_a_density_has_mass_one_and_its_peak_where_the_points_are():
    points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, -1.0])
    where = frame(points)
    x, y = where.axes()
    found = density(points, where)
    assert found.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1, abs=0.02)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert (x[column], y[row]) == pytest.approx((3, -1), abs=0.6)


def test_points_without_spread_have_no_density():
    line = torch.arange(10.0)[:, None].expand(10, 2)
    for points in (torch.zeros(10, 2), line, torch.zeros(2, 2), torch.zeros(1, 2)):
        assert density(points, frame(points)) is None
    assert line_density(torch.ones(9), 0.0, 2.0) is None
    assert line_density(torch.ones(1), 0.0, 2.0) is None


def test_points_much_closer_than_the_grid_have_no_density_on_it():
    close = 1e-3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    for middle in (0.0, 0.37, 5.0):  # on a point of the grid, between two, and far away
        assert density(close + middle, Frame((-5.0, -5.0), (7.6, 7.6))) is None
        assert line_density(close[:, 0] + middle, -5.0, 7.6) is None
    assert density(close, frame(close)) is not None


def test_overlap_is_one_of_equals_and_zero_of_strangers():
    places = [torch.randn(300, 2, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    where = Frame((-5.0, -5.0), (30.0, 30.0))
    near, also, far = (density(p, where) for p in (places[0], places[1], places[1] + 20))
    assert overlap(near, near) == pytest.approx(1)
    assert overlap(near, also) > 0.8
    assert overlap(near, far) < 1e-6


def test_overlap_of_two_normals_a_deviation_apart_is_the_closed_form():
    places = [torch.randn(2000, generator=torch.Generator().manual_seed(s)) + s for s in (0, 1)]
    found = overlap(*(line_density(p, -4.0, 5.0) for p in places))
    assert found == pytest.approx(0.617, abs=0.03)  # 2 Phi(-1/2)


def test_contours_enclose_the_shares_they_name():
    x, y = np.meshgrid(np.linspace(-4, 4, CELLS), np.linspace(-4, 4, CELLS))
    normal = np.exp(-(x**2 + y**2) / 2)
    for share, level in zip((0.9, 0.6, 0.3), mass_levels(normal), strict=True):
        assert level == pytest.approx(1 - share, abs=0.03)  # of a normal: a share p lies where exp(-r^2/2) > 1 - p
