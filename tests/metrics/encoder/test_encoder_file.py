"""The encoder as an extractor and as a file: equal when read back, and nothing else passes for it."""

import pytest
import torch

from medsynth.errors import UserError
from medsynth.metrics.encoder.extractor import Encoder, cached_encoder, load_encoder
from medsynth.metrics.encoder.network import DIMENSION, EncoderNetwork
from medsynth.metrics.features import MissingWeights


def encoder(*, channels=1, classes=0, seed=0, facts=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(EncoderNetwork(channels, classes=classes), class_names="abc"[:classes], facts=facts)


def images(count=3, *, channels=1, side=64):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [16, 64, 100])
def test_features_come_from_any_size(side, channels):
    found = encoder(channels=channels)(images(channels=channels, side=side))
    assert found.shape == (3, DIMENSION)
    assert bool(found.isfinite().all())


def test_features_do_not_depend_on_the_batch():
    extract, batch = encoder(), images(5)
    torch.testing.assert_close(extract(batch)[2:3], extract(batch[2:3]))


def test_features_are_the_means_of_the_maps():
    extract, batch = encoder(), images()
    maps = extract.maps(batch)
    assert [found.shape[-1] for found in maps] == [32, 16, 8, 4]
    torch.testing.assert_close(extract(batch)[:, :16], maps[0].mean(dim=(2, 3)))


def test_a_saved_encoder_is_the_same_when_read(tmp_path):
    made = encoder(classes=3, facts={"data": "kidney_ct", "held_out": None})
    made.save(tmp_path / "deep" / "encoder.pt")
    found = load_encoder(tmp_path / "deep" / "encoder.pt")
    assert found.sha256 == made.sha256
    assert found.class_names == ("a", "b", "c")
    assert found.facts == made.facts
    assert torch.equal(found(images()), made(images()))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["encoder.pt"]


def test_another_network_has_another_hash():
    assert encoder(seed=1).sha256 != encoder(seed=0).sha256 == encoder(seed=0).sha256


def test_an_absent_file_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingWeights, match=r"train one with python -m medsynth\.metrics\.encoder") as found:
        load_encoder(tmp_path / "absent.pt")
    assert found.value.fill == str(tmp_path / "absent.pt")


class Bomb:
    """Pickles to a call that would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_hostile_file_runs_no_code(tmp_path):
    torch.save({"medsynth_encoder": Bomb(tmp_path / "exploded")}, tmp_path / "encoder.pt")
    with pytest.raises(UserError, match="is no encoder of medsynth"):
        load_encoder(tmp_path / "encoder.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_file_of_something_else_is_a_users_mistake(content, tmp_path):
    (tmp_path / "encoder.pt").write_bytes(content)
    with pytest.raises(UserError, match="is no encoder of medsynth"):
        load_encoder(tmp_path / "encoder.pt")


def test_weights_that_changed_since_they_were_saved_are_refused(tmp_path):
    encoder().save(tmp_path / "encoder.pt")
    content = torch.load(tmp_path / "encoder.pt", weights_only=True)
    content["state_dict"]["mean"][0] += 1
    torch.save(content, tmp_path / "encoder.pt")
    with pytest.raises(UserError, match="is damaged: its weights are not those that were saved"):
        load_encoder(tmp_path / "encoder.pt")


def test_another_format_is_refused(tmp_path):
    encoder().save(tmp_path / "encoder.pt")
    content = torch.load(tmp_path / "encoder.pt", weights_only=True)
    torch.save({**content, "medsynth_encoder": 0}, tmp_path / "encoder.pt")
    with pytest.raises(UserError, match="of another version of medsynth"):
        load_encoder(tmp_path / "encoder.pt")


def test_other_channel_counts_are_refused():
    with pytest.raises(UserError, match="was trained on 1 channels, these images have 3"):
        encoder()(images(channels=3))


def test_without_classes_there_are_no_probabilities():
    with pytest.raises(UserError, match="trained without labels"):
        encoder().probabilities(torch.zeros(1, DIMENSION))


def test_the_cache_holds_one_encoder_a_content_and_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    path = cached_encoder("kidney_ct", content="0123456789abcdef")
    assert path == tmp_path / "weights" / "encoder-kidney_ct-0123456789ab-s0.pt"
    assert cached_encoder("kidney_ct", content="0123456789abcdef", seed=1) != path
