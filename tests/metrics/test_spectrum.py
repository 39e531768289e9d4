"""Radial power spectrum: closed forms, a slow reference, direction, and streaming."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medsynth.metrics.bootstrap import resample
from medsynth.metrics.spectrum import (
    radial_profiles,
    spectrum,
    spectrum_deviations,
    spectrum_distance,
)
from medsynth.metrics.undefined import Undefined


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(first, second):
    return spectrum_distance(spectrum(radial_profiles(first)), spectrum(radial_profiles(second)))


def test_white_noise_of_unit_deviation_has_a_power_of_one_everywhere():
    profile = (10 ** radial_profiles(noise(200, 1, 32, 32))).mean(dim=0)
    torch.testing.assert_close(profile, torch.ones(17), atol=0.12, rtol=0)


def test_a_wave_shows_on_its_ring_alone():
    rows = torch.arange(64)[:, None].expand(64, 48)
    wave = torch.cos(2 * torch.pi * 8 * rows / 64)[None, None]  # 8 periods over 64 pixels are 6 over the shorter 48
    profile = radial_profiles(wave)[0]
    assert profile.argmax() == 6
    assert bool((profile[torch.arange(25) != 6] < profile[6] - 5).all())


@pytest.mark.parametrize("shape", [(16, 16), (17, 15), (20, 33), (9, 8)])
def test_profiles_equal_a_mean_over_the_whole_transform(shape):
    image = noise(1, 2, *shape)
    power = (np.abs(np.fft.fft2(image[0].double().numpy())) ** 2 / np.prod(shape)).mean(axis=0)
    rows, columns = (np.fft.fftfreq(side).astype(np.float32) for side in shape)
    rings = np.round(np.hypot(rows[:, None], columns) * np.float32(min(shape)))
    expected = [np.log10(power[rings == ring].mean()) for ring in range(min(shape) // 2 + 1)]
    np.testing.assert_allclose(radial_profiles(image)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_constant_image_has_the_floor_as_its_detail():
    profile = radial_profiles(torch.full((1, 1, 16, 16), 0.5))
    torch.testing.assert_close(profile[0, 1:], torch.full((8,), -10.0))


def test_twice_the_contrast_is_a_distance_of_the_logarithm_of_four():
    images = noise(4, 1, 32, 32)
    assert distance(images, 2 * images) == pytest.approx(np.log10(4), rel=1e-5)
    assert distance(images, images) == 0


def test_distance_grows_with_blur_and_with_a_grid():
    images = noise(32, 1, 32, 32)
    blurred = [F.avg_pool2d(F.pad(images, (side // 2,) * 4, mode="reflect"), side, 1) for side in (3, 5, 7)]
    found = [distance(noise(32, 1, 32, 32, seed=1), one) for one in (images, *blurred)]
    assert found == sorted(found)
    grid = images.clone()
    grid[..., ::2, ::2] += 1
    assert distance(noise(32, 1, 32, 32, seed=1), grid) > 1.5 * found[0]


def test_draws_spread_as_new_samples_do():
    profiles = [radial_profiles(noise(50, 1, 16, 16, seed=s) * (1.5 if s % 2 else 1)) for s in range(80)]
    true = torch.tensor(
        [spectrum_distance(spectrum(a), spectrum(b)) for a, b in zip(profiles[::2], profiles[1::2], strict=True)]
    )
    drawn = (resample(range(50), name=side) for side in ("real", "fake"))
    assert spectrum_deviations(*profiles[:2], *drawn).std().item() == pytest.approx(true.std().item(), rel=0.4)


def test_a_set_without_images_is_refused_in_words():
    nothing = spectrum(radial_profiles(torch.zeros(1, 1, 16, 16))[:0])
    with pytest.raises(Undefined, match="needs an image of at least 2x2 pixels on each side"):
        spectrum_distance(nothing, spectrum(radial_profiles(torch.zeros(1, 1, 16, 16))))
