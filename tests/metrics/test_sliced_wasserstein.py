"""Sliced Wasserstein distance: its pyramid, its patches and its closed forms."""

import pytest
import torch
import torch.nn.functional as F

from medsynth.metrics.sliced_wasserstein import (
    PatchSample,
    collapse,
    equally_many,
    extract_patches,
    laplacian_pyramid,
    normalise,
    pyramid_distance,
    sliced_wasserstein,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def patches(images):
    return [found.flatten(0, 1) for found in sampled(images).compute()]


def sampled(images, *, batches=1, first=0):
    sample = PatchSample(first=first)
    for part in images.tensor_split(batches):
        sample.update(part)
    return sample


@pytest.mark.parametrize(
    ("shape", "sides"), [((64, 64), [64, 32, 16]), ((16, 16), [16]), ((33, 50), [33, 17]), ((128, 64), [64, 32, 16])]
)
def test_pyramid_has_a_level_for_each_halving_down_to_16_pixels(shape, sides):
    assert [min(level.shape[-2:]) for level in laplacian_pyramid(noise(2, 1, *shape))] == sides


@pytest.mark.parametrize("shape", [(64, 64), (37, 50)])
def test_pyramid_collapses_to_the_image(shape):
    images = noise(2, 3, *shape)
    torch.testing.assert_close(collapse(laplacian_pyramid(images)), images)


def test_a_constant_image_has_no_detail():
    finest, coarsest = laplacian_pyramid(torch.full((1, 1, 32, 32), 0.7))
    torch.testing.assert_close(finest, torch.zeros_like(finest), atol=1e-6, rtol=0)
    torch.testing.assert_close(coarsest, torch.full_like(coarsest, 0.7))


def test_patches_are_cut_where_they_are_asked_for():
    images = noise(2, 3, 16, 20)
    places = torch.tensor([[[0.0, 0.0], [0.999, 0.999]], [[0.5, 0.0], [0.0, 0.5]]])
    cut = extract_patches(images, places)
    assert cut.shape == (2, 2, 3, 49)
    torch.testing.assert_close(cut[0, 0], images[0, :, :7, :7].flatten(1))
    torch.testing.assert_close(cut[0, 1], images[0, :, 9:, 13:].flatten(1))
    torch.testing.assert_close(cut[1, 0], images[1, :, 5:12, :7].flatten(1))


def test_distance_of_points_on_a_line_is_the_shift():
    x = noise(500, 1)
    assert sliced_wasserstein(x, x + 0.25) == pytest.approx(0.25, rel=1e-4)


def test_distance_is_zero_between_equal_sets_and_the_same_every_time():
    x, y = noise(300, 5), noise(300, 5, seed=1)
    assert sliced_wasserstein(x, x[torch.randperm(300)]) == pytest.approx(0, abs=1e-6)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y) == sliced_wasserstein(y, x)


def test_distance_of_shifted_points_shrinks_with_the_root_of_the_dimension():
    # The mean of |<u, e>| over unit vectors u of d dimensions is Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)).
    x = noise(100, 49)
    found = [sliced_wasserstein(x, x + 2 * axis) for axis in torch.eye(49)[::6]]
    expected = 2 * torch.exp(torch.lgamma(torch.tensor(24.5)) - torch.lgamma(torch.tensor(25.0))) / torch.pi**0.5
    assert sum(found) / len(found) == pytest.approx(expected.item(), rel=0.04)


def test_patches_are_normalised_by_channel():
    flat = normalise(noise(100, 2, 49) * torch.tensor([1.0, 9.0])[:, None] + 3).unflatten(1, (2, 49))
    torch.testing.assert_close(flat.mean(dim=(0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat.std(dim=(0, 2), correction=0), torch.ones(2))
    assert bool((normalise(torch.ones(4, 1, 49)) == 0).all())


def test_patches_do_not_depend_on_how_the_set_was_cut():
    images = noise(7, 1, 32, 32)
    assert equal(sampled(images, batches=3), sampled(images))


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.compute(), second.compute(), strict=True))


def test_fewer_patches_come_from_each_image_of_a_large_set_however_it_was_cut(monkeypatch):
    from medsynth.metrics import sliced_wasserstein

    monkeypatch.setattr(sliced_wasserstein, "MOST_PATCHES", 512)
    images = noise(40, 1, 16, 16)
    assert [sampled(images[:n]).each for n in (1, 4, 8, 40)] == [128, 128, 64, 12]
    whole = sampled(images)
    assert [found.shape for found in whole.compute()] == [(40, 12, 1, 49)]
    halves = sampled(images[:18], batches=5), sampled(images[18:], batches=7, first=18)
    halves[0].append(halves[1])
    assert equal(sampled(images, batches=9), whole)
    assert equal(halves[0], whole)
    held = sum(len(part) * part.shape[1] for part in sampled(images, batches=40).levels[0])
    assert held <= 2 * 512


def test_images_of_either_side_give_equally_many_patches():
    few, many = ([noise(n, each, 1, 49)] for n, each in ((3, 128), (5, 32)))
    found = equally_many(few, many)
    assert [side[0].shape for side in found] == [(96, 1, 49), (160, 1, 49)]
    assert torch.equal(found[0][0], few[0][:, :32].flatten(0, 1))


def test_blur_shows_at_the_finest_level_and_displacement_at_the_coarsest():
    scenes = F.interpolate(noise(64, 1, 8, 8), size=(64, 64), mode="bilinear") + 0.3 * noise(64, 1, 64, 64, seed=1)
    ramp = torch.linspace(-2, 2, 64)
    anatomy = scenes + ramp
    mirrored = scenes.flip(-1) + ramp.flip(0)
    blurred = F.avg_pool2d(anatomy, 3, stride=1, padding=1, count_include_pad=False)
    by_blur = pyramid_distance(patches(anatomy), patches(blurred))
    by_place = pyramid_distance(patches(anatomy), patches(mirrored))
    assert by_blur[0] > 2 * by_blur[-1]
    assert by_place[-1] > 2 * by_place[0]
