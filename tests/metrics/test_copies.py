"""Changed copies of training images are found; the distance is a correlation's."""

import pytest
import torch

from medsynth.metrics.copies import nearest_copy
from medsynth.metrics.nearest import thumbnails


def pictures(count, *, seed=0, channels=1, side=64):
    coarse = torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-0.8, 0.8)


CHANGES = {
    "none": lambda x: x,
    "mirrored left to right": lambda x: x.flip(-1),
    "mirrored top to bottom": lambda x: x.flip(-2),
    "turned by 180 degrees": lambda x: x.flip(-1, -2),
    "moved by 2 pixels": lambda x: x.roll((2, -2), (-2, -1)),
    "moved by 4 pixels": lambda x: x.roll(4, -1),
    "brighter": lambda x: x + 0.15,
    "of lower contrast": lambda x: 0.7 * x,
    "noisy": lambda x: x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)),
    "all of it": lambda x: 0.8 * x.flip(-1).roll(2, -2) + 0.1,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_changed_copy_is_found(change, channels):
    train = pictures(60, channels=channels)
    found = nearest_copy(thumbnails(CHANGES[change](train[20:40])), thumbnails(train), channels=channels)
    assert found.index.tolist() == list(range(20, 40))
    assert found.distance.max() < 0.05


def test_new_pictures_are_far_from_all():
    found = nearest_copy(thumbnails(pictures(60, seed=5)), thumbnails(pictures(60)), channels=1)
    assert found.distance.min() > 0.3


def test_the_distance_is_half_the_chord_between_unit_vectors():
    first, second = (torch.randint(0, 256, (1, 1024), dtype=torch.uint8) for _ in range(2))
    middle = [x.float().unflatten(1, (32, 32))[:, 2:-2, 2:-2].flatten() for x in (first, second)]
    r = torch.corrcoef(torch.stack(middle))[0, 1].item()
    assert nearest_copy(first, first, channels=1).distance.item() < 1e-3
    # Other shifts and mirrorings may only be nearer.
    assert nearest_copy(first, second, channels=1).distance.item() <= ((1 - r) / 2) ** 0.5 + 1e-6


def test_an_empty_picture_resembles_no_other():
    found = nearest_copy(thumbnails(torch.zeros(2, 1, 32, 32)), thumbnails(pictures(5)), channels=1)
    assert found.distance.tolist() == pytest.approx([0.5**0.5] * 2)


def test_the_search_goes_through_every_chunk_and_small_sets(monkeypatch):
    train = thumbnails(pictures(30))
    once = nearest_copy(train[:7], train, channels=1)
    monkeypatch.setattr("medsynth.metrics.copies.CHUNK", 4)
    monkeypatch.setattr("medsynth.metrics.copies.QUERIES", 3)
    again = nearest_copy(train[:7], train, channels=1)
    assert once.index.tolist() == again.index.tolist() == list(range(7))
    assert nearest_copy(train[:1], train[:1], channels=1).index.tolist() == [0]


def test_pictures_of_16_pixels_are_searched_too():
    train = thumbnails(pictures(20, side=16))
    assert nearest_copy(train.flip(0), train, channels=1).index.tolist() == list(range(19, -1, -1))
