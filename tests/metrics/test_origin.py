"""What is known of a pack's images: a second judgement measures none of them, and says the same to the last bit."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medsynth.metrics.origin import Origin
from medsynth.metrics.random_features import RandomConvolutions
from medsynth.metrics.statistics_cache import statistics_folder
from medsynth.metrics.suite import Patients, Yardstick, judge

CONFIG = {"count": 24, "extractors": ["random"]}
PHANTOMS = "phantoms", "c0ffee", "halves"


def images(count, *, seed):
    coarse = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(32, 32), mode="bilinear")


def sets():
    reference, held_out = images(24, seed=0), images(24, seed=1)
    return {
        "reference": reference.split(7),
        "held_out": held_out.split(7),
        "train": torch.cat([reference, held_out]).split(7),
        "unseen": images(30, seed=2).split(7),
        "patients": Patients(np.arange(24) // 2, np.arange(48) // 2, np.arange(30) // 2),
    }


def judged(*, pack=PHANTOMS, seed=3, config=CONFIG):
    """pack: None keeps nothing."""
    origin = pack and Origin(*pack)  # made here: a test's cache folder is its own
    return json.dumps(judge(**sets(), fake=images(24, seed=seed).split(7), config=config, origin=origin))


@pytest.fixture
def looked_at(monkeypatch):
    """How many images the extractor saw."""
    seen = []
    real = RandomConvolutions.__call__

    def watch(self, batch):
        seen.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(RandomConvolutions, "__call__", watch)
    return seen


def test_judgements_are_equal_bit_for_bit_with_and_without_what_was_kept(looked_at):
    without = judged(pack=None)
    assert sum(looked_at) == 4 * 24
    assert not statistics_folder().exists()
    looked_at.clear()
    assert judged() == without
    assert sum(looked_at) == 4 * 24
    looked_at.clear()
    assert judged() == without
    assert sum(looked_at) == 24


def test_other_synthetic_images_are_judged_anew():
    judged()
    assert judged(seed=4) == judged(seed=4, pack=None) != judged(seed=3)


def test_a_training_yardstick_uses_and_leaves_the_same(looked_at):
    data = sets()
    Yardstick(**data, config=CONFIG, origin=Origin(*PHANTOMS))
    assert sum(looked_at) == 2 * 24
    looked_at.clear()
    judged()
    assert sum(looked_at) == 2 * 24  # unseen patients, and the synthetic ones


@pytest.mark.parametrize(
    "other", [{"pack": ("phantoms", "beef", "halves")}, {"pack": ("phantoms", "c0ffee", "others")},
              {"config": {**CONFIG, "count": 20}}],
    ids=["content", "halves", "count"],
)  # fmt: skip
def test_other_images_find_nothing(other, looked_at):
    judged()
    looked_at.clear()
    judged(**other)
    assert sum(looked_at) == 4 * other.get("config", CONFIG)["count"]


def test_features_of_another_resize_are_measured(looked_at, monkeypatch):
    before = judged()
    monkeypatch.setattr(RandomConvolutions, "resize", "another resize")
    looked_at.clear()
    after = judged()
    assert sum(looked_at) == 4 * 24
    assert after.replace("another resize", "64x64 bilinear, antialiased") == before


def test_damage_costs_a_line_and_a_measurement_never_a_figure(looked_at, capsys):
    whole = judged()
    for path in statistics_folder().glob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    looked_at.clear()
    capsys.readouterr()
    assert judged() == whole
    assert sum(looked_at) == 4 * 24
    assert "measuring the real images again" in capsys.readouterr().err
    looked_at.clear()
    assert judged() == whole
    assert sum(looked_at) == 24


def test_a_pack_is_measured_once(image_root, looked_at):
    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.metrics.real import real_sets, yardstick

    pack = prepare_pack(_config(image_root)["data"], resolution=16)
    first = yardstick(pack, CONFIG)
    assert sum(looked_at)
    looked_at.clear()
    second = yardstick(pack, CONFIG)
    assert not looked_at
    assert json.dumps(first.judge([images_of(pack)])) == json.dumps(second.judge([images_of(pack)]))
    origin = real_sets(pack, count=24).origin
    assert origin.encoder().name.startswith(f"encoder-image_folder-{pack.content[:12]}")
    assert origin != real_sets(pack, count=8).origin


def images_of(pack):
    return F.interpolate(images(24, seed=5), size=(pack.resolution, pack.resolution))


def test_the_encoder_that_the_verb_trains_is_found(image_root):
    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.metrics.encoder.__main__ import encoder
    from medsynth.metrics.real import yardstick

    config = _config(image_root, "resolution=16", "steps=2")
    made = encoder(config)
    pack = prepare_pack(config["data"], resolution=16)
    judgement = yardstick(pack, {"count": 12, "extractors": ["encoder"]}).judge([images_of(pack)])
    assert judgement["frechet_encoder_12"]["extractor"] == {"name": "encoder", "sha256": made["sha256"]}
    assert 1 <= judgement["classifier_score_encoder_12"]["value"] <= 2
    assert not [line for line in judgement["warnings"] if "other images" in line]


def _config(root, *words):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from medsynth.cli import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("encoder", overrides=["data=image_folder", f"data.root={root}", *words]))
