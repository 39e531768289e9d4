"""Path lengths: closed forms for linear generators, the authors' trimming, and what is refused."""

import math

import numpy as np
import pytest
import torch

from medsynth.attributes import Attributes
from medsynth.errors import UserError
from medsynth.metrics.features import Extractor
from medsynth.metrics.path_length import (
    generate_with,
    path_length,
    path_length_finding,
    path_length_interval,
    slerp,
    trimmed_mean,
)
from medsynth.metrics.perceptual import FeatureDistance


def squared(first, second):
    """Squared Euclidean distance: exact for linear generators."""
    return (first.double() - second.double()).square().sum(dim=(1, 2, 3))


def draw(points, first):
    """A linear generator: an image of the point's own numbers, in float64 so that nothing is rounded."""
    del first
    return points.double()[:, None, :, None]


def rows(values):
    return torch.tensor(values, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------ slerp


def test_ends_are_the_ends_and_lengths_are_kept_on_the_way():
    a, b = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0)).double()
    a, b = 3 * a / a.norm(dim=1, keepdim=True), 3 * b / b.norm(dim=1, keepdim=True)
    zero = torch.zeros(8, 1)
    torch.testing.assert_close(slerp(a, b, zero), a)
    torch.testing.assert_close(slerp(a, b, zero + 1), b)
    torch.testing.assert_close(slerp(a, b, zero + 0.3).norm(dim=1), torch.full((8,), 3.0).double())


def test_half_way_between_two_axes_is_the_diagonal():
    found = slerp(rows([[1.0, 0]]), rows([[0.0, 1]]), rows([[0.5]]))
    torch.testing.assert_close(found, rows([[math.sqrt(0.5), math.sqrt(0.5)]]))


def test_ends_in_one_direction_are_joined_by_a_line():
    found = slerp(rows([[1.0, 1]]), rows([[3.0, 3]]), rows([[0.5]]))
    torch.testing.assert_close(found, rows([[2.0, 2]]))


# ---------------------------------------------------------------------------------------------------- lengths


def ends(seed, pairs, dim):
    """Both latents of each pair, as path_length hands them to `mapping`."""
    seen = []

    def mapping(z):
        seen.append(z.double())
        return z.double()

    found = path_length(draw, latent_dim=dim, pairs=pairs, distance=squared, seed=seed, mapping=mapping)
    return torch.cat(seen[::2])[:pairs], torch.cat(seen[1::2])[:pairs], found


def test_in_w_a_linear_generators_steps_are_the_squared_distances_of_the_ends():
    start, end, found = ends(0, 20, 6)
    torch.testing.assert_close(found.steps, (end - start).square().sum(dim=1), rtol=1e-6, atol=0)


def test_in_z_a_step_is_the_squared_length_of_the_arc_for_ends_of_one_length():
    a, b = (rows([[2.0, 0, 0]]), rows([[0.0, 2, 0]]))
    step = 1e-4
    near, far = (slerp(a, b, rows([[t]])) for t in (0.4, 0.4 + step))
    assert ((far - near).square().sum() / step**2).item() == pytest.approx(4 * (math.pi / 2) ** 2, rel=1e-6)


def test_a_generator_of_one_image_has_length_zero():
    found = path_length(lambda z, first: torch.zeros(len(z), 1, 4, 4), latent_dim=4, pairs=5, distance=squared)
    assert (found.value, found.interval, found.pairs) == (0.0, (0.0, 0.0), 5)


def test_a_step_depends_on_seed_and_number_alone():
    lengths = {
        (seed, pairs): path_length(draw, latent_dim=5, pairs=pairs, distance=squared, seed=seed).steps
        for seed, pairs in [(0, 40), (0, 7), (1, 7)]
    }
    assert torch.equal(lengths[0, 40][:7], lengths[0, 7])
    assert not torch.equal(lengths[1, 7], lengths[0, 7])


def test_a_generator_twice_as_steep_is_four_times_as_long():
    once, twice = (
        path_length(lambda z, first, k=k: k * draw(z, first), latent_dim=5, pairs=30, distance=squared) for k in (1, 2)
    )
    assert twice.value == pytest.approx(4 * once.value, rel=1e-6)


def test_float32_images_resolve_the_step():
    """The same generator in float32, as models make images, within a hundredth of the float64 figure."""

    def half(points, first):
        return torch.sigmoid(draw(points, first)).float()

    def exact(points, first):
        return torch.sigmoid(draw(points, first))

    rough, fine = (path_length(g, latent_dim=16, pairs=64, distance=squared).value for g in (half, exact))
    assert rough == pytest.approx(fine, rel=0.01)


def test_both_ends_of_a_step_are_of_one_pair():
    calls = []

    def generate(points, first):
        calls.append((len(points), first))
        return draw(points, first)

    path_length(generate, latent_dim=4, pairs=20, distance=squared)
    assert calls == [(16, 0), (16, 0), (16, 16), (16, 16)]


