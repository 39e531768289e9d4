"""Halves of the real images: disjoint by patient, balanced, the same every time."""

import numpy as np
import pytest

from medsynth.metrics.halves import halves, in_turn


def groups_of(sizes):
    return np.repeat([f"patient {i}" for i in range(len(sizes))], sizes)


def test_no_patient_is_in_both_halves_and_nobody_is_lost():
    groups = groups_of([5, 9, 1, 3, 3, 7])
    first, second = halves(groups, np.zeros(28, dtype=int))
    assert not set(groups[first]) & set(groups[second])
    assert sorted([*first, *second]) == list(range(28))
    assert abs(len(first) - len(second)) <= 2


def test_each_class_is_divided():
    labels = np.repeat([0, 1, 2], 40)
    groups = np.repeat(np.arange(30), 4)
    first, second = halves(groups, labels)
    assert np.bincount(labels[first]).tolist() == np.bincount(labels[second]).tolist() == [20, 20, 20]


def test_a_single_patient_leaves_the_second_half_empty():
    first, second = halves(groups_of([6]), np.zeros(6, dtype=int))
    assert (len(first), len(second)) == (6, 0)


def test_halves_are_the_same_every_time_in_random_order_and_depend_on_the_seed():
    groups, labels = groups_of([3] * 20), np.zeros(60, dtype=int)
    first = halves(groups, labels)[0]
    assert first.tolist() == halves(groups, labels)[0].tolist() != sorted(first)
    assert set(first) != set(halves(groups, labels, seed=1)[0])


@pytest.mark.parametrize("kind", [int, str])
def test_patients_may_be_numbers_or_names(kind):
    groups = np.array([kind(i // 2) for i in range(12)])
    first, second = halves(groups, np.full(12, -1))
    assert len(first) == len(second) == 6


def test_each_patient_gives_one_image_before_any_gives_two():
    groups = np.repeat(["a", "b", "c", "d"], [100, 3, 40, 1])
    order = in_turn(groups, np.random.default_rng(0))
    assert sorted(order) == list(range(144))
    assert set(groups[order[:4]]) == set("abcd")
    assert {name: int((groups[order[:12]] == name).sum()) for name in "abcd"} == {"a": 4, "b": 3, "c": 4, "d": 1}
    assert order.tolist() == in_turn(groups, np.random.default_rng(0)).tolist()
    assert order.tolist() != in_turn(groups, np.random.default_rng(1)).tolist()
