"""Every way of spoiling an image: it changes the image, keeps its shape and range, and depends on the seed alone."""

import pytest
import torch
from phantom_slices import slices

from medsynth.latent import generator
from medsynth.metrics.spoil import ORDERS, SPOILERS, mirrored, patches, quarters, spoil


@pytest.mark.parametrize("name", SPOILERS)
def test_an_image_is_changed_by_its_seed_alone(name):
    images = slices(50)[0][:24]
    spoilt, again, other = (SPOILERS[name](images, generator(seed)) for seed in (0, 0, 1))
    assert spoilt.shape == images.shape
    assert torch.equal(spoilt, again)
    assert not torch.equal(spoilt, other)
    changes = (spoilt - images).square().mean(dim=(1, 2, 3)).sqrt()
    assert (changes > 0.01).all()


@pytest.mark.parametrize("name", SPOILERS)
def test_any_channels_and_any_height_and_width_will_do(name):
    images = torch.rand(5, 3, 30, 47, generator=generator(0)) * 2 - 1
    before = images.clone()
    assert SPOILERS[name](images, generator(1)).shape == images.shape
    assert torch.equal(images, before)


def test_what_comes_out_is_an_image():
    spoilt = spoil(slices(50)[0], generator(0))
    assert spoilt.min() >= -1
    assert spoilt.max() <= 1
    assert spoilt.isfinite().all()


def test_a_flat_image_stays_flat_when_parts_of_it_move():
    flat = torch.full((8, 1, 16, 16), 0.25)
    for name in ("blur", "ghosting", "quarters", "patches", "mirrored"):
        torch.testing.assert_close(SPOILERS[name](flat, generator(0)), flat)


def test_quarters_keep_every_pixel_and_never_their_order():
    images = torch.rand(40, 1, 16, 16, generator=generator(0))
    mixed = quarters(images, generator(0))
    torch.testing.assert_close(mixed.flatten(1).sort().values, images.flatten(1).sort().values)
    assert [0, 1, 2, 3] not in ORDERS
    assert len(ORDERS) == 23
    assert sorted(map(sorted, ORDERS)) == [[0, 1, 2, 3]] * 23


def test_patches_bring_nothing_that_was_not_there():
    images = torch.rand(6, 1, 32, 32, generator=generator(0))
    mixed = patches(images, generator(0))
    for before, after in zip(images, mixed, strict=True):
        assert torch.isin(after, before).all()


def test_a_mirrored_image_is_symmetric():
    mixed = mirrored(torch.rand(20, 1, 16, 16, generator=generator(0)), generator(0))
    across = (mixed == mixed.flip(-1)).flatten(1).all(dim=1)
    down = (mixed == mixed.flip(-2)).flatten(1).all(dim=1)
    assert (across ^ down).all()
    assert across.any()
    assert down.any()
