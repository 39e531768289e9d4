"""Perceptual distances: closed forms, the published LPIPS against torchmetrics, and names that claim no more."""

import math

import pytest
import torch
import torch.nn.functional as F

from medsynth.errors import UserError
from medsynth.metrics.bootstrap import widening
from medsynth.metrics.chain import Chain
from medsynth.metrics.encoder.extractor import Encoder
from medsynth.metrics.encoder.network import EncoderNetwork
from medsynth.metrics.features import Extractor, MissingWeights
from medsynth.metrics.perceptual import (
    FeatureDistance,
    Perceptual,
    distance_of,
    distances_at_hand,
    diversity_finding,
    load_lpips,
    perceptual_distance,
    short_name,
)
from medsynth.metrics.random_features import RandomConvolutions


def images(count=6, *, side=64, channels=1, seed=0):
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def directions(angle, *, length=1.0):
    """Two channels at 3 x 5 places, all pointing at `angle`."""
    vector = torch.tensor([math.cos(angle), math.sin(angle)]) * length
    return vector[None, :, None, None].expand(1, 2, 3, 5)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 2, math.pi])
def test_a_layers_part_is_two_less_two_cosines_whatever_the_lengths(angle):
    found = perceptual_distance([directions(0.0, length=3)], [directions(angle, length=0.2)])
    torch.testing.assert_close(found, torch.tensor([2 - 2 * math.cos(angle)]), atol=1e-6, rtol=1e-6)


def test_layers_add_up_and_weights_count_channels():
    x, y = directions(0.0), directions(math.pi / 2)  # (1, 0) and (0, 1): each channel differs by 1
    torch.testing.assert_close(perceptual_distance([x, x], [y, x]), torch.tensor([2.0]))
    weights = [torch.tensor([0.25, 0.5])]
    torch.testing.assert_close(perceptual_distance([x], [y], weights=weights), torch.tensor([0.75]))


def test_places_are_averaged():
    x = directions(0.0).clone()
    y = x.clone()
    y[..., 0] = -x[..., 0]  # one column of five points the other way: 4 there
    torch.testing.assert_close(perceptual_distance([x], [y]), torch.tensor([4 / 5]))


def test_silent_places_are_equal():
    silent = torch.zeros(2, 3, 4, 4)
    assert perceptual_distance([silent], [silent]).tolist() == [0, 0]


class Means(Extractor):
    """The mean of each channel."""

    name, dimension, resize, sha256 = "means", 1, "none", "0"

    def __call__(self, images):
        return images.mean(dim=(2, 3))


def test_names_say_which_extractor_and_what_kind():
    encoder = Encoder(EncoderNetwork(1, classes=0))
    found = [distance_of(extractor) for extractor in (RandomConvolutions(1), encoder, Means())]
    assert [one.name for one in found] == ["perceptual_random", "perceptual_encoder", "features_means"]
    assert [type(one) for one in found] == [Perceptual, Perceptual, FeatureDistance]
    assert [one.sha256 for one in found] == [RandomConvolutions(1).sha256, encoder.sha256, "0"]


def test_a_feature_distance_is_the_squared_euclidean_one():
    found = FeatureDistance(Means())(torch.full((2, 1, 8, 8), 0.5), torch.zeros(2, 1, 8, 8))
    torch.testing.assert_close(found, torch.tensor([0.25, 0.25]))


@pytest.mark.parametrize(
    "extractor", [RandomConvolutions(1), Encoder(EncoderNetwork(1, classes=0))], ids=["random", "encoder"]
)
def test_more_blur_is_further_and_order_does_not_matter(extractor):
    distance, x = distance_of(extractor), images() + 0.2 * torch.randn(6, 1, 64, 64, generator=torch.Generator())
    blurred = [F.avg_pool2d(F.pad(x, (s, s, s, s), mode="replicate"), 2 * s + 1, stride=1) for s in (1, 2, 3)]
    found = [distance(x, y) for y in blurred]
    assert bool((found[0] > 0).all())
    assert found[0].mean() < found[1].mean() < found[2].mean()
    torch.testing.assert_close(distance(blurred[0], x), found[0])
    assert distance(x, x).abs().max() == 0


