"""A threshold of real values: new ones fall below it as often as it says."""

import pytest
import torch

from medsynth.metrics.tail import low_tail


def test_the_threshold_is_an_order_statistic():
    tail = low_tail(torch.arange(1.0, 100.0), 0.05)
    assert tail.threshold == 5
    assert tail.expected == pytest.approx(0.05)
    assert tail.share(torch.tensor([4.0, 5.0, 6.0, 7.0])) == 0.5


def test_few_values_say_that_they_cannot_do_better():
    tail = low_tail(torch.tensor([3.0, 1.0, 2.0]), 0.01)
    assert tail.threshold == 1
    assert tail.expected == 0.25


def test_new_values_fall_below_it_as_often_as_it_says():
    stream = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(400):
        values = torch.randn(59, generator=stream).exp()
        shares.append(low_tail(values, 0.05).share(torch.randn(500, generator=stream).exp()))
    assert sum(shares) / len(shares) == pytest.approx(low_tail(values, 0.05).expected, abs=0.005)
