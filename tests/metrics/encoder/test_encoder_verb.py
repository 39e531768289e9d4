"""`python -m medsynth.metrics.encoder`: training patients alone, figures of the others, one file."""

import numpy as np
import pytest

from medsynth.errors import UserError
from medsynth.metrics.encoder import training
from medsynth.metrics.encoder.__main__ import encoder
from medsynth.metrics.encoder.extractor import load_encoder


@pytest.fixture
def config(image_root, tmp_path):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from medsynth.cli import conf_dir

    words = ["data=image_folder", f"data.root={image_root}", "resolution=16", "steps=2", f"out={tmp_path / 'e.pt'}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_container(compose("encoder", overrides=words), resolve=True)


def test_the_answer_says_what_was_trained_on_what(config, tmp_path):
    answer = encoder(config)
    made = load_encoder(tmp_path / "e.pt")
    assert answer["encoder"] == str(tmp_path / "e.pt")
    assert answer["sha256"] == made.sha256
    assert answer["classes"] == ["lying", "upright"] == list(made.class_names)
    assert answer["data"] == "image_folder"
    assert 0 <= answer["held_out"]["share"] <= 1
    assert answer["images"] + answer["held_out"]["images"] == 60
    assert made.facts["content"] == answer["content"]


def test_it_sees_training_images_alone(config, monkeypatch):
    from medsynth.data.prepare_pack import prepare_pack

    seen = []
    real = training.train_encoder

    def watch(batches, labels, **settings):
        kept = list(batches)
        seen.extend(image.numpy() for batch in kept for image in batch)
        return real(kept, labels, **settings)

    monkeypatch.setattr(training, "train_encoder", watch)
    encoder(config)
    pack = prepare_pack(config["data"], resolution=16)
    train = {image.tobytes() for image in pack.array(pack.splits["train"])}
    assert len(seen) == len(pack.splits["train"])
    assert {np.ascontiguousarray(image).tobytes() for image in seen} == train


def test_without_a_name_it_lies_in_the_cache(config, tmp_path):
    answer = encoder({**config, "out": None})
    assert answer["encoder"].startswith(str(tmp_path / "cache" / "weights" / "encoder-image_folder-"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        ({"accelerator": "tpu"}, "accelerator=tpu is unknown; choices: auto, cpu, gpu"),
        ({"out": "/dev/null/encoder.pt"}, r"out=/dev/null/encoder\.pt cannot be made: "),
        ({"out": "."}, r"out=\. is a folder; name a file"),
    ],
)
def test_mistakes_are_named(change, words, config):
    with pytest.raises(UserError, match=words):
        encoder({**config, **change})
