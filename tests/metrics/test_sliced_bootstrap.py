"""Spread of the sliced Wasserstein distance over patients."""

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance

from medsynth.latent import generator
from medsynth.metrics.bootstrap import Resample, resample
from medsynth.metrics.sliced_bootstrap import DIRECTIONS, sliced_deviations
from medsynth.metrics.sliced_wasserstein import normalise, pyramid_distance


def patches(images, *, seed, each=16, spread=0.0):
    """Patches of images that differ in a constant of deviation `spread`."""
    stream = torch.Generator().manual_seed(seed)
    own = torch.randn(images, 1, 1, generator=stream).repeat_interleave(each, dim=0)
    ramp = torch.linspace(-1, 1, 49) * own
    return torch.randn(images * each, 1, 49, generator=stream) + spread * ramp


def draws(images, rounds=200):
    return [resample(range(images), name=side, rounds=rounds) for side in ("first", "second")]


def distance(first, second):
    """Wasserstein distances along the same directions, by scipy."""
    x, y = normalise(first), normalise(second)
    stream = generator(0, "sliced bootstrap")
    directions = F.normalize(torch.randn(DIRECTIONS, x.shape[1], generator=stream), dim=1)
    pairs = zip((x @ directions.T).T.numpy(), (y @ directions.T).T.numpy(), strict=True)
    return 1e3 * sum(wasserstein_distance(a, b) for a, b in pairs) / DIRECTIONS


@pytest.mark.parametrize("channels", [1, 2])
def test_an_image_moves_the_distance_as_much_as_drawing_it_twice_or_not_at_all(channels):
    first = torch.cat([patches(200, seed=seed, each=4, spread=1.0) for seed in range(channels)], dim=1)
    second = torch.cat([patches(100, seed=9 + seed, each=4, spread=0.3) for seed in range(channels)], dim=1)
    images = first.unflatten(0, (200, 4))
    weights = torch.ones(2, 200, dtype=torch.float64)
    for chosen in (3, 77):
        weights[0, chosen], weights[1, chosen] = 2, 0
        drawn = Resample(weights.clone(), torch.arange(200)), Resample(torch.ones(2, 100).double(), torch.arange(100))
        found = sliced_deviations(first, second, *drawn)
        twice = distance(torch.cat((first, images[chosen])), second)
        never = distance(torch.cat((images[:chosen], images[chosen + 1 :])).flatten(0, 1), second)
        assert (found[0] - found[1]).item() == pytest.approx(twice - never, rel=0.03, abs=0.02)
        weights[:, chosen] = 1


def test_draws_spread_as_new_samples_do():
    def sample(seed):
        return patches(60, seed=2 * seed, spread=0.5), patches(60, seed=2 * seed + 1) + torch.linspace(-1, 1, 49)

    true = torch.tensor([pyramid_distance([a], [b])[0] for a, b in map(sample, range(40))]).std().item()
    found = [sliced_deviations(*sample(seed), *draws(60)).std().item() for seed in range(40, 44)]
    assert sum(found) / 4 == pytest.approx(true, rel=0.5)


def test_images_that_differ_more_spread_more():
    alike, varied = (
        sliced_deviations(patches(50, seed=0, spread=s), patches(50, seed=1, spread=s), *draws(50)).std()
        for s in (0.0, 2.0)
    )
    assert varied > 1.5 * alike


def test_deviations_have_no_mean_and_are_the_same_every_time():
    first, second = patches(20, seed=0), patches(30, seed=1)
    drawn = resample(range(20), name="first", rounds=50), resample(range(30), name="second", rounds=50)
    found = sliced_deviations(first, second, *drawn)
    assert found.mean().item() == pytest.approx(0, abs=1e-9)
    assert torch.equal(found, sliced_deviations(first, second, *drawn))


def test_a_constant_level_does_not_move():
    flat = torch.zeros(40, 1, 49)
    assert bool((sliced_deviations(flat, flat, *draws(10, rounds=5)) == 0).all())
