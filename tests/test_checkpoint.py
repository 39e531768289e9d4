import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medsynth.checkpoint import TRUSTED, WholeCheckpointIO, check_targets, load_run, read
from medsynth.errors import Failure, UserError

Run = Callable[..., dict[str, Any]]


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_loads_as_tensors_and_plain_python(run: Run):
    checkpoint = torch.load(run("run")["checkpoint"], weights_only=True)
    assert checkpoint["clock"] == {"images_seen": 64, "batches_seen": 8}
    assert checkpoint["run"]["config"]["model"]["gp_weight"] == 10.0
    assert len(checkpoint["optimizer_states"]) == 2
    assert "loops" not in checkpoint


def test_a_hostile_checkpoint_runs_no_code(tmp_path: Path):
    path, trap = tmp_path / "last.ckpt", tmp_path / "trap"
    torch.save({"run": {"format": 1}, "x": Hostile(trap)}, path)
    with pytest.raises(UserError, match=r"last.ckpt is corrupt or not a checkpoint"):
        read(path)
    path.write_bytes(pickle.dumps(Hostile(trap)))
    with pytest.raises(UserError, match=r"last.ckpt is corrupt or not a checkpoint"):
        read(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 a broken zip"])
def test_a_corrupt_checkpoint_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="corrupt or not a checkpoint") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint_stops_a_resume_and_loses_nothing(run: Run, tmp_path: Path):
    last = Path(run("run")["checkpoint"])
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"last.ckpt is corrupt"):
        run("run", "images=128")
    assert last.read_bytes() == whole[: len(whole) // 2]


def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"previous")

    def disk_full(checkpoint: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(Failure, match=r"could not be written .*No space left.*the one before it is whole"):
        WholeCheckpointIO().save_checkpoint({}, path)
    assert path.read_bytes() == b"previous"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "medsynth.data.pack.os.system",
        "medsynth.checkpoint.torch.load",
        "builtins.eval",
        "torch.hub.load",
        "medsynth.models.gan.torch",
        "medsynth.models.nothing.Here",
    ],
)
def test_a_strangers_configuration_builds_only_our_classes(target: str):
    with pytest.raises(UserError, match=f"_target_={target} is refused"):
        check_targets({"model": [{"_target_": target}]}, TRUSTED)


def test_a_strangers_run_with_a_hostile_target_runs_no_code(run: Run, tmp_path: Path):
    result = run("run")
    checkpoint = torch.load(result["checkpoint"], weights_only=True)
    checkpoint["run"]["config"]["model"] = {"_target_": "os.mkdir", "_args_": [str(tmp_path / "trap")]}
    torch.save(checkpoint, result["checkpoint"])
    with pytest.raises(UserError, match=r"_target_=os.mkdir is refused"):
        load_run(result["run_dir"])
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("place", ["value", "key"])
def test_a_strangers_interpolation_runs_no_code(place: str, run: Run, tmp_path: Path):
    result = run("run")
    checkpoint = torch.load(result["checkpoint"], weights_only=True)
    trap = "${oc.create:{_target_:os.mkdir,_args_:[" + str(tmp_path / "trap") + "]}}"
    config = checkpoint["run"]["config"]
    config["model"] |= {"gp_weight": trap} if place == "value" else {trap: 1}
    torch.save(checkpoint, result["checkpoint"])
    with pytest.raises(UserError, match="holds no interpolations"):
        load_run(result["run_dir"])
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("missing", ["run", "clock", "state_dict"])
def test_a_checkpoint_without_a_part_is_one_line(missing: str, run: Run):
    result = run("run")
    checkpoint = torch.load(result["checkpoint"], weights_only=True)
    del checkpoint[missing]
    torch.save(checkpoint, result["checkpoint"])
    with pytest.raises(UserError, match="corrupt or not a checkpoint"):
        load_run(result["run_dir"])


def test_a_moved_run_still_loads(run: Run, tmp_path: Path):
    run("run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert load_run(tmp_path / "elsewhere").images_seen == 64


def test_a_missing_checkpoint_names_what_is_there(run: Run, tmp_path: Path):
    run("run")
    with pytest.raises(UserError, match=r"has no checkpoint best.ckpt; found: last.ckpt"):
        load_run(tmp_path / "run", checkpoint="best")
