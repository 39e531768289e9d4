"""Rows come in parts and are read as one tensor."""

import pickle

import pytest
import torch

from medsynth.metrics.rows import Rows


@pytest.mark.parametrize("sizes", [(1,), (3, 4, 1, 30), (0, 5), (5, 0, 2)])
def test_rows_are_all_parts_in_their_order(sizes: tuple[int, ...]):
    parts = [torch.rand(size, 3, dtype=torch.float64) for size in sizes]
    rows = Rows(*parts)
    assert rows.count == sum(sizes)
    assert torch.equal(rows.all(), torch.cat(parts))
    assert rows.all().dtype == torch.float64


def test_a_part_that_changes_later_changes_no_rows():
    part = torch.zeros(2, 3)
    rows = Rows(part)
    part += 1
    assert rows.all().sum() == 0


def test_rows_travel_without_their_room():
    rows = Rows(*torch.rand(1_000, 100).split(100), torch.rand(1, 100))
    assert len(pickle.dumps(rows)) < 1.01 * 1_001 * 100 * 4
    assert torch.equal(pickle.loads(pickle.dumps(rows)).all(), rows.all())
