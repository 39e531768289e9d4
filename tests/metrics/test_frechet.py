"""Fréchet distance: closed forms, and agreement with torch-fidelity and torchmetrics."""

import numpy as np
import pytest
import torch

from medsynth.metrics.frechet import Moments, frechet_distance, merge_all, moments


def features(count, dimension, *, seed, shift=0.0):
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=stream, dtype=torch.float64)
    return torch.randn(count, dimension, generator=stream, dtype=torch.float64) @ mixing + shift


def fidelity(x, y):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    return fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), False)[
        "frechet_inception_distance"
    ]


def test_distance_of_a_shifted_unit_gaussian_is_the_squared_shift():
    mean = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    count = 5
    first = Moments(count, torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64) * (count - 1))
    second = Moments(count, mean, first.scatter)
    assert frechet_distance(first, second) == pytest.approx(14.0)


def test_distance_of_gaussians_with_other_scales_is_the_squared_difference_of_deviations():
    eye = torch.eye(4, dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.float64)
    assert frechet_distance(Moments(2, zero, 9 * eye), Moments(2, zero, 4 * eye)) == pytest.approx(4 * (3 - 2) ** 2)


def test_three_points_against_three_points_give_four_ninths():
    x = torch.tensor([[1.0, 2.0]] * 3)
    y = torch.tensor([[2.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(4 / 9, rel=1e-9)


def test_distance_is_symmetric_and_zero_between_equal_sets():
    x, y = features(50, 8, seed=0), features(60, 8, seed=1)
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(frechet_distance(moments(y), moments(x)), rel=1e-9)
    assert frechet_distance(moments(x), moments(x)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("count", "dimension", "tolerance"), [(400, 64, 1e-6), (40, 64, 1e-4)])
def test_distance_equals_torch_fidelity(count, dimension, tolerance):
    x, y = features(count, dimension, seed=0), features(count, dimension, seed=1, shift=0.3)
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(fidelity(x, y), rel=tolerance)


def test_distance_equals_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    x, y = features(300, 32, seed=2), features(300, 32, seed=3)
    theirs = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T)).item()
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("sizes", [[100], [1, 99], [33, 33, 34], [1] * 100])
def test_moments_do_not_depend_on_how_the_set_was_cut(sizes):
    x = features(100, 6, seed=4, shift=1e4)
    merged = merge_all(moments(part) for part in x.split(sizes))
    assert merged.count == 100
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance(), torch.cov(x.T), rtol=1e-7)
