import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.networks.autoencoder import BeganAutoencoder, BeganDecoder, BeganGenerator, ConvAutoencoder
from medsynth.networks.convolutional import ConvGenerator
from medsynth.networks.variational import GaussianEncoder


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
def test_autoencoders_take_any_power_of_two_and_any_channels(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels, "width": 2}
    image = torch.rand(2, channels, resolution, resolution) * 2 - 1
    for network in (ConvAutoencoder(**shape), BeganAutoencoder(**shape, code_dim=6)):
        again = network(image)
        assert again.shape == image.shape
        assert torch.equal(network.decode(network.features(image)), again)


@pytest.mark.parametrize("resolution", [16, 64, 256])
def test_began_generates_images_in_range(resolution: int):
    generator = BeganGenerator(resolution=resolution, channels=2, latent_dim=5, width=2)
    image = generator.eval()(torch.randn(3, 5))
    assert image.shape == (3, 2, resolution, resolution)
    assert image.abs().max() <= 1


def test_began_clips_in_eval_mode_alone_so_that_no_gradient_is_lost():
    generator = BeganGenerator(resolution=16, latent_dim=5, width=2)
    torch.nn.init.constant_(generator.decoder.last.bias, -3.0)
    latent = torch.randn(3, 5)
    assert generator(latent).max() < -1
    assert generator.eval()(latent).unique().tolist() == [-1]


def test_codes_have_the_papers_sizes():
    image = torch.rand(2, 1, 64, 64)
    assert BeganAutoencoder(resolution=64, width=2, code_dim=64).features(image).shape == (2, 64)
    assert ConvAutoencoder(resolution=64, width=4).features(image).shape == (2, 16 * 8 * 8)


def test_began_widens_linearly_towards_the_code():
    layers = [layer for layer in BeganAutoencoder(resolution=64, width=3).encoder if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels // 3 for layer in layers] == [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4]


def test_began_normalises_between_its_first_and_last_convolution():
    def kinds(network: nn.Module) -> list[type]:
        return [type(layer) for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]

    critic = BeganAutoencoder(resolution=32, width=2, norm="batch")
    assert kinds(critic.encoder) == [nn.Conv2d, *[nn.Conv2d, nn.BatchNorm2d] * 8]
    assert kinds(critic.decoder) == [*[nn.Conv2d, nn.BatchNorm2d] * 6, nn.Conv2d]
    assert kinds(BeganGenerator(resolution=32, width=2, norm="batch")) == kinds(critic.decoder)
    assert nn.BatchNorm2d not in kinds(BeganAutoencoder(resolution=32, width=2))  # as the paper


@pytest.mark.parametrize("skips", [False, True])
def test_skips_show_the_code_to_every_side(skips: bool):
    torch.manual_seed(0)
    decoder = BeganDecoder(resolution=32, code_dim=5, width=3, skips=skips)
    for weight in decoder.stages[0].parameters():
        nn.init.zeros_(weight)
    one, other = decoder(torch.randn(2, 5))
    assert torch.equal(one, other) != skips


def test_normal_latents_become_uniform_ones():
    torch.manual_seed(0)
    generator = BeganGenerator(resolution=16, latent_dim=200, width=1)
    seen: list[torch.Tensor] = []
    generator.decoder.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    generator(torch.randn(100, 200))
    shares = torch.histc(seen[0], bins=10, min=-1, max=1) / seen[0].numel()
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("resolution", [16, 32, 64, 256])
def test_the_encoder_gives_a_gaussian_that_the_generator_takes(resolution: int, channels: int):
    shape = {"resolution": resolution, "channels": channels, "latent_dim": 7, "width": 2}
    image = torch.rand(3, channels, resolution, resolution)
    mean, log_variance = GaussianEncoder(**shape)(image)
    assert mean.shape == log_variance.shape == (3, 7)
    assert ConvGenerator(**shape)(mean).shape == image.shape


def test_the_encoder_and_the_generator_are_mirror_images():
    def maps(network: nn.Module, kind: type) -> list[tuple[int, int]]:
        return [(layer.in_channels, layer.out_channels) for layer in network.modules() if isinstance(layer, kind)]

    down = maps(GaussianEncoder(resolution=64, width=4), nn.Conv2d)
    up = maps(ConvGenerator(resolution=64, width=4), nn.ConvTranspose2d)[1:]
    assert [(after, before) for before, after in down] == up[::-1]


def test_the_gaussian_of_half_precision_is_float32():
    encoder = GaussianEncoder(resolution=16, width=2, latent_dim=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, log_variance = encoder(torch.rand(2, 1, 16, 16))
    assert mean.dtype == log_variance.dtype == torch.float32


def test_impossible_sizes_are_refused():
    with pytest.raises(UserError, match="resolution=48 must be a power of two"):
        BeganAutoencoder(resolution=48)
    with pytest.raises(UserError, match="width=0 must be a whole number of at least 1"):
        BeganGenerator(resolution=32, width=0)
    with pytest.raises(UserError, match="norm=layr is unknown"):
        ConvAutoencoder(resolution=32, norm="layr")
