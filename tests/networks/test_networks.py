import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.networks import check_resolution
from medsynth.networks.convolutional import ConvCritic, ConvGenerator, halving, initialise, stage_widths
from medsynth.networks.dense import DenseCritic, DenseGenerator


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
def test_convolutional_networks_take_any_power_of_two_and_any_channels(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels, "width": 2}
    image = ConvGenerator(**shape, latent_dim=5)(torch.randn(2, 5))
    assert image.shape == (2, channels, resolution, resolution)
    assert image.abs().max() <= 1
    assert ConvCritic(**shape)(image).shape == (2,)


@pytest.mark.parametrize(("resolution", "channels"), [(16, 1), (32, 3)])
def test_dense_networks_give_images_and_logits(resolution: int, channels: int):
    image = DenseGenerator(resolution=resolution, channels=channels, latent_dim=5, widths=[8])(torch.randn(3, 5))
    assert image.shape == (3, channels, resolution, resolution)
    assert DenseCritic(resolution=resolution, channels=channels, widths=[8])(image).shape == (3,)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_dense_generators_mean_before_tanh_is_its_bias_unless_the_norm_comes_first(norm_first: bool):
    generator = DenseGenerator(resolution=16, latent_dim=5, widths=[32, 32], norm_first=norm_first)
    *hidden, last, _, _ = generator.layers
    before_tanh = last(nn.Sequential(*hidden)(torch.randn(64, 5)))
    away = (before_tanh.mean(dim=0) - last.bias).abs()
    assert away.median() > 0.01 if norm_first else away.max() < 1e-5


@pytest.mark.parametrize("minibatch_stddev", [False, True])
def test_a_dense_critic_reads_as_many_features_as_it_has(minibatch_stddev: bool):
    critic = DenseCritic(resolution=16, widths=[8, 4], dropout=0.4, minibatch_stddev=minibatch_stddev)
    assert critic.features(torch.randn(4, 1, 16, 16)).shape == (4, critic.feature_count) == (4, 4 + minibatch_stddev)


def test_the_critic_halves_down_to_four_places_a_side_with_a_norm_in_all_layers_but_the_first():
    layers = halving(3, [2, 4, 8], norm="batch", leak=0.2)
    assert nn.Sequential(*layers)(torch.randn(2, 3, 32, 32)).shape == (2, 8, 4, 4)
    assert [layer.bias is None for layer in layers if isinstance(layer, nn.Conv2d)] == [False, True, True]
    assert [layer.num_features for layer in layers if isinstance(layer, nn.BatchNorm2d)] == [4, 8]


def test_widths_double_towards_the_smallest_map_up_to_the_cap():
    assert stage_widths(128, width=32, max_width=128) == [128, 128, 128, 64, 32]
    assert stage_widths(64, width=8, max_width=50, full=True) == [50, 50, 32, 16, 8]


@pytest.mark.parametrize(("resolution", "nearest"), [(96, "64, 128"), (8, "16"), (2000, "1024"), (0, "16")])
def test_other_resolutions_are_refused_with_the_nearest(resolution: int, nearest: str):
    with pytest.raises(UserError, match=f"resolution={resolution} must be a power of two.*nearest: {nearest}$"):
        check_resolution(resolution)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_every_norm_is_a_choice_of_both_sides(norm: str):
    image = ConvGenerator(resolution=16, width=4, norm=norm)(torch.randn(2, 100))
    assert ConvCritic(resolution=16, width=4, norm=norm)(image).isfinite().all()


def test_unknown_norms_and_inits_are_named():
    with pytest.raises(UserError, match="norm=layr is unknown; choices: batch"):
        ConvCritic(resolution=16, norm="layr")
    with pytest.raises(UserError, match="init=xavier is unknown; choices: dcgan, he"):
        ConvCritic(resolution=16, init="xavier")


def test_he_keeps_the_signal_through_layers_without_norms():
    torch.manual_seed(0)
    image = torch.randn(64, 1, 64, 64)
    spread = {}
    for init in ("he", "dcgan"):
        critic = ConvCritic(resolution=64, width=16, norm="none", init=init)
        spread[init] = critic.layers[:-1](image).std().item()
    assert 0.4 < spread["he"] < 1.5
    assert spread["dcgan"] < 0.1


def test_he_keeps_the_signal_through_transposed_convolutions():
    torch.manual_seed(0)
    generator = ConvGenerator(resolution=64, width=16, norm="none", init="he")
    hidden = generator.layers[:-2](torch.randn(256, 100)[:, :, None, None])
    assert 0.3 < hidden.square().mean().sqrt() < 3


def test_dcgan_weights_have_a_deviation_of_two_hundredths():
    layer = nn.Conv2d(64, 64, 4)
    initialise(layer, "dcgan")
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not layer.bias.any()
