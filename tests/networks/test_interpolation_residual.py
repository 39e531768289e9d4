from itertools import pairwise
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from medsynth.errors import UserError
from medsynth.networks.interpolation_residual import InterpolationResidualGenerator, LightPath, check_wiring

SMALL, V1, V2 = (1.0,), (2.0,), (1.0, 1.0)


def generator(skips: tuple[float, ...] = SMALL, *, resolution: int = 64, **changes: Any):
    """A narrow one in eval mode, in double precision, with weights large enough to be seen."""
    torch.manual_seed(0)
    sizes = {"resolution": resolution, "latent_dim": 6, "width": 4}
    return InterpolationResidualGenerator(**{**sizes, "skips": skips, "init": "he", **changes}).eval().double()


def latents() -> Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(1)).double()


def silence(*networks: nn.Module) -> None:
    """Every weight, bias and scale of these becomes 0."""
    for weight in (weight for network in networks for weight in network.parameters()):
        nn.init.zeros_(weight)


def light(path: nn.Module, x: Tensor, *, by: int) -> Tensor:
    """p as the study says it: interpolate, then convolve."""
    up = interpolate(x, scale_factor=by, mode="bilinear")
    return conv2d(up, path.convolution.weight, path.convolution.bias)


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("skips", [(), SMALL, V1, V2])
def test_it_takes_any_power_of_two_and_any_channels(skips: Any, resolution: int, channels: int, kernel: bool):
    image = generator(skips, resolution=resolution, channels=channels, kernel=kernel, width=2)(latents())
    assert image.shape == (3, channels, resolution, resolution)
    assert image.abs().max() <= 1


def test_the_study_has_four_blocks_at_64_and_five_at_128():
    assert len(generator(resolution=64).blocks) == 4
    assert len(generator(resolution=128).blocks) == 5


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_light_path_interpolates_and_then_convolves(factor: int, interpolation: str):
    path, x = LightPath(5, 3, factor=factor, interpolation=interpolation).double(), torch.randn(2, 5, 8, 8).double()
    torch.testing.assert_close(path(x), path.convolution(interpolate(x, scale_factor=factor, mode=interpolation)))


def test_without_its_blocks_only_the_light_paths_remain():
    network = generator()
    silence(network.blocks)
    x = network.linear(latents()).view(-1, 1, 4, 4)
    for (path,) in network.paths[:-1]:
        x = light(path, x, by=2).relu()
    (last,) = network.paths[-1]
    torch.testing.assert_close(network(latents()), light(last, x, by=2).tanh())


@pytest.mark.parametrize(("skips", "kernel"), [(SMALL, False), (V1, True), (V2, True)])
def test_every_layer_is_the_study_s_sum(skips: tuple[float, ...], kernel: bool):
    network = generator(skips, resolution=128, kernel=kernel)
    maps = [network.kernel(network.linear(latents()).view(-1, 1, 4, 4))]
    for block, paths in zip(network.blocks, network.paths, strict=True):
        total = block(maps[-1])
        match skips:
            case (1.0,):
                total = total + light(paths[0], maps[-1], by=2)
            case (2.0,):
                total = total + light(paths[0], maps[-1], by=2) + light(paths[0], maps[-1], by=2)
            case _ if len(maps) > 1:
                total = total + light(paths[0], maps[-1], by=2) + light(paths[1], maps[-2], by=4)
            case _:
                total = total + light(paths[0], maps[-1], by=2)
        maps.append(total.relu())
    torch.testing.assert_close(network(latents()), total.tanh())


def test_version_1_is_the_small_gan_with_its_light_paths_doubled():
    first, small = generator(V1), generator(SMALL)
    small.load_state_dict(first.state_dict())
    assert not torch.allclose(first(latents()), small(latents()))
    with torch.no_grad():
        for weight in small.paths.parameters():
            weight *= 2
    torch.testing.assert_close(first(latents()), small(latents()))


def test_version_2_without_its_longer_paths_is_the_small_gan():
    second, small = generator(V2), generator(SMALL)
    small.load_state_dict(second.state_dict(), strict=False)
    for _, longer in second.paths[1:]:
        silence(longer)
    torch.testing.assert_close(second(latents()), small(latents()))


def test_version_2_adds_the_layer_before_the_last_interpolated_by_four():
    network = generator(V2, resolution=64)
    silence(network.blocks, *(paths[0] for paths in network.paths))
    x_0 = network.linear(latents()).view(-1, 1, 4, 4)  # x_1 = 0, x_3 = 0
    x_2 = light(network.paths[1][1], x_0, by=4).relu()
    assert x_2.any()
    torch.testing.assert_close(network(latents()), light(network.paths[3][1], x_2, by=4).tanh())
    assert [len(paths) for paths in network.paths] == [1, 2, 2, 2]  # x_{-1} is not there


def test_a_delta_as_kernel_changes_nothing():
    plain, filtered = generator(), generator(kernel=True)
    filtered.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(filtered(latents()), plain(latents()))
    nn.init.dirac_(filtered.kernel.weight)
    torch.testing.assert_close(filtered(latents()), plain(latents()))


def test_the_kernel_is_one_trainable_filter_drawn_from_the_standard_normal():
    draws = []
    for seed in range(200):
        torch.manual_seed(seed)
        network = InterpolationResidualGenerator(resolution=16, width=1, latent_dim=1, kernel=True, init="dcgan")
        draws.append(network.kernel.weight.detach())
    assert draws[0].shape == (1, 1, 3, 3)
    assert torch.stack(draws).std().item() == pytest.approx(1.0, abs=0.06)
    assert abs(torch.stack(draws).mean().item()) < 0.1
    network(torch.ones(2, 1)).sum().backward()
    assert network.kernel.weight.grad.any()


def test_no_channels_are_concatenated_and_a_path_costs_little():
    network = generator(V2, resolution=128, width=8)
    widths = [1, 64, 32, 16, 8, 1]
    assert [block[0].in_channels for block in network.blocks] == widths[:-1]
    for (before, after), block, paths in zip(pairwise(widths), network.blocks, network.paths, strict=True):
        assert prod(paths[0].convolution.weight.shape) == before * after
        assert prod(block[0].weight.shape) == 16 * before * after


def test_the_published_starts_are_not_saturated():
    torch.manual_seed(0)
    for skips, kernel in ((SMALL, False), (V1, True), (V2, True)):
        network = InterpolationResidualGenerator(resolution=128, skips=skips, kernel=kernel, width=16)
        image = network(torch.randn(16, 128))
        assert (image.abs() > 0.95).float().mean() < 0.01
        assert image.std() > 0.05


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        (("v1", True, "nearest"), r"skips=v1 must be a list of numbers: \[1\] Small GAN"),
        (([None], True, "nearest"), r"skips=\[None\] must be a list of numbers"),
        ((2, True, "nearest"), "skips=2 must be a list of numbers"),
        (([1], 3, "nearest"), "kernel=3 must be true or false"),
        (([1], True, "cubic"), "interpolation=cubic is unknown; choices: bilinear, nearest"),
    ],
)
def test_wrong_wirings_are_named(wiring: tuple[Any, Any, Any], message: str):
    with pytest.raises(UserError, match=message):
        check_wiring(*wiring)
