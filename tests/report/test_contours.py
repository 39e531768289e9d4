"""Contours: closed outlines where the values say, islands and lakes apart."""

import numpy as np
import pytest

from medsynth.report.contours import contours


def hill(side=41, *, radius=1.0):
    axis = np.linspace(-2, 2, side)
    return radius - np.hypot(*np.meshgrid(axis, axis))


def area(outline):
    x, y = np.array(outline).T
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def test_the_outline_of_a_cone_is_a_circle():
    (outline,) = contours(hill(), 0.0)
    radius = np.hypot(*(np.array(outline).T / 10 - 2))
    assert abs(radius - 1).max() < 0.01
    assert area(outline) / 100 == pytest.approx(np.pi, rel=0.01)


def test_islands_and_lakes_have_outlines_of_their_own():
    values = np.maximum(hill(), -0.4)
    values[18:23, 18:23] = -1.0
    assert len(contours(values, 0.0)) == 2
    two = np.maximum(np.roll(hill(radius=0.5), -12, 1), np.roll(hill(radius=0.5), 12, 1))
    assert len(contours(two, 0.0)) == 2


def test_an_outline_stays_on_the_grid_where_values_are_high_at_its_border():
    (outline,) = contours(np.ones((5, 7)), 0.5)
    x, y = np.array(outline).T
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 6, 0, 4)
    assert area(outline) == pytest.approx(24, rel=0.05)


def test_nothing_above_the_level_has_no_outline():
    assert contours(np.zeros((4, 4)), 0.5) == []


def test_every_crossing_belongs_to_one_outline():
    values = np.random.default_rng(0).random((20, 20))
    padded = np.pad(values > 0.5, 1)
    crossings = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert sum(map(len, contours(values, 0.5))) == crossings
