"""`own`: TorchScript files and weights of named architectures give features, or say in a line why not."""

import sys
import types
import warnings

import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.metrics.features import MissingWeights, resize
from medsynth.metrics.own_network import OwnNetwork, OwnSettings, load_matching, load_own_network, own_settings
from medsynth.metrics.perceptual import distance_of

PLAIN = OwnSettings(size=32, mean=0.5, deviation=0.5)


def images(count=2, *, side=48, channels=1):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Pool(nn.Module):
    """The mean of each channel, as the network gets it."""

    def forward(self, x):
        return x.mean(dim=(2, 3))


def script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(module), str(path))
    return str(path)


def small():
    """A network of two named parts and a head, in eval mode."""
    network = nn.Sequential()
    network.add_module("stem", nn.Conv2d(3, 4, 3))
    network.add_module("norm", nn.BatchNorm2d(4))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(4, 2))
    return network.eval()


# ---------------------------------------------------------------------------------------------------- feeding


def test_torchscript_features_are_what_the_file_returns(tmp_path):
    extract = load_own_network(OwnSettings(file=script(Pool(), tmp_path / "pool.ts"), size=32, mean=0.5, deviation=0.5))
    batch = images()
    found = extract(batch)
    assert (extract.name, extract.dimension) == ("own", 3)
    torch.testing.assert_close(found, resize(batch, 32).mean(dim=(2, 3)).expand(-1, 3), atol=1e-6, rtol=0)


def test_values_are_normalised_channel_by_channel():
    extract = OwnNetwork(Pool(), chosen=OwnSettings(size=32), sha256="0")
    white = extract(torch.ones(1, 1, 32, 32))[0]
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(white, expected)
    assert extract.resize == (
        "32x32 bilinear, antialiased, [0, 1] less mean 0.485/0.456/0.406, deviation 0.229/0.224/0.225"
    )


def test_a_network_for_grey_images_gets_one_channel():
    chosen = OwnSettings(size=32, channels=1)
    extract = OwnNetwork(Pool(), chosen=chosen, sha256="0")
    assert extract(images()).shape == (2, 1)
    with pytest.raises(UserError, match="takes 1 channels or grey images, these have 3"):
        extract(images(channels=3))


def test_two_channels_fit_no_network_of_three():
    with pytest.raises(UserError, match="takes 3 channels or grey images, these have 2"):
        OwnNetwork(Pool(), chosen=PLAIN, sha256="0")(images(channels=2))


def test_maps_of_one_pixel_are_features():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1))
    assert OwnNetwork(network, chosen=PLAIN, sha256="0")(images()).shape == (2, 5)


# --------------------------------------------------------------------------------------------------- refusals


