"""Inception score: closed forms, torch-fidelity, and streaming."""

import numpy as np
import pytest
import torch

from medsynth.metrics.bootstrap import interval, resample
from medsynth.metrics.classifier_score import class_sums, classifier_deviations, classifier_score
from medsynth.metrics.undefined import Undefined


def logits(count, classes, *, seed=0):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)) * 2


def test_certain_and_varied_images_reach_the_number_of_classes():
    found = classifier_score(class_sums(torch.eye(7).repeat(10, 1), splits=2))
    assert (found.mean, found.deviation) == (pytest.approx(7), pytest.approx(0, abs=1e-9))


def test_uncertain_or_equal_images_score_one():
    assert classifier_score(class_sums(torch.full((20, 4), 0.25))).mean == pytest.approx(1)
    assert classifier_score(class_sums(torch.eye(4)[:1].expand(20, -1))).mean == pytest.approx(1)


def test_score_equals_torch_fidelity_on_the_same_splits():
    from torch_fidelity.metric_isc import isc_features_to_metric

    scores = logits(120, 9)
    theirs = isc_features_to_metric(scores, splits=10, shuffle=False)
    dealt = scores[np.arange(120).reshape(10, 12).T.ravel()]  # theirs are blocks, ours every tenth image
    found = classifier_score(class_sums(dealt.double().softmax(dim=1)))
    assert found.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert found.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-9)


def test_fewer_images_than_splits_fill_only_some():
    found = classifier_score(class_sums(logits(3, 5).softmax(dim=1)))
    assert (found.splits, found.smallest, found.mean) == (3, 1, pytest.approx(1))


def test_no_image_is_refused_in_words():
    with pytest.raises(Undefined, match="no image to classify"):
        classifier_score(class_sums(torch.zeros(0, 5)))


def test_interval_holds_the_score_of_new_images_as_often_as_it_says():
    sets = [logits(200, 4, seed=seed).double().softmax(dim=1) for seed in range(80)]
    scores = [classifier_score(class_sums(probabilities)).mean for probabilities in sets]
    truth = np.mean(scores)
    drawn = resample(range(200), name="synthetic")
    held = [
        low <= truth <= high
        for score, probabilities in zip(scores, sets, strict=True)
        for low, high in [interval(score, classifier_deviations(probabilities, drawn))]
    ]
    assert 0.88 <= np.mean(held) <= 0.99


def test_interval_of_fewer_images_than_splits_is_finite():
    drawn = resample(range(3), name="synthetic")
    assert classifier_deviations(logits(3, 5).softmax(dim=1), drawn).isfinite().all()
