import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from medsynth.launch import processes

DDP = {"strategy": "ddp", "devices": 2, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 2),
        ({"strategy": "auto"}, 1),
        ({"strategy": "ddp_fork"}, 1),
        ({"devices": "auto"}, 1),  # the CPU is one device
        ({"devices": 1}, 1),
    ],
)
def test_how_many_processes_are_started(change: dict[str, Any], count: int):
    assert processes(DDP | change) == count


def test_none_are_started_where_torchrun_or_srun_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert processes(DDP) == 1
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert processes(DDP) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_on_both_ranks(number: signal.Signals, image_root: Path, tmp_path: Path):
    command = [sys.executable, "-m", "medsynth.train", "model=dcgan", "data=image_folder", f"data.root={image_root}"]
    command += ["resolution=16", "batch_size=8", "images=1_000_000", "log_every=80", "metrics=none", "trainer=ddp"]
    command += ["trainer.accelerator=cpu", "trainer.devices=2", f"run_dir={tmp_path / 'run'}"]
    command += ["model.generator.width=4", "model.critic.width=4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    rows = tmp_path / "run/metrics.jsonl"
    deadline = time.time() + 200
    while time.time() < deadline and not (rows.exists() and rows.read_text().count("\n") > 1):
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 128 + number, err
    assert out == ""
    assert "Traceback" not in err
    seen = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["clock"]["images_seen"]
    assert f"saved at image {seen:,}" in err