class Returns(nn.Module):
    """Whatever it is told to, made of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: {"out": x}, r"must return features \(images, d\), and returns a dict for 2 images"),
        (lambda x: x.mean(), r"returns a tensor \(\) for 2 images"),
        (lambda x: x.mean(dim=(2, 3)).repeat(2, 1), r"returns a tensor \(4, 3\) for 2 images"),
        (lambda x: x.repeat(1, 9, 1, 1), r"returns 27,648 features, more than 8,192; average its maps"),
        (lambda x: (x - x.mean(dim=0)).mean(dim=(2, 3)), "gives other features in other company; save it in eval mode"),
        (lambda x: x[:, :, 0, : len(x)], "gives other features in other company"),
        (lambda x: x @ torch.zeros(7, 7), r"fails on images of 3x32x32: .*"),
        (lambda x: x.reshape(2, -1).mean(dim=1, keepdim=True), r"fails on|returns a tensor|gives other features"),
    ],
    ids=["dict", "scalar", "count", "maps", "batch", "width", "shape", "fixed batch"],
)
def test_networks_that_return_no_features_are_refused(function, words):
    with pytest.raises(UserError, match=rf"metrics\.extractor\.own\.file=None .*{words}"):
        OwnNetwork(Returns(function), chosen=PLAIN, sha256="0")


def test_features_that_are_no_numbers_are_refused():
    extract = OwnNetwork(Returns(lambda x: x.mean(dim=(2, 3)).log()), chosen=PLAIN, sha256="0")
    with pytest.raises(UserError, match="gave features that are NaN or infinite"):
        extract(-torch.ones(1, 1, 32, 32))


def test_a_file_of_something_else_is_named(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"is no TorchScript file: .*set metrics\.extractor\.own\.architecture="):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pt")))


def test_a_torch_export_archive_is_refused_because_reading_it_can_run_code(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(UserError, match=r"reading one can run any code; give TorchScript"):
        load_own_network(OwnSettings(file=str(tmp_path / "model.pt2")))


def test_absent_files_leave_a_reason(tmp_path):
    with pytest.raises(MissingWeights, match=r"set metrics\.extractor\.own\.file=FILE"):
        load_own_network(OwnSettings())
    with pytest.raises(MissingWeights, match=r"absent\.pt does not exist") as found:
        load_own_network(OwnSettings(file=str(tmp_path / "absent.pt")))
    assert found.value.fill == str(tmp_path / "absent.pt")


# ----------------------------------------------------------------------------------------------- architectures


@pytest.fixture(scope="module")
def resnet():
    """torchvision's smallest residual network with random weights, running statistics that are not the default."""
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = get_model("resnet18", weights=None)
        network.bn1.running_mean.normal_()
    return network.eval()


def renumbered(state, network):
    """As nn.Sequential(*children) names them, behind a prefix, without the head: RadImageNet's files."""
    places = {name: place for place, (name, _) in enumerate(network.named_children())}
    names = {name: name.partition(".") for name in state if not name.startswith("fc.")}
    return {f"backbone.{places[part]}.{rest}": state[name] for name, (part, _, rest) in names.items()}


@pytest.mark.parametrize(
    "spell",
    [
        lambda state, network: state,
        lambda state, network: {k: v for k, v in state.items() if not k.startswith("fc.")},
        lambda state, network: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state, network: {"model": {f"module.encoder.{k}": v for k, v in state.items()}},
        lambda state, network: {**state, "projector.weight": torch.zeros(2)},
        renumbered,
    ],
    ids=["plain", "headless", "module", "nested", "projector", "numbered"],
)
def test_features_are_what_the_head_reads_however_the_weights_are_named(spell, resnet, tmp_path):
    torch.save(spell(resnet.state_dict(), resnet), tmp_path / "weights.pth")
    chosen = OwnSettings(file=str(tmp_path / "weights.pth"), architecture="torchvision:resnet18", size=32)
    extract = load_own_network(chosen)
    batch = images()
    read = []
    hook = resnet.fc.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    with torch.no_grad():
        resnet(extract._fed(batch))
    hook.remove()
    assert extract.dimension == 512
    torch.testing.assert_close(extract(batch), read[0])


