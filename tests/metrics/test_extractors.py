"""Extractors: `random` is the same everywhere and sees what it should; `inception` says what it lacks."""

import io
import re

import pytest
import torch
import torch.nn.functional as F

from medsynth.errors import UserError
from medsynth.metrics.features import MissingWeights, resize
from medsynth.metrics.frechet import frechet_distance, moments
from medsynth.metrics.inception import FILE, Inception, cached_weights, load_inception, to_rgb8
from medsynth.metrics.random_features import RandomConvolutions


def images(count=64, *, side=64, channels=1, seed=0):
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def distance(first, second):
    extract = RandomConvolutions(channels=first.shape[1])
    return frechet_distance(moments(extract(first)), moments(extract(second)))


def test_random_weights_are_the_same_on_every_machine():
    assert RandomConvolutions(1).sha256.startswith("5c5f8fd1e45de26a")
    assert RandomConvolutions(3).sha256 != RandomConvolutions(1).sha256


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [16, 64, 100])
def test_random_features_come_from_any_size_and_channel_count(side, channels):
    extract = RandomConvolutions(channels)
    found = extract(images(3, side=side, channels=channels))
    assert found.shape == (3, extract.dimension)
    assert bool(found.isfinite().all())


def test_random_features_do_not_depend_on_the_batch():
    extract, batch = RandomConvolutions(1), images(5)
    torch.testing.assert_close(extract(batch)[2:3], extract(batch[2:3]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda x, s: F.avg_pool2d(F.pad(x, (s, s, s, s), mode="replicate"), 2 * s + 1, stride=1),
        lambda x, s: x + 0.1 * s * torch.randn(x.shape, generator=torch.Generator().manual_seed(9)),
        lambda x, s: x.roll(6 * s, dims=-1),
        lambda x, s: x * (1 - 0.2 * s),
    ],
    ids=["blur", "noise", "shift", "contrast"],
)
def test_more_damage_is_further_from_the_original(damage):
    original = images(128) + torch.linspace(-0.5, 0.5, 64)  # anatomy has a left and a right
    distances = [distance(original, damage(original, strength)) for strength in (1, 2, 3)]
    assert distances[0] < distances[1] < distances[2]
    assert distances[0] > 0


def test_the_resize_averages_when_it_shrinks():
    stripes = torch.ones(1, 1, 128, 128)
    stripes[..., ::2] = -1
    assert resize(stripes, 32).abs().max() < 0.1
    assert resize(stripes, 128) is stripes


def test_images_become_the_bytes_that_a_png_would_hold():
    image = torch.tensor([-1.0, -0.5, 0.0, 0.999, 1.0, 1.7]).reshape(1, 1, 1, 6)
    found = to_rgb8(image)
    assert found.shape == (1, 3, 1, 6)
    assert found[0, 1, 0].tolist() == [0, 64, 128, 255, 255, 255]


def test_missing_weights_say_where_they_go(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    with pytest.raises(
        MissingWeights, match=r"metrics\.extractor\.weights=FILE.*metrics\.extractor\.download=true"
    ) as found:
        load_inception(weights=None, download=False)
    assert found.value.fill == str(cached_weights()) == str(tmp_path / "weights" / FILE)


def test_a_named_file_that_is_absent_is_named(tmp_path):
    path = tmp_path / "absent.pth"
    with pytest.raises(MissingWeights, match=re.escape(f"metrics.extractor.weights={path} does not exist")):
        load_inception(weights=str(path), download=True)


def test_a_download_that_fails_leaves_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(MissingWeights, match=f"no network.*put torch-fidelity's {FILE} at"):
        load_inception(weights=None, download=True)


class Bomb:
    """Pickles to a call that would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_hostile_weights_file_runs_no_code(tmp_path):
    torch.save({"weight": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"is not torch-fidelity's"):
        load_inception(weights=str(tmp_path / "weights.pth"), download=False)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_file_of_something_else_is_a_users_mistake(content, tmp_path):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"is not torch-fidelity's"):
        load_inception(weights=str(tmp_path / "weights.pth"), download=False)


def test_tensors_of_another_network_are_a_users_mistake(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"is not torch-fidelity's"):
        load_inception(weights=str(tmp_path / "weights.pth"), download=False)


class Pool(torch.nn.Module):
    """Stands in for InceptionV3: the mean of each channel, as the network gets it."""

    def forward(self, x):
        assert x.dtype == torch.uint8
        return (x.float().mean(dim=(2, 3)),)


def test_inception_gets_grey_images_as_three_equal_channels():
    found = Inception(Pool(), sha256="6726825d00")(torch.full((2, 1, 8, 8), 1.0))
    torch.testing.assert_close(found, torch.full((2, 3), 255.0))


def test_inception_refuses_other_channel_counts():
    with pytest.raises(UserError, match="needs 1 or 3 channels, these images have 2"):
        Inception(Pool(), sha256="")(torch.zeros(1, 2, 8, 8))


def test_a_weights_file_gives_torch_fidelitys_own_features(tmp_path, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {})
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    torch.manual_seed(0)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    monkeypatch.undo()
    stored = io.BytesIO()
    torch.save(theirs.state_dict(), stored)
    (tmp_path / "weights.pth").write_bytes(stored.getvalue())
    ours = load_inception(weights=str(tmp_path / "weights.pth"), download=False)
    batch = images(2, side=32)
    torch.testing.assert_close(ours(batch), theirs(to_rgb8(batch))[0])
    assert not ours.is_published
