import json
import os
from pathlib import Path

import pytest

from medsynth.errors import UserError
from medsynth.run_directory import RunDirectory, default_name, flatten, is_free

BASE = {"model": "wgan_gp", "data": "kidney_ct", "resolution": 64, "seed": 3}
CONFIG = {"seed": 0, "batch_size": 8, "images": 100, "optimizer": {"critic": {"lr": 0.1}}, "trainer": {"devices": 1}}


def name(*overrides: str) -> str:
    return default_name(overrides=overrides, **BASE)


def started(folder: Path) -> RunDirectory:
    directory = RunDirectory(folder)
    directory.create(CONFIG)
    directory.last.write_bytes(b"a checkpoint")
    return directory


def test_the_default_name_says_model_data_resolution_and_seed():
    assert name("model=wgan_gp", "data=kidney_ct", "resolution=64", "seed=3") == "wgan_gp-kidney_ct-64-s3"


@pytest.mark.parametrize(
    "word",
    [
        "images=5",
        "trainer=cpu",
        "trainer.devices=2",
        "logger=wandb",
        "logger.project=x",
        "metrics=none",
        "sample_every=7",
        "data.workers=2",
    ],
)
def test_what_does_not_alter_the_mathematics_does_not_alter_the_name(word: str):
    assert name(word) == name()


@pytest.mark.parametrize(
    "word",
    [
        "batch_size=5",
        "model.gp_weight=1",
        "trainer.precision=bf16-mixed",
        "data.root=x",
        "data.phantom=true",
        "augment=affine_mild",
        "optimizer.critic.lr=1",
    ],
)
def test_what_alters_the_mathematics_adds_a_hash(word: str):
    assert name(word).startswith("wgan_gp-kidney_ct-64-s3-")
    assert len(name(word)) == len("wgan_gp-kidney_ct-64-s3-") + 8


def test_the_order_of_overrides_does_not_matter():
    assert name("batch_size=5", "model.gp_weight=1") == name("model.gp_weight=1", "batch_size=5")


def test_only_what_leaves_the_mathematics_alone_may_change():
    assert is_free("trainer.devices")
    assert is_free("logger.project")
    assert not is_free("trainer.precision")
    assert not is_free("images_per_day")


def test_flatten_gives_dotted_keys():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_changed_mathematics_is_refused_naming_each_key_with_old_and_new(tmp_path: Path):
    directory = started(tmp_path / "run")
    changed = CONFIG | {"batch_size": 16, "optimizer": {"critic": {"lr": 0.2}}, "images": 500}
    with pytest.raises(UserError, match=r"batch_size 8 -> 16; optimizer.critic.lr 0.1 -> 0.2") as error:
        directory.check(changed)
    assert "images" not in str(error.value).replace("run_dir", "")


def test_allowed_changes_are_recorded(tmp_path: Path):
    directory = started(tmp_path / "run")
    changed = CONFIG | {"images": 500, "trainer": {"devices": 2}}
    directory.check(changed)
    directory.create(changed)
    (line,) = (tmp_path / "run/changes.jsonl").read_text().splitlines()
    assert json.loads(line)["changes"] == {"images": [100, 500], "trainer.devices": [1, 2]}
    assert directory.config() == changed


def test_a_check_leaves_nothing_behind(tmp_path: Path):
    RunDirectory(tmp_path / "a" / "run").check(CONFIG)
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="no read-only folder to try")
def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(
        UserError, match=r"run_dir=/proc/version/run cannot be written: /proc/version is not a writable"
    ):
        RunDirectory(Path("/proc/version/run")).check(CONFIG)


def test_a_folder_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files and no config.yaml"):
        RunDirectory(tmp_path).check(CONFIG)


def test_a_second_process_is_refused_while_the_first_trains(tmp_path: Path):
    with RunDirectory(tmp_path / "run").locked(), pytest.raises(UserError, match="in use"):
        RunDirectory(tmp_path / "run").locked().__enter__()
    with RunDirectory(tmp_path / "run").locked():
        pass