# --------------------------------------------------------------------------------------------------- trimming


@pytest.mark.parametrize("n", [1, 5, 99, 100, 101, 250, 1000])
def test_what_is_left_out_is_what_numpys_percentiles_leave_out(n):
    steps = np.random.default_rng(n).exponential(size=n)
    low, high = np.percentile(steps, 1, method="lower"), np.percentile(steps, 99, method="higher")
    expected = steps[(low <= steps) & (steps <= high)].mean()
    assert trimmed_mean(torch.from_numpy(steps)).item() == pytest.approx(expected)


def test_one_wild_step_in_many_does_not_count():
    steps = torch.ones(300, dtype=torch.float64)
    steps[7] = 1e9
    assert trimmed_mean(steps) == 1


def test_the_interval_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        steps = torch.from_numpy(random.normal(5, 1, 80))
        low, high = path_length_interval(steps, seed=trial)
        hits += low <= 5 <= high
    assert 52 <= hits <= 60


def test_the_interval_is_deterministic_and_holds_the_value():
    found = path_length(draw, latent_dim=6, pairs=60, distance=squared)
    assert found.interval[0] < found.value < found.interval[1]
    assert found.interval == path_length_interval(found.steps)


# ---------------------------------------------------------------------------------------------------- refusals


def test_8_bit_images_are_refused():
    with pytest.raises(TypeError, match=r"need float32 images, these are torch\.uint8"):
        path_length(
            lambda z, first: torch.zeros(len(z), 1, 4, 4, dtype=torch.uint8), latent_dim=4, pairs=2, distance=squared
        )


def test_images_rounded_to_grey_levels_are_refused_unless_they_stand_still():
    def rounded(points, first):
        return (torch.sigmoid(draw(points, first)) * 255).round() / 127.5 - 1

    with pytest.raises(UserError, match="rounded to 256 grey levels"):
        path_length(rounded, latent_dim=64, pairs=64, distance=squared)
    black = path_length(lambda z, first: -torch.ones(len(z), 1, 4, 4), latent_dim=4, pairs=2, distance=squared)
    assert black.value == 0


def test_images_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="images that hold NaN"):
        path_length(lambda z, first: torch.full((len(z), 1, 4, 4), math.nan), latent_dim=4, pairs=2, distance=squared)


# ------------------------------------------------------------------------------------------------------ models


class Model:
    """Images of one value: the label plus the latent's first number."""

    latent_dim, device, needs = 3, torch.device("cpu"), frozenset({"label"})

    def generate(self, request):
        return (request["latent"][:, :1] + request["label"][:, None].float())[:, :, None, None].expand(-1, 1, 4, 4)


ATTRIBUTES = Attributes(class_names=["a", "b"], counts=[3, 5], covariates=[], ranges=[], quantiles=[[], []])


def test_a_models_pairs_keep_their_labels_which_are_those_of_images():
    made = generate_with(Model(), seed=4, attributes=ATTRIBUTES)(torch.zeros(16, 3), 32)
    assert made[:, 0, 0, 0].tolist() == ATTRIBUTES.draw(4, 32, 16)["label"].tolist()
    assert len(set(made[:, 0, 0, 0].tolist())) == 2


def test_a_model_whose_conditions_are_unknown_is_refused():
    with pytest.raises(UserError, match="the model is conditioned on label"):
        generate_with(Model(), seed=0)


class Ramp:
    """Images whose channels are the latent's first number through a squashing, and a mask that jumps."""

    latent_dim, device, needs = 3, torch.device("cpu"), frozenset()

    def __init__(self, slope=1.0):
        self.slope = slope

    def generate(self, request):
        grey = (self.slope * request["latent"][:, :1]).sigmoid()
        mask = torch.where(grey > 0.5, 1.0, -1.0)
        return torch.stack([grey, mask], dim=1)[..., None].expand(-1, 2, 16, 16)


class Grey(Extractor):
    """The mean of all channels."""

    name, dimension, resize, sha256 = "grey", 1, "none", "0"

    def __call__(self, images):
        return images.mean(dim=(1, 2, 3))[:, None]


def test_a_finding_is_the_length_of_the_images_without_their_masks():
    distance = FeatureDistance(Grey())
    found = path_length_finding(Ramp(), distance=distance, channels=1, pairs=40, seed=3)

    def grey(points, first):
        return points[:, :1].float().sigmoid()[:, :, None, None].expand(-1, 1, 16, 16)

    expected = path_length(grey, latent_dim=3, pairs=40, distance=distance, seed=3)
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)
    assert found.extra == {"pairs": 40, "distance": "features_grey", "sha256": "0"}
    assert (found.resize, found.real, found.reason, found.counts) == ("none", None, None, (0, 80))


def test_images_that_are_no_numbers_are_a_reason():
    found = path_length_finding(Ramp(math.nan), distance=FeatureDistance(Grey()), channels=1)
    assert found.value is None
    assert found.reason == "the generator made images that hold NaN or infinite values, so paths have no length"
