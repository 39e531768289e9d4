"""The area under the ROC curve: closed forms, scikit-learn, and intervals by patient."""

import numpy as np
import pytest
import torch

from medsynth.metrics.auc import auc, auc_deviations
from medsynth.metrics.bootstrap import interval


def auc_interval(high, low, **drawn):
    return interval(auc(high, low), auc_deviations(high, low, **drawn), least=0.0, most=1.0)


def test_scores_that_separate_give_one_and_the_other_way_round_zero():
    high, low = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0, 2.5])
    assert auc(high, low) == 1
    assert auc(low, high) == 0


def test_ties_count_half():
    assert auc(torch.ones(5), torch.ones(7)) == 0.5
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([1.0])) == 0.75


def test_it_is_the_area_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    stream = torch.Generator().manual_seed(0)
    high = (torch.randn(200, generator=stream) * 3).round() + 1
    low = (torch.randn(300, generator=stream) * 3).round()
    labels = np.r_[np.ones(200), np.zeros(300)]
    assert auc(high, low) == pytest.approx(metrics.roc_auc_score(labels, torch.cat([high, low]).numpy()), abs=1e-12)


def test_an_interval_by_patient_is_wider_than_one_by_image():
    stream = torch.Generator().manual_seed(0)
    patients = np.repeat(np.arange(20), 30)
    scores = [torch.randn(20, generator=stream).repeat_interleave(30) + 0.1 * torch.rand(600) for _ in range(2)]
    by_patient = auc_interval(*scores, higher_groups=patients, lower_groups=patients)
    by_image = auc_interval(*scores, higher_groups=np.arange(600), lower_groups=np.arange(600))
    assert by_patient[1] - by_patient[0] > 3 * (by_image[1] - by_image[0])
    assert by_patient[0] < auc(*scores) < by_patient[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    stream = torch.Generator().manual_seed(0)
    groups = np.repeat(np.arange(30), 3)
    covered = 0
    for seed in range(60):
        scores = [torch.randn(30, generator=stream).repeat_interleave(3) for _ in range(2)]
        low, high = auc_interval(*scores, higher_groups=groups, lower_groups=groups, rounds=200, seed=seed)
        covered += low <= 0.5 <= high
    assert 50 <= covered <= 60


def test_one_patient_has_no_interval():
    scores = torch.arange(4.0)
    assert auc_deviations(scores, scores, higher_groups=np.zeros(4), lower_groups=np.arange(4)) is None


@pytest.mark.parametrize("patients", [2, 4])
def test_few_patients_rarely_make_a_leak_of_chance(patients):
    stream, groups = torch.Generator().manual_seed(0), np.repeat(np.arange(patients), 4)
    outside = 0
    for seed in range(100):
        high, low = torch.randn(100, generator=stream), torch.randn(patients, generator=stream).repeat_interleave(4)
        around = auc_interval(high, low, higher_groups=np.arange(100), lower_groups=groups, rounds=200, seed=seed)
        outside += not around[0] <= 0.5 <= around[1]
    assert outside <= 7


def test_few_patients_that_are_all_told_apart_are_a_leak():
    groups = np.repeat(np.arange(2), 4)
    found = auc_interval(torch.ones(30), torch.zeros(8), higher_groups=np.arange(30), lower_groups=groups)
    assert found == (1, 1)


def test_two_critics_are_compared_by_the_same_draws():
    stream, groups = torch.Generator().manual_seed(0), np.repeat(np.arange(10), 20)
    known, new = torch.randn(200, generator=stream), torch.randn(200, generator=stream)
    one, scaled, other = (
        auc_deviations(*scores, higher_groups=groups, lower_groups=groups)
        for scores in ((known, new), (3 * known, 3 * new), (known + 1, new))
    )
    assert torch.equal(one, scaled)
    assert (one - other).std() < 0.8 * torch.hypot(one.std(), other.std())
