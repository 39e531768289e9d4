"""Callbacks in a real, tiny training."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import composed
from PIL import Image

from medsynth.callbacks.evaluation import share_of
from medsynth.checkpoint import load_run
from medsynth.evaluate import evaluate
from medsynth.loggers import read_rows
from medsynth.report.page import curve_charts

Run = Callable[..., dict[str, Any]]
JUDGED = ["metrics=fast", "metrics.count=16", "evaluate_every=32"]


def test_the_grid_shows_the_untrained_output_first_and_the_same_latents_ever_after(run: Run):
    folder = Path(run("run", "sample_every=24")["run_dir"]) / "samples"
    names = [path.name for path in sorted(folder.glob("0*.png"))]
    assert names == ["000000000.png", "000000024.png", "000000048.png", "000000064.png"]
    first, last = (np.asarray(Image.open(folder / name), dtype=float) for name in (names[0], names[-1]))
    assert first.shape == last.shape
    assert not np.array_equal(first, last)


def test_judgements_stand_in_the_rows_and_mark_the_best_checkpoint(run: Run):
    folder = Path(run("run", *JUDGED)["run_dir"])
    judged = [row for row in read_rows(folder / "metrics.jsonl") if any(key.startswith("val/") for key in row)]
    assert [row["images_seen"] for row in judged] == [32, 64]
    values = [row["val/frechet_random_16"] for row in judged]
    assert load_run(folder, checkpoint="best").images_seen == judged[int(np.argmin(values))]["images_seen"]


def test_rows_carry_the_count_that_was_asked_for_and_the_report_draws_their_real_values(
    run: Run, capsys: pytest.CaptureFixture[str]
):
    folder = Path(run("run", "metrics=fast", "metrics.count=2_000", "evaluate_every=32")["run_dir"])
    rows = read_rows(folder / "metrics.jsonl")
    assert [row["val/frechet_random_2k"] > 0 for row in rows if "val/frechet_random_2k" in row] == [True, True]
    assert "metrics.count=2,000, but half of the training images are" in capsys.readouterr().err
    judgement = evaluate(composed("evaluate", f"run={folder}", "metrics.count=2_000", "usable=false", "path_pairs=0"))
    assert judgement["insufficient"]["frechet_random_2k"]["value"] == pytest.approx(rows[-1]["val/frechet_random_2k"])
    charts = {chart["title"]: chart for chart in curve_charts(rows, judgement)}
    assert charts["val/frechet_random_2k"]["has_reference"]
    assert charts["val/swd_2k"]["has_reference"]


def test_judging_says_what_it_costs_and_how_it_would_cost_less(run: Run, capsys: pytest.CaptureFixture[str]):
    run("run", *JUDGED)
    told = capsys.readouterr().err
    assert len(re.findall(r"judged at \d+ images in [\d.]+ s, [\d.]+% of the time so far: frechet", told)) == 2
    share, enough = re.search(r"judging took (\d+)% of the time; evaluate_every=([\d_]+) or more would", told).groups()
    assert int(share) > 5  # of 64 images of 16 x 16
    assert int(enough) > 32


def test_cheap_judging_needs_no_advice(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("medsynth.callbacks.evaluation.MOST_SHARE", 1.0)
    run("run", *JUDGED)
    assert "or more would take" not in capsys.readouterr().err


@pytest.mark.parametrize(("count", "ranks"), [(16, 1), (16, 2), (64, 3), (100, 2), (256, 5)])
def test_ranks_share_all_images_in_whole_calls_of_the_generator(count: int, ranks: int):
    parts = [share_of(count, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert [number for first, last in parts for number in range(first, last)] == list(range(count))
    assert all(first % 32 == 0 or first == count for first, _ in parts)


def test_judging_does_not_touch_the_training(run: Run):
    plain, judged = run("plain"), run("judged", *JUDGED, "sample_every=8", "log_every=8")
    a, b = (torch.load(result["checkpoint"], weights_only=True) for result in (plain, judged))
    torch.testing.assert_close(b["state_dict"], a["state_dict"], rtol=0, atol=0)


def test_rows_count_images_and_seconds_across_a_resume(run: Run):
    run("run", "log_every=16")
    rows = read_rows(Path(run("run", "log_every=16", "images=128")["run_dir"]) / "metrics.jsonl")
    assert [row["images_seen"] for row in rows] == [16, 32, 48, 64, 80, 96, 112, 128]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_the_run_says_five_facts_and_then_how_it_goes(run: Run, capsys: pytest.CaptureFixture[str]):
    run("run")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in ("run", "data", "model", "budget", "device")] == [
        "run",
        "data",
        "model",
        "budget",
        "device",
    ]
    assert any("img/s" in line and "left" in line for line in lines)


def test_wandb_goes_offline_keeps_its_id_and_says_so(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    pytest.importorskip("wandb")
    run("run", "logger=wandb", "sample_every=32")
    assert "offline" in capsys.readouterr().err
    identity = (tmp_path / "run/wandb/id").read_text()
    run("run", "logger=wandb", "images=96")
    assert (tmp_path / "run/wandb/id").read_text() == identity
    offline = list((tmp_path / "run/wandb").glob("offline-run-*"))
    assert offline
    assert all(identity in path.name for path in offline)


def test_tensorboard_writes_its_events(run: Run, tmp_path: Path):
    pytest.importorskip("tensorboard")
    run("run", "logger=tensorboard")
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_rows_are_valid_json_one_a_line(run: Run):
    for line in (Path(run("run", "log_every=16")["run_dir"]) / "metrics.jsonl").read_text().splitlines():
        assert "train/critic/wasserstein" in json.loads(line)
