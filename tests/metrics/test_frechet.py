"""Fréchet distance: closed forms, and agreement with torch-fidelity and torchmetrics."""

from functools import reduce

import numpy as np
import pytest
import torch

from medsynth.metrics.bootstrap import interval, resample, widening
from medsynth.metrics.frechet import (
    Moments,
    frechet_deviations,
    frechet_distance,
    frechet_of_features,
    merge,
    moments,
)
from medsynth.metrics.undefined import Undefined


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
    assert frechet_of_features(x, y) == pytest.approx(4 / 9, rel=1e-9)


def test_distance_is_symmetric_and_zero_between_equal_sets():
    x, y = features(50, 8, seed=0), features(60, 8, seed=1)
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(frechet_distance(moments(y), moments(x)), rel=1e-9)
    assert frechet_distance(moments(x), moments(x)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("count", "dimension", "tolerance"), [(400, 64, 1e-6), (40, 64, 1e-4)])
def test_distance_equals_torch_fidelity(count, dimension, tolerance):
    x, y = features(count, dimension, seed=0), features(count, dimension, seed=1, shift=0.3)
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(fidelity(x, y), rel=tolerance)
    assert frechet_of_features(x, y) == pytest.approx(fidelity(x, y), rel=tolerance)


@pytest.mark.parametrize(("count", "dimension", "tolerance"), [(300, 32, 1e-6), (40, 64, 1e-4)])
def test_distance_equals_torchmetrics(count, dimension, tolerance):
    from torchmetrics.image.fid import _compute_fid

    x, y = features(count, dimension, seed=2), features(count, dimension, seed=3)
    theirs = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T)).item()
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(theirs, rel=tolerance)
    assert frechet_of_features(x, y) == pytest.approx(theirs, rel=tolerance)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 100), (100, 20), (2, 90)])
def test_few_vectors_give_the_distance_in_the_space_they_span(n, m):
    basis = torch.linalg.qr(features(60, 60, seed=5))[0][:8]  # 8 of 60 dimensions, in which 20 vectors are many
    x, y = features(n, 8, seed=6), features(m, 8, seed=7, shift=0.4)
    inside = frechet_distance(moments(x), moments(y))
    assert frechet_of_features(x @ basis, y @ basis) == pytest.approx(inside, rel=1e-6 if n > 8 else 1e-5)


def test_equal_sets_of_few_vectors_have_no_distance():
    x = features(30, 100, seed=0)
    assert frechet_of_features(x, x) == pytest.approx(0, abs=1e-9 * x.square().sum().item())


@pytest.mark.parametrize(("count", "dimension"), [(200, 6), (30, 90)])
def test_an_image_moves_the_distance_as_much_as_drawing_it_twice_or_not_at_all(count, dimension):
    x, y = features(count, dimension, seed=8), features(count, dimension, seed=9, shift=0.5)
    drawn = resample(range(count), name="real", rounds=2), resample(range(count), name="fake", rounds=2)
    weights = torch.ones(2, count, dtype=torch.float64)
    weights[0, 5], weights[1, 5] = 1.01, 0.99
    found = frechet_deviations(x, y, type(drawn[0])(weights, drawn[0].groups), _even(drawn[1]))
    moved = [weighted_distance(x, y, one) for one in weights]
    apart = (found[0] - found[1]).item() / widening(drawn[0].groups)
    assert apart == pytest.approx(moved[0] - moved[1], rel=1e-2)


def test_one_vector_is_refused_in_words():
    with pytest.raises(Undefined, match="a set of one image has no spread"):
        frechet_of_features(features(1, 4, seed=0), features(9, 4, seed=1))


def _even(drawn):
    return type(drawn)(torch.ones_like(drawn.weights), drawn.groups)


def weighted_distance(x, y, weights):
    """The distance where images of `x` count by weights, by the definition."""
    share = weights / weights.sum()
    mean = share @ x
    covariance = (x - mean).T @ ((x - mean) * share[:, None]) * len(x)
    return frechet_distance(Moments(len(x), mean, covariance), moments(y))


@pytest.mark.parametrize(("count", "dimension"), [(150, 6), (40, 120)])
def test_draws_spread_as_new_samples_do(count, dimension):
    scales = torch.arange(1, dimension + 1).double() ** -0.4

    def sample(seed):
        stream = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(count, dimension, generator=stream).double() * scales for _ in range(2))
        return x, y * 1.3 + 0.05

    true = torch.tensor([frechet_of_features(*sample(seed)) for seed in range(60)]).std().item()
    drawn = [resample(range(count), name=side) for side in ("real", "fake")]
    found = torch.stack([frechet_deviations(*sample(seed), *drawn).std() for seed in range(100, 106)]).mean().item()
    assert found == pytest.approx(true, rel=0.4)
    low, high = interval(1.0, frechet_deviations(*sample(0), *drawn), least=0.0)
    assert low < 1 < high


@pytest.mark.parametrize("sizes", [[100], [1, 99], [33, 33, 34], [1] * 100])
def test_moments_do_not_depend_on_how_the_set_was_cut(sizes):
    x = features(100, 6, seed=4, shift=1e4)
    merged = reduce(merge, (moments(part) for part in x.split(sizes)))
    assert merged.count == 100
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance(), torch.cov(x.T), rtol=1e-7)
