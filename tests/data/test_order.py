"""The training stream: a function of seed and place, whole epochs, balanced classes."""

import numpy as np
import pytest

from medsynth.data.order import Order
from medsynth.data.settings import BALANCES

LABELS = np.array([0] * 12 + [1] * 5 + [2])


@pytest.mark.parametrize("balance", BALANCES)
def test_the_stream_is_the_same_in_pieces(balance: str) -> None:
    whole = Order(LABELS, seed=0, balance=balance).at(range(0, 120))
    pieces = Order(LABELS, seed=0, balance=balance)
    assert np.array_equal(np.concatenate([pieces.at(range(k, k + 7)) for k in range(0, 119, 7)]), whole[:119])
    late = Order(LABELS, seed=0, balance=balance)
    assert np.array_equal(late.at(range(90, 120)), whole[90:])


@pytest.mark.parametrize("balance", BALANCES)
def test_seeds_and_epochs_differ(balance: str) -> None:
    order = Order(LABELS, seed=0, balance=balance)
    epochs = order.at(range(0, 3 * order.count)).reshape(3, -1)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert not np.array_equal(Order(LABELS, seed=1, balance=balance).at(range(0, order.count)), epochs[0])


def test_without_balance_every_epoch_is_a_permutation() -> None:
    order = Order(LABELS, seed=0)
    for epoch in order.at(range(0, 3 * order.count)).reshape(3, -1):
        assert sorted(epoch) == list(range(len(LABELS)))


def test_oversampling_shows_every_class_equally_and_every_image_at_least_once() -> None:
    order = Order(LABELS, seed=0, balance="oversample")
    assert order.count == 36
    for epoch in order.at(range(0, 3 * order.count)).reshape(3, -1):
        assert np.bincount(LABELS[epoch]).tolist() == [12, 12, 12]
        times = np.bincount(epoch, minlength=len(LABELS))
        assert times[:12].tolist() == [1] * 12
        assert set(times[12:17]) == {2, 3}
        assert times[17] == 12


def test_weighted_draws_are_equally_probable_by_class_and_within_it() -> None:
    order = Order(LABELS, seed=0, balance="weighted")
    drawn = order.at(range(0, 36_000))
    np.testing.assert_allclose(np.bincount(LABELS[drawn]) / 36_000, 1 / 3, atol=0.012)
    np.testing.assert_allclose(np.bincount(drawn)[:12] / 36_000, 1 / 36, atol=0.005)