def test_random_maps_are_those_whose_means_are_its_features():
    extractor = RandomConvolutions(1)
    distance = distance_of(extractor)
    assert isinstance(distance, Perceptual)
    maps = distance.maps(images())
    assert [found.shape[1:] for found in maps] == [(24, 64, 64), (32, 32, 32), (48, 16, 16), (32, 8, 8)]
    torch.testing.assert_close(extractor(images())[:, :24], maps[0].mean(dim=(2, 3)))


# ------------------------------------------------------------------------------------------------------ LPIPS


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory):
    """torchmetrics' LPIPS over a SqueezeNet with random weights, and these as a file."""
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = _LPIPS(pretrained=True, net="squeeze", pnet_rand=True)
    path = tmp_path_factory.mktemp("weights") / "squeeze.pth"
    names = theirs.net.state_dict()
    torch.save({f"features.{name.split('.', 2)[2]}": tensor for name, tensor in names.items()}, path)
    return theirs.eval(), path


def test_lpips_is_that_of_torchmetrics(squeeze):
    theirs, path = squeeze
    ours = load_lpips(network="squeeze", weights=path)
    x, y = images(4, channels=3), images(4, channels=3, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, y), theirs(x, y).flatten(), rtol=1e-5, atol=1e-7)


def test_grey_images_are_three_equal_channels(squeeze):
    ours = load_lpips(network="squeeze", weights=squeeze[1])
    x, y = images(2), images(2, seed=1)
    torch.testing.assert_close(ours(x, y), ours(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))
    with pytest.raises(UserError, match="LPIPS needs 1 or 3 channels, these images have 2"):
        ours(images(1, channels=2), images(1, channels=2))


def test_weights_that_are_not_the_published_ones_take_no_published_name(squeeze, monkeypatch):
    from medsynth.metrics import perceptual

    assert load_lpips(network="squeeze", weights=squeeze[1]).name == "perceptual_squeeze"
    monkeypatch.setattr(perceptual, "file_sha256", lambda path: "b8a52dc0ff")
    assert load_lpips(network="squeeze", weights=squeeze[1]).name == "lpips_squeeze"


def test_lpips_says_what_it_lacks(tmp_path, squeeze):
    with pytest.raises(ValueError, match="LPIPS knows no network vgg19; choices: alex, vgg, squeeze"):
        load_lpips(network="vgg19", weights=squeeze[1])
    with pytest.raises(MissingWeights, match=r"put torchvision's vgg16-397923af\.pth there") as found:
        load_lpips(network="vgg", weights=tmp_path / "absent.pth")
    assert found.value.fill == str(tmp_path / "absent.pth")
    with pytest.raises(UserError, match=r"is not torchvision's alexnet-owt"):
        load_lpips(network="alex", weights=squeeze[1])
    with pytest.raises(UserError, match=r"holds no channel weights of LPIPS: lin0\.model\.1\.weight is missing"):
        load_lpips(network="squeeze", weights=squeeze[1], linear=squeeze[1])
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UserError, match="holds no weights"):
        load_lpips(network="squeeze", weights=tmp_path / "text.pth")


# -------------------------------------------------------------------------------------------------- diversity


def gap(first, second):
    return (first - second).abs().mean(dim=(1, 2, 3))


def steps(*values):
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 4, 4)


def test_diversity_is_the_mean_over_neighbours_in_any_batches():
    whole = steps(0.0, 0.1, 0.4, 0.2)
    expected = (0.1 + 0.3 + 0.2) / 3
    for batches in ([whole], whole.split(1), whole.split(3)):
        assert Chain.of(gap, batches).compute() == pytest.approx(expected)


def test_each_pairs_distance_is_kept():
    pairs = Chain(gap)
    pairs.update(steps(0.0, 0.1))
    pairs.update(steps(0.4))
    torch.testing.assert_close(pairs.values(), torch.tensor([0.1, 0.3]).double(), rtol=1e-6, atol=1e-6)


