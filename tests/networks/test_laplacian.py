from functools import partial

import pytest
import torch

from medsynth.errors import UserError
from medsynth.networks.dense import DenseCritic
from medsynth.networks.laplacian import (
    CoarseGenerator,
    ConditionalHighPass,
    HighPassGenerator,
    check_start,
    collapse,
    down,
    laplacian,
    low_pass,
    up,
)


@pytest.mark.parametrize(("resolution", "start"), [(16, 8), (32, 4), (64, 8)])
def test_a_pyramid_gives_its_image_back(resolution: int, start: int):
    image = torch.rand(2, 3, resolution, resolution, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(collapse(*laplacian(image, start=start)), image, rtol=0, atol=1e-15)


def test_each_level_has_twice_the_side_of_the_next_coarser():
    coarsest, residuals = laplacian(torch.rand(2, 1, 64, 64), start=8)
    assert coarsest.shape == (2, 1, 8, 8)
    assert [residual.shape[-1] for residual in residuals] == [16, 32, 64]


def test_a_constant_image_has_no_residuals():
    coarsest, residuals = laplacian(torch.full((1, 2, 32, 32), 0.3), start=4)
    torch.testing.assert_close(coarsest, torch.full((1, 2, 4, 4), 0.3))
    assert all(residual.abs().max() < 1e-6 for residual in residuals)


def test_a_low_pass_stays_in_the_range_of_its_image():
    image = torch.rand(2, 1, 32, 32).round() * 2 - 1
    assert low_pass(image).abs().max() <= 1


def test_down_blurs_with_one_three_three_one():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8, 8] = 1
    taps = torch.tensor([3, 1]) / 8  # of the output pixels 4 and 5; output 4 covers the inputs 7 to 10
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., 4:6, 4:6] = 0
    expected[..., 3:5, 3:5] = torch.outer(taps.flip(0), taps.flip(0))
    torch.testing.assert_close(down(image), expected)


def test_up_is_the_transpose_of_down_but_for_the_border():
    """<down x, y> = <x, up y> / 4 away from the border."""
    fine, coarse = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 16, 16)
    fine[..., 6:26, 6:26], coarse[..., 4:12, 4:12] = torch.rand(20, 20), torch.rand(8, 8)
    torch.testing.assert_close((down(fine) * coarse).sum(), (fine * up(coarse)).sum() / 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_of_a_level_fit_any_side_and_channels(channels: int):
    image = CoarseGenerator(side=8, channels=channels, latent_dim=5, widths=[6])(torch.randn(2, 5))
    assert image.shape == (2, channels, 8, 8)
    assert image.abs().max() <= 1
    assert DenseCritic(resolution=8, channels=channels, widths=[6])(image).shape == (2,)
    generator = HighPassGenerator(channels=channels, width=4)
    for side in (16, 64):
        low = torch.rand(2, channels, side, side)
        assert generator(torch.randn(2, 1, side, side), low).shape == low.shape


def test_a_coarse_critic_may_compare_the_images_of_a_batch():
    torch.manual_seed(0)
    image = torch.randn(4, 1, 8, 8)
    for minibatch_stddev in (False, True):
        critic = DenseCritic(resolution=8, widths=[6], minibatch_stddev=minibatch_stddev)
        features = critic.features(image)
        assert features.shape == (4, critic.feature_count) == (4, 6 + minibatch_stddev)
        alone = critic.features(image[:1])
        torch.testing.assert_close(features[:1, :6], alone[:, :6])
    torch.testing.assert_close(features[:, 6], features[:, :6].std(0, correction=0).mean().expand(4), atol=1e-3, rtol=0)


def test_the_residual_depends_on_noise_and_low_pass():
    generator = HighPassGenerator(width=4, norm="none")
    noise, low = torch.randn(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    assert not torch.equal(generator(noise, low), generator(torch.randn(2, 1, 16, 16), low))
    assert not torch.equal(generator(noise, low), generator(noise, low + 0.1))


def test_an_untrained_level_hardly_changes_its_low_pass():
    torch.manual_seed(0)
    noise, low = torch.randn(8, 1, 32, 32), torch.rand(8, 1, 32, 32) * 2 - 1
    assert 0.01 < HighPassGenerator()(noise, low).std() < 0.2


@pytest.mark.parametrize("start", [12, 32, "8", None])
def test_a_coarsest_side_that_cannot_be_is_refused(start: object):
    with pytest.raises(
        UserError, match=f"model.start={start} is no coarsest side for resolution=32; choices: 4, 8, 16$"
    ):
        check_start(start, 32)


def test_a_conditional_level_makes_another_residual_for_another_class():
    network = ConditionalHighPass(network=partial(HighPassGenerator, width=4), side=16, channels=2, classes=3)
    noise, low = torch.randn(1, 1, 16, 16), torch.zeros(1, 2, 16, 16)
    first, second = (network.eval()(noise, low, label=torch.tensor([label])) for label in (0, 1))
    assert first.shape == (1, 2, 16, 16)
    assert not torch.equal(first, second)
