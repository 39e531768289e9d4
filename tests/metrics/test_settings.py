"""The `metrics` group: its keys, what is monitored, and where extractors come from."""

from dataclasses import replace

import pytest
import torch

from medsynth.errors import UserError
from medsynth.metrics.encoder.extractor import Encoder
from medsynth.metrics.encoder.network import EncoderNetwork
from medsynth.metrics.features import MissingWeights
from medsynth.metrics.own_network import OwnNetwork, OwnSettings
from medsynth.metrics.random_features import RandomConvolutions
from medsynth.metrics.settings import EXTRACTORS, Weights, load_extractors, settings


class Means(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=3).flatten(1)


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.ts"
    with pytest.warns((DeprecationWarning, FutureWarning)):  # of torch.jit, which has no safe successor yet
        torch.jit.script(Means()).save(str(file))
    return {"file": str(file), "size": 16, "mean": 0.5, "deviation": 0.5}


def encoder(path):
    Encoder(EncoderNetwork(1, classes=0)).save(path)
    return path


def found(name, *, trained=None, **source):
    return load_extractors(settings({"extractors": [name], "extractor": source}), channels=1, trained=trained)[name]


def composed(name):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from medsynth.cli import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("evaluate", overrides=[f"metrics={name}"]))["metrics"]


@pytest.mark.parametrize("name", ["fast", "full", "none"])
def test_the_files_of_the_group_hold_every_key_at_its_default(name):
    config = composed(name)
    assert set(config["extractor"]) == set(Weights.__dataclass_fields__)
    assert set(config["extractor"]["own"]) == set(OwnSettings.__dataclass_fields__)
    chosen = settings(config).extractor
    assert (chosen.weights, chosen.download, chosen.encoder, chosen.lpips) == (None, False, None, None)
    lists = {"mean": tuple(chosen.own.mean), "deviation": tuple(chosen.own.deviation)}
    assert replace(chosen.own, **lists) == OwnSettings()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"extractors": ["vgg"]}, "vgg is unknown; choices: random, inception, encoder, own"),
        ({"extractor": {"file": "x"}}, "extractor.file is unknown; keys: download, encoder, lpips, own, weights"),
        ({"extractor": {"own": {"fil": "x"}}}, "metrics.extractor.own.fil is unknown"),
        ({"extractor": {"own": {"channels": 2}}}, "metrics.extractor.own.channels=2 must be 1 or 3"),
        ({"extractor": {"encoder": 3}}, "metrics.extractor.encoder=3 must be a file"),
        ({"extractor": {"lpips": True}}, "metrics.extractor.lpips=True must be a file"),
        ({"extractors": "random"}, "must be a list"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_its_name(config, message):
    with pytest.raises(UserError, match=message):
        settings(config)


def test_distances_can_be_monitored():
    every = list(EXTRACTORS)
    for name in ("fid", "kid", "frechet_random", "kid_random", "frechet_encoder", "kid_own", "swd", "spectrum"):
        assert settings({"extractors": every, "monitor": name}).monitor == name


@pytest.mark.parametrize("name", ["precision_random", "nearest_train", "ms_ssim", "frechet_encoder", "fid"])
def test_what_is_no_distance_or_not_judged_cannot(name):
    with pytest.raises(UserError, match=f"monitor={name} is no distance that is judged; choices: frechet_random, kid"):
        settings({"extractors": ["random"], "monitor": name})


def test_an_encoder_comes_from_its_file_before_the_one_of_the_data(tmp_path):
    named, trained = encoder(tmp_path / "named.pt"), encoder(tmp_path / "trained.pt")
    assert found("encoder", encoder=str(named), trained=trained).sha256 != found("encoder", trained=trained).sha256


def test_an_encoder_that_nobody_trained_is_missing_in_words(tmp_path):
    for trained in (None, tmp_path / "trained.pt"):
        missing = found("encoder", trained=trained)
        assert isinstance(missing, MissingWeights)
        assert "python -m medsynth.metrics.encoder" in missing.reason
        assert "metrics.extractor.encoder=FILE" in missing.reason
    assert missing.fill == str(trained)
    assert str(tmp_path / "gone.pt") in found("encoder", encoder=str(tmp_path / "gone.pt")).reason


def test_a_network_of_the_users_own_is_built_or_missing_in_words(own):
    assert isinstance(found("own", own=own), OwnNetwork)
    assert "metrics.extractor.own.file" in found("own").reason
    assert isinstance(found("random"), RandomConvolutions)
