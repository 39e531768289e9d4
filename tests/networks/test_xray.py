from typing import Any

import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.networks.xray import DropoutCritic, UpsamplingGenerator


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
def test_they_take_any_power_of_two_and_any_channels(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels}
    image = UpsamplingGenerator(**shape, latent_dim=5, width=2)(torch.randn(2, 5))
    assert image.shape == (2, channels, resolution, resolution)
    assert image.abs().max() <= 1
    critic = DropoutCritic(**shape, widths=[2, 4, 4, 4])
    assert critic(image).shape == (2,)
    assert critic.features(image).shape == (2, critic.feature_count)


def test_a_critic_deeper_than_its_image_ends_at_one_place():
    critic = DropoutCritic(resolution=16, widths=[2] * 6)
    assert critic.feature_count == 2
    assert critic(torch.randn(2, 1, 16, 16)).shape == (2,)


def test_the_critic_is_the_study_s():
    critic = DropoutCritic(resolution=64)
    kinds = [type(layer) for layer in critic.layers]
    first, others = [nn.Conv2d, nn.LeakyReLU, nn.Dropout], [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.Dropout]
    assert kinds == [*first, *others, *others, *others, nn.Flatten]
    convolutions: list[Any] = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 128]
    assert {(layer.kernel_size, layer.stride) for layer in convolutions} == {((3, 3), (2, 2))}
    assert critic.feature_count == 128 * 4 * 4


@pytest.mark.parametrize("network", [UpsamplingGenerator(resolution=16, width=2), DropoutCritic(resolution=16)])
def test_keras_momentum_is_turned_around_and_is_no_epsilon(network: nn.Module):
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.2, 1e-3)}


@pytest.mark.parametrize("norm", ["none", "instance", "group"])
def test_without_batch_norm_a_logit_is_its_own_image_s(norm: str):
    critic = DropoutCritic(resolution=64, widths=[16, 32], norm=norm, dropout=0.0)
    images = torch.randn(4, 1, 64, 64)
    torch.testing.assert_close(critic(images)[:1], critic(images[:1]))


def test_dropout_leaves_out_its_share_in_training_alone():
    critic = DropoutCritic(resolution=16, widths=[64], norm="none", dropout=0.25)
    image = torch.randn(8, 1, 16, 16)
    assert (critic.features(image) == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not (critic.eval().features(image) == 0).any()


def test_he_keeps_the_critic_s_signal_without_norms():
    torch.manual_seed(0)
    image = torch.randn(32, 1, 64, 64)
    features = DropoutCritic(resolution=64, norm="none", init="he").eval().features(image)
    assert 0.3 < features.std().item() < 1.5


def test_a_critic_without_layers_is_refused():
    with pytest.raises(UserError, match=r"widths=\[\] of a critic must name the channels"):
        DropoutCritic(resolution=16, widths=[])