def test_a_perceptual_distance_reads_the_last_map_of_each_size(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    chosen = OwnSettings(file=str(tmp_path / "weights.pth"), architecture="torchvision:resnet18", size=64)
    extract = load_own_network(chosen)
    assert extract.maps is not None
    maps = extract.maps(images())
    assert [tuple(found.shape[1:]) for found in maps] == [
        (64, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), extract(images()))
    assert distance_of(extract).name == "perceptual_own"


def test_what_cannot_be_looked_into_has_a_distance_of_features(tmp_path):
    extract = load_own_network(OwnSettings(file=script(Pool(), tmp_path / "pool.ts"), size=32))
    assert extract.maps is None
    assert distance_of(extract).name == "features_own"
    assert OwnNetwork(Pool(), chosen=PLAIN, sha256="0").maps is None


def test_the_architecture_belongs_to_the_hash(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    chosen = OwnSettings(file=str(tmp_path / "weights.pth"), architecture="torchvision:resnet18", size=32)
    from medsynth.metrics.inception import file_sha256

    assert load_own_network(chosen).sha256 not in ("", file_sha256(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("stem.weight"), r"1 of 7 weights are missing, such as stem\.weight"),
        (lambda s: s.update({"stem.weight": torch.zeros(4, 1, 3, 3)}), r"stem\.weight is \(4, 1, 3, 3\) instead of"),
        (lambda s: s.update({"stem.more.weight": torch.zeros(1)}), r"it also holds stem\.more\.weight"),
    ],
    ids=["missing", "bent", "left over"],
)
def test_weights_of_another_architecture_are_refused(change, words):
    state = small().state_dict()
    change(state)
    network = small()
    network.head = nn.Identity()
    with pytest.raises(UserError, match=rf"F does not fit metrics\.extractor\.own\.architecture=A: {words}"):
        load_matching(network, state, who="F", architecture="A")


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("torchvision:resnet5", "is unknown to torchvision; nearest: resnet50"),
        ("torchvision:squeezenet1_0", "has no linear layer at its end; give it as TorchScript"),
    ],
)
def test_architectures_that_cannot_be_had_are_named(architecture, words, tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=words):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pth"), architecture=architecture))


def test_timm_is_asked_for_when_it_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="needs the package timm: pip install timm"):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pth"), architecture="timm:vit_tiny"))


def test_timm_builds_networks_without_a_head(tmp_path, monkeypatch):
    asked = []

    def create_model(name, *, pretrained, num_classes):
        asked.append((name, pretrained, num_classes))
        network = small()
        network.head = nn.Identity()
        return network

    timm = types.SimpleNamespace(create_model=create_model, is_model=lambda name: name == "tiny", __version__="1.0")
    monkeypatch.setitem(sys.modules, "timm", timm)
    torch.save(small().state_dict(), tmp_path / "weights.pth")
    chosen = OwnSettings(file=str(tmp_path / "weights.pth"), architecture="timm:tiny", size=32)
    assert load_own_network(chosen).dimension == 4
    assert asked == [("tiny", False, 0)]
    with pytest.raises(UserError, match=r"architecture=timm:huge is unknown to timm 1\.0"):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pth"), architecture="timm:huge"))


class Bomb:
    """Pickles to a call that would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_hostile_weights_run_no_code(tmp_path):
    torch.save({"weight": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no weights that can be read safely"):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pth"), architecture="torchvision:resnet18"))
    assert not (tmp_path / "exploded").exists()


def test_a_file_without_tensors_is_named(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no weights by name"):
        load_own_network(OwnSettings(file=str(tmp_path / "weights.pth"), architecture="torchvision:resnet18"))


# ---------------------------------------------------------------------------------------------------- settings


def test_settings_pass_through():
    assert own_settings({"file": "x", "size": 96, "channels": 1, "mean": 0.5, "deviation": [0.25]}) == OwnSettings(
        file="x", size=96, channels=1, mean=0.5, deviation=[0.25]
    )
    assert own_settings({}) == OwnSettings()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"fil": "x"}, r"metrics\.extractor\.own\.fil is unknown; keys: architecture, channels"),
        ({"architecture": "resnet50"}, "architecture=resnet50 must be torchvision:NAME or timm:NAME"),
        ({"architecture": "torchvision:"}, "must be torchvision:NAME or timm:NAME"),
        ({"size": 8}, "size=8 must be a whole number of at least 16"),
        ({"channels": 2}, "channels=2 must be 1 or 3"),
        ({"mean": [0.5, 0.5]}, r"mean=\[0\.5, 0\.5\] must be one number, or one for each of 3 channels"),
        ({"mean": float("nan")}, "mean=nan must be one number"),
        ({"deviation": 0}, "deviation=0 must be above 0"),
    ],
)
def test_impossible_settings_are_named(config, words):
    with pytest.raises(UserError, match=words):
        own_settings(config)
