"""The early checkpoint: written once, with nothing to resume from, and unseen by the training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medsynth.callbacks import checkpoints
from medsynth.callbacks.checkpoints import Checkpoints, _is_early
from medsynth.checkpoint import load_run, read
from medsynth.clock import Clock

Run = Callable[..., dict[str, Any]]


def early(result: dict[str, Any]) -> Path:
    return Path(result["run_dir"]) / "checkpoints" / "early.ckpt"


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def first_early(budget: int, batch: int) -> list[int]:
    """The images seen at which a run would write its early checkpoint."""
    return [
        seen for seen in range(batch, budget + batch, batch) if _is_early(Clock(batch, seen, seen // batch), budget)
    ]


def test_it_is_due_once_at_two_percent_of_the_budget_or_at_the_first_batch():
    assert first_early(32_000, 16) == [640]
    assert first_early(32_000, 500) == [1000]
    assert first_early(160, 8) == [8]
    assert first_early(80, 8) == [8]
    assert first_early(2_000_000, 64) == [20_032]  # 2 % would be 40,000


def test_a_budget_of_few_batches_has_none(run: Run):
    assert first_early(64, 8) == []
    assert not early(run("run")).exists()


def test_it_loads_as_a_run_of_that_moment_and_holds_no_optimizers(run: Run):
    long, short = run("long", "images=160"), run("short", "images=8")
    assert load_run(long["run_dir"], checkpoint=str(early(long))).images_seen == 8
    torch.testing.assert_close(weights(early(long)), weights(short["checkpoint"]), rtol=0, atol=0)
    assert "optimizer_states" not in read(early(long))
    assert early(long).stat().st_size < Path(long["checkpoint"]).stat().st_size


def test_it_leaves_the_training_alone(run: Run, monkeypatch: pytest.MonkeyPatch):
    kept = run("kept", "images=80")
    monkeypatch.setattr(checkpoints, "_is_early", lambda clock, budget: False)
    plain = run("plain", "images=80")
    assert early(kept).exists()
    assert not early(plain).exists()
    a, b = (torch.load(result["checkpoint"], weights_only=True) for result in (kept, plain))
    for part in ("state_dict", "optimizer_states", "clock"):
        torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)


def test_it_survives_a_crash_and_is_not_written_again(run: Run, power_cut: Callable[..., None], tmp_path: Path):
    options = ["images=80", "checkpoint_every=32"]
    power_cut("cut", *options, at=56)
    before = early({"run_dir": tmp_path / "cut"}).stat()
    resumed, whole = run("cut", *options), run("whole", *options)
    assert early(resumed).stat() == before
    for path in ("checkpoints/early.ckpt", "checkpoints/last.ckpt"):
        a, b = (weights(Path(result["run_dir"]) / path) for result in (resumed, whole))
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_larger_budget_does_not_write_it_again(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoints, "EARLY", 0.5)
    monkeypatch.setattr(checkpoints, "LATEST", 1.0)
    before = early(run("run")).stat()
    assert early(run("run", "images=160")).stat() == before  # half of it lies ahead
    assert load_run("run", checkpoint=str(early({"run_dir": "run"}))).images_seen == 32


def test_a_run_from_before_it_was_kept_goes_on(tmp_path: Path):
    callback = Checkpoints(tmp_path, every=0, images=160, facts={})
    callback.load_state_dict({"best": 1.5})
    assert callback.state_dict() == {"best": 1.5, "early_at": None}


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork.*", "ignore:.*find_unused_parameters=True was specified.*"
)
def test_two_ranks_write_one(run: Run):
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp_fork"]
    result = run("two", "images=80", *ranks)
    assert load_run(result["run_dir"], checkpoint=str(early(result))).images_seen == 8