def test_one_image_has_no_diversity_and_equal_images_have_none():
    assert math.isnan(Chain.of(gap, [steps(0.5)]).compute())
    assert Chain.of(distance_of(RandomConvolutions(1)), [images()[:1].expand(5, -1, -1, -1)]).compute() == 0


class Gap(Extractor):
    """The mean of the image, so that its distance of steps is the square of theirs."""

    name, dimension, resize, sha256 = "gap", 1, "none", "0"

    def __call__(self, images):
        return images.mean(dim=(1, 2, 3))[:, None]


def test_a_finding_stands_beside_real_images_at_the_same_count():
    real, fake = steps(0.0, 0.3, 0.0, 0.9), steps(0.0, 0.1, 0.2)
    found = diversity_finding([real], fake.split(1), distance=FeatureDistance(Gap()))
    assert found.value == pytest.approx(0.01)
    assert found.real == pytest.approx(0.09)  # of the first two pairs; the third would make it 0.33
    assert found.interval is None  # two pairs are one block
    assert found.extra == {"pairs": 2, "pairs_real": 2, "distance": "features_gap", "sha256": "0"}


def test_images_that_are_all_alike_have_less_diversity_beyond_the_interval():
    x = images(40)
    found = diversity_finding([x], (0.3 * x).split(7), distance=distance_of(RandomConvolutions(1)))
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1] < found.real
    assert found.resize == "64x64 bilinear, antialiased"
    again = diversity_finding([x], [0.3 * x], distance=distance_of(RandomConvolutions(1)))
    assert again.interval == pytest.approx(found.interval)


def test_pairs_are_drawn_by_blocks_since_neighbours_share_an_image():
    """Of one strange image in 32, both its pairs are strange, and they come and go together."""
    values = [0.0] * 33
    values[11] = 1.0
    found = diversity_finding([], [steps(*values)], distance=FeatureDistance(Gap()))
    blocks = (found.deviations - found.deviations.min()) * 32 / 2 / widening(torch.arange(8))  # 32 pairs by 4
    torch.testing.assert_close(blocks, blocks.round(), atol=1e-6, rtol=0)
    assert (found.real, found.extra["pairs_real"]) == (None, 0)


def test_one_image_gives_a_reason():
    found = diversity_finding([images()], [images(1)], distance=distance_of(RandomConvolutions(1)))
    assert (found.value, found.reason) == (None, "one image makes no pair")


def test_metrics_are_named_after_the_network():
    named = [distance_of(extractor) for extractor in (RandomConvolutions(1), Encoder(EncoderNetwork(1, classes=0)))]
    published = Perceptual("lpips_alex", lambda x: [x], "0")
    assert [short_name(one) for one in (*named, FeatureDistance(Gap()), published)] == [
        "random",
        "encoder",
        "gap",
        "lpips_alex",
    ]


def test_lpips_stands_beside_the_first_extractor_where_its_weights_are_and_images_suit_it(tmp_path, monkeypatch):
    from medsynth.metrics import perceptual

    extractors = [RandomConvolutions(1), Means()]
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    file = tmp_path / "weights" / "alexnet-owt-7be5be79.pth"
    absent = distances_at_hand(extractors, channels=1, side=64)
    assert list(absent) == ["random", "lpips_alex"]
    assert absent["lpips_alex"].value is None
    assert absent["lpips_alex"].extra == {"fill": str(file)}
    assert "set metrics.extractor.lpips=FILE" in absent["lpips_alex"].reason
    published = Perceptual("lpips_alex", lambda x: [x], "0")
    monkeypatch.setattr(perceptual, "load_lpips", lambda network, weights: published if weights == file else None)
    assert distances_at_hand(extractors, channels=3, side=64)["lpips_alex"] is published
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "other"))
    assert distances_at_hand([], channels=1, side=32, lpips=str(file)) == {"lpips_alex": published}
    for channels, side in ((2, 64), (1, 16)):
        found = distances_at_hand(extractors, channels=channels, side=side)["lpips_alex"]
        assert f"1 or 3 channels of 32 pixels a side; these images have {channels} of {side}" in found.reason
