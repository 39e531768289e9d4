"""Kernel distance: its definition, its direction, and torch-fidelity on the same subsets."""

import numpy as np
import pytest
import torch

from medsynth.metrics.bootstrap import interval, resample
from medsynth.metrics.kernel import kernel_deviations, kernel_distance, squared_mmd

# E k(x, x') + E k(y, y') - 2 E k(x, y) of 16 normal features half a deviation apart, by Wick's theorem
SHIFTED = 1.029297


def features(count, *, seed, shift=0.0):
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_estimate_equals_the_double_sum_over_distinct_pairs():
    x, y = features(5, seed=0), features(4, seed=1)

    def kernel(a, b):
        return float((a @ b / 16 + 1) ** 3)

    within_x = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 20
    within_y = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 12
    between = sum(kernel(a, b) for a in x for b in y) / 20
    assert squared_mmd(x, y) == pytest.approx(within_x + within_y - 2 * between)


def test_estimate_equals_torch_fidelity_on_the_same_subsets():
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = features(60, seed=0), features(80, seed=1, shift=0.2)
    options = {"kid_subsets": 7, "kid_subset_size": 25, "rng_seed": 5, "verbose": False}
    theirs = kid_features_to_metric(x, y, **options)["kernel_inception_distance_mean"]
    draw = np.random.RandomState(5).choice  # torch-fidelity draws from the legacy generator
    ours = [squared_mmd(x[draw(60, 25, replace=False)], y[draw(80, 25, replace=False)]) for _ in range(7)]
    assert np.mean(ours) == pytest.approx(theirs, rel=1e-9)


def test_below_a_thousand_images_one_subset_holds_them_all():
    x, y = features(50, seed=0), features(50, seed=1)
    found = kernel_distance(x, y)
    assert (found.mean, found.deviation, found.subset_size) == (pytest.approx(squared_mmd(x, y)), None, 50)


def test_unequal_sets_are_compared_by_subsets_of_the_smaller():
    found = kernel_distance(features(40, seed=0), features(60, seed=1))
    assert found.subset_size == 40
    assert found.deviation is not None
    assert found.deviation > 0
    assert found == kernel_distance(features(40, seed=0), features(60, seed=1))


def test_subsets_never_exceed_a_thousand():
    assert kernel_distance(features(1010, seed=0), features(1010, seed=1)).subset_size == 1000


def test_distance_grows_with_the_shift_and_is_about_zero_without():
    distances = [kernel_distance(features(300, seed=0), features(300, seed=1, shift=s)).mean for s in (0, 0.5, 1)]
    assert abs(distances[0]) < 0.05 < distances[1] < distances[2]


def test_interval_holds_the_estimate_and_as_many_repetitions_as_it_says():
    inside, trials = 0, 60
    for trial in range(trials):
        x, y = features(60, seed=2 * trial, shift=0.5), features(60, seed=2 * trial + 1)
        drawn = (resample(range(60), name=name, seed=trial) for name in ("real", "fake"))
        low, high = interval(squared_mmd(x, y), kernel_deviations(x, y, *drawn))
        assert low < squared_mmd(x, y) < high
        inside += low < SHIFTED < high
    assert 0.8 <= inside / trials <= 1  # of 95 %, with the few images of a small set


def test_copies_of_a_patient_are_not_taken_for_further_patients():
    x, y = features(40, seed=0, shift=0.3), features(200, seed=1)
    alone = kernel_deviations(x, y, *(resample(range(n), name=str(n)) for n in (40, 200))).std()
    copied = x.repeat_interleave(5, dim=0)
    by_image, by_patient = (
        kernel_deviations(copied, y, resample(groups, name="40"), resample(range(200), name="200")).std()
        for groups in (range(200), [number // 5 for number in range(200)])
    )
    assert by_image < 0.7 * alone
    assert by_patient.item() == pytest.approx(alone.item(), rel=0.3)


def test_draws_spread_as_new_samples_do():
    true = torch.tensor(
        [squared_mmd(features(80, seed=2 * s), features(80, seed=2 * s + 1, shift=0.4)) for s in range(60)]
    ).std()
    drawn = [resample(range(80), name=side) for side in ("real", "fake")]
    found = [
        kernel_deviations(features(80, seed=s), features(80, seed=s + 1, shift=0.4), *drawn) for s in (200, 300, 400)
    ]
    assert torch.stack(found).std(dim=1).mean().item() == pytest.approx(true.item(), rel=0.35)
    assert torch.stack(found).mean(dim=1).abs().max().item() < 1e-12


def test_a_part_of_the_images_speaks_for_all(monkeypatch):
    from medsynth.metrics import kernel

    x, y = features(400, seed=0, shift=0.5), features(400, seed=1)
    drawn = [resample(range(400), name=side) for side in ("real", "fake")]
    whole = kernel_deviations(x, y, *drawn).std()
    monkeypatch.setattr(kernel, "RESAMPLED", 100)
    assert kernel_deviations(x, y, *drawn).std().item() == pytest.approx(whole.item(), rel=0.3)
