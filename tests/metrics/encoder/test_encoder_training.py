"""What the encoder's training promises: its loss is the paper's, its seed decides, and its classifier works."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medsynth.errors import UserError
from medsynth.latent import generator
from medsynth.metrics.encoder.training import accuracy, logistic_regression, train_encoder, vicreg, view
from medsynth.metrics.frechet import frechet_distance, moments


def bars(count, *, seed=0, channels=1):
    """Images with an upright (1) or lying (0) bar at a random place, and which."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = random.normal(-0.6, 0.1, (count, channels, 32, 32)).astype(np.float32)
    for image, label, place in zip(images, labels, random.integers(2, 24, count), strict=True):
        image[(..., slice(place, place + 5)) if label else (..., slice(place, place + 5), slice(None))] += 1
    return torch.from_numpy(images), labels


def quiet(line):
    del line


@pytest.fixture(scope="module")
def trained():
    images, labels = bars(64)
    return train_encoder(images.split(30), labels, class_names=["lying", "upright"], seed=1, steps=8, progress=quiet)


def test_equal_views_with_unit_deviations_and_no_covariances_cost_nothing():
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * 2
    torch.testing.assert_close(vicreg(corners, corners), torch.tensor(0.0))


def test_a_collapsed_embedding_pays_the_whole_hinge():
    """25 * (1 - sqrt(1e-4)) for both views together, nothing else."""
    z = torch.ones(8, 3)
    torch.testing.assert_close(vicreg(z, z), torch.tensor(25 * 0.99))


def test_a_shift_between_views_pays_its_square():
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * 2
    torch.testing.assert_close(vicreg(corners, corners + 0.5), torch.tensor(25 * 0.25))


def test_equal_dimensions_pay_their_covariance():
    """Both dimensions have variance v = 16/3: off-diagonal entries v, twice, over d = 2, in each of two views."""
    z = torch.tensor([[2.0, 2], [2, 2], [-2, -2], [-2, -2]])
    torch.testing.assert_close(vicreg(z, z), torch.tensor(2 * (16 / 3) ** 2))


def test_a_view_is_a_crop_within_the_image_and_stretches_grey_values():
    flat = torch.full((64, 1, 16, 16), 0.5)
    seen = view(flat, generator(0, "view"))
    assert seen.shape == flat.shape
    assert (seen.amax(dim=(1, 2, 3)) - seen.amin(dim=(1, 2, 3))).max() < 1e-6
    assert seen.min() >= 0.5 * 0.8 - 0.1 - 1e-6
    assert seen.max() <= 0.5 * 1.2 + 0.1 + 1e-6
    ramp = torch.linspace(-1, 1, 16).expand(64, 1, 16, 16)
    slopes = view(ramp, generator(0, "view")).diff(dim=-1).mean(dim=(1, 2, 3)) / ramp.diff().mean()
    assert bool((slopes > 0.75 * 0.8 - 0.1).all())  # never flipped
    assert slopes.std() > 0.05


def test_logistic_regression_finds_the_log_odds():
    """One feature that is 1 or 0: with next to no ridge, odds are the frequencies."""
    x = torch.tensor([[1.0]] * 8 + [[0.0]] * 8)
    y = torch.tensor([1] * 6 + [0] * 2 + [1] * 4 + [0] * 4)
    weight, bias = logistic_regression(x, y, classes=2, ridge=1e-8)
    odds = F.linear(torch.tensor([[1.0], [0.0]]).double(), weight, bias).softmax(dim=1)[:, 1]
    torch.testing.assert_close(odds, torch.tensor([0.75, 0.5]).double(), atol=1e-4, rtol=0)


def test_equal_seeds_give_equal_weights_and_leave_torchs_own_stream_alone():
    images, labels = bars(24)
    before = torch.random.get_rng_state()
    first, again = (
        train_encoder(batches, labels, class_names=["lying", "upright"], seed=1, steps=2, progress=quiet)
        for batches in (images.split(24), images.split(17))
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.sha256 == first.sha256
    other = train_encoder([images], labels, class_names=["lying", "upright"], seed=2, steps=2, progress=quiet)
    assert other.sha256 != first.sha256


def test_features_of_the_training_images_are_standardised(trained):
    features = trained(bars(64)[0]).double()
    assert features.shape == (64, trained.dimension)
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(trained.dimension).double(), atol=1e-2, rtol=0)
    deviation = features.std(dim=0)
    assert bool(((deviation - 1).abs() < 1e-2).logical_or(deviation < 1e-3).all())
    assert (deviation > 0.5).float().mean() > 0.8


def test_the_classifier_knows_images_it_has_not_seen(trained):
    images, labels = bars(64, seed=5)
    found = accuracy(trained, images.split(20), labels)
    assert found is not None
    assert found.images == 64
    assert found.share > 0.9
    assert found.balanced > 0.9
    probabilities = trained.probabilities(trained(images))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(64).double())


def test_balanced_accuracy_counts_classes_not_images(trained):
    images, labels = bars(64, seed=5)
    mostly = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:3]])
    swapped = np.where(labels[mostly] == 1, 0, labels[mostly])  # the three are called what they are not
    swapped[-1] = 1
    found = accuracy(trained, [images[mostly]], swapped)
    assert found is not None
    assert found.share < 1
    assert found.balanced > found.share
    assert accuracy(trained, [images], np.full(64, -1)) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda x, s: F.avg_pool2d(F.pad(x, (s, s, s, s), mode="replicate"), 2 * s + 1, stride=1),
        lambda x, s: x + 0.2 * s * torch.randn(x.shape, generator=torch.Generator().manual_seed(9)),
        lambda x, s: x * (1 - 0.2 * s),
    ],
    ids=["blur", "noise", "contrast"],
)
def test_more_damage_is_further_from_the_original(damage, trained):
    images, _ = bars(128, seed=7)
    distances = [
        frechet_distance(moments(trained(images)), moments(trained(damage(images, strength)))) for strength in (1, 2, 3)
    ]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(15, 1, 16, 16), "15 training images are too few for an encoder; it needs at least 16"),
        (torch.full((16, 1, 16, 16), math.nan), "training images hold NaN or infinite values"),
    ],
)
def test_images_that_teach_nothing_are_refused(images, words):
    with pytest.raises(UserError, match=words):
        train_encoder([images], steps=1, progress=quiet)


def test_a_class_without_images_is_refused():
    with pytest.raises(UserError, match="class 'b' has no training image"):
        train_encoder([bars(16)[0]], np.zeros(16, dtype=np.int64), class_names=["a", "b"], steps=1, progress=quiet)


def test_identical_images_train_to_constant_features_not_to_nan():
    encoder = train_encoder([torch.zeros(16, 1, 16, 16)], steps=2, progress=quiet)
    assert bool(encoder(torch.zeros(2, 1, 16, 16)).isfinite().all())


def test_unlabelled_images_train_the_features_and_not_the_classifier():
    images, labels = bars(32)
    labels[:8] = -1
    encoder = train_encoder([images], labels, class_names=["lying", "upright"], steps=1, progress=quiet)
    assert encoder.class_names == ("lying", "upright")
