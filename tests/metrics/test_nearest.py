"""Memorisation: planted copies are flagged, new images are not."""

import pytest
import torch

from medsynth.metrics.nearest import COPY_DISTANCE, near_share, nearest, thumbnails


def images(count, *, seed, side=48):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distance_is_the_root_mean_square_as_a_share_of_the_grey_range():
    dark, bright = torch.full((1, 1, 32, 32), -1.0), torch.full((1, 1, 32, 32), 1.0)
    found = nearest(thumbnails(dark), thumbnails(bright))
    assert found.distance.item() == pytest.approx(1.0)


def test_the_nearest_image_is_the_one_that_brute_force_finds():
    queries, train = thumbnails(images(20, seed=0)), thumbnails(images(50, seed=1))
    found = nearest(queries, train)
    distances = torch.cdist(queries.double(), train.double()) / 255 / 32
    torch.testing.assert_close(found.distance.double(), distances.min(dim=1).values, rtol=1e-5, atol=1e-7)
    assert torch.equal(found.index, distances.argmin(dim=1))


def test_planted_copies_are_flagged_and_named():
    train, unseen, new = (images(n, seed=s) for n, s in ((60, 0), (40, 1), (30, 2)))
    fakes = torch.cat((new, train[[7, 41]]))
    found = nearest(thumbnails(fakes), thumbnails(train))
    others = nearest(thumbnails(unseen), thumbnails(train))
    assert found.copies() == 2
    assert [pair[:2] for pair in found.closest(2)] == [(30, 7), (31, 41)]
    assert near_share(found, others) >= 2 / 32


def test_new_images_are_no_copies():
    train, unseen, new = (thumbnails(images(n, seed=s)) for n, s in ((100, 0), (300, 1), (300, 2)))
    found, others = nearest(new, train), nearest(unseen, train)
    assert found.copies() == 0
    assert near_share(found, others) < 0.05


def test_a_copy_saved_as_another_8_bit_file_is_still_a_copy():
    train = images(10, seed=0)
    stored = ((train + 1) * 127.5).round() / 127.5 - 1
    found = nearest(thumbnails(stored), thumbnails(train))
    assert found.copies() == 10
    assert found.distance.max() < COPY_DISTANCE


def test_the_search_goes_through_every_chunk_of_a_large_training_set(monkeypatch):
    monkeypatch.setattr("medsynth.metrics.nearest.CHUNK", 8)
    monkeypatch.setattr("medsynth.metrics.nearest.QUERIES", 2)
    queries, train = thumbnails(images(5, seed=0)), thumbnails(images(30, seed=1))
    train[29] = queries[2]
    found = nearest(queries, train)
    assert len(found.index) == len(found.distance) == 5
    assert found.index[2] == 29
    assert found.distance[2] == 0
