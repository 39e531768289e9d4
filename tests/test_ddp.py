"""Two ranks against one: the same batches and latents, the same losses, equal ranks. Forked, but for one torchrun."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medsynth.checkpoint import load_run
from medsynth.cli import conf_dir
from medsynth.errors import UserError
from medsynth.loggers import read_rows
from medsynth.synthesis import SynthesisModule

Run = Callable[..., dict[str, Any]]
FORKED = [
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.strategy=ddp_fork",
]
BATCHWISE = ["model.generator.norm=none"]  # no batch norm, dropout or minibatch statistics
MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
TWENTY = ["images=160", "log_every=8"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork.*", "ignore:.*find_unused_parameters=True was specified.*"
)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """Every rank writes the batches and latents it saw, and how it ended; returns them by run, ranks put together."""
    original = SynthesisModule.training_step
    seen: dict[str, list[torch.Tensor]] = {"image": [], "row": [], "latent": []}

    def step(self: Any, batch: Any, batch_idx: int) -> None:
        seen["image"].append(batch["image"].clone())
        seen["row"].append(batch["row"].clone())
        seen["latent"].append(self.draws.normal("critic", batch["row"], self.latent_dim))
        original(self, batch, batch_idx)

    def end(self: Any) -> None:
        optimizers = [optimizer.state_dict() for optimizer in self.trainer.optimizers]
        augments = {name: augment.state() for name, augment in self.critic_augments.items()}
        final = {"state": self.state_dict(), "optimizers": optimizers, "critic_augments": augments}
        folder = Path(self.trainer.default_root_dir)
        torch.save({**{k: torch.stack(v) for k, v in seen.items()}, **final}, folder / f"rank-{self.global_rank}.pt")
        for values in seen.values():
            values.clear()

    monkeypatch.setattr(SynthesisModule, "training_step", step)
    monkeypatch.setattr(SynthesisModule, "on_train_end", end)

    def read(name: str) -> dict[str, Any]:
        ranks = [torch.load(path, weights_only=True) for path in sorted((tmp_path / name).glob("rank-*.pt"))]
        joined = {key: torch.cat([rank[key] for rank in ranks], dim=1) for key in ("image", "row", "latent")}
        return {**joined, "ranks": ranks}

    return read


@pytest.mark.parametrize("name", ["wgan_gp", "dcgan"])
def test_two_ranks_see_the_same_batches_augmentations_and_latents_as_one(name: str, run: Run, recorded: Any):
    run("one", "augment=affine_mild", model=name)
    run("two", "augment=affine_mild", *FORKED, model=name)
    one, two = recorded("one"), recorded("two")
    assert len(one["ranks"]) == 1
    assert len(two["ranks"]) == 2
    for key in ("image", "row", "latent"):
        assert torch.equal(one[key], two[key])


@pytest.mark.parametrize("name", MODELS)
def test_ranks_end_with_equal_weights_averages_and_optimizers(name: str, run: Run, recorded: Any):
    run("two", *FORKED, "checkpoint_every=64", model=name)
    first, second = recorded("two")["ranks"]
    torch.testing.assert_close(first["optimizers"], second["optimizers"], rtol=0, atol=0)
    torch.testing.assert_close(first["state"], second["state"], rtol=0, atol=0)  # running statistics were reduced


def test_losses_of_two_ranks_are_those_of_one(run: Run):
    rows = [
        read_rows(Path(run(name, *BATCHWISE, *TWENTY, *options)["run_dir"]) / "metrics.jsonl")
        for name, options in (("one", []), ("two", FORKED))
    ]
    assert [len(part) for part in rows] == [20, 20]
    for one, two in zip(*rows, strict=True):
        terms = [key for key in one if key.startswith("train/")]
        assert terms
        for term in terms:
            assert two[term] == pytest.approx(one[term], rel=1e-4), term


@pytest.mark.parametrize("name", ["wgan_gp", "lapgan"])
def test_two_ranks_adapt_the_critics_augmentation_as_one_does(name: str, run: Run, recorded: Any):
    options = ["critic_augment=ada", "critic_augment.p=0.5", "critic_augment.adapt_images=640", "images=56"]
    if name == "wgan_gp":
        options += BATCHWISE
    run("one", *options, model=name)
    run("two", *options, *FORKED, model=name)
    (one,), (first, second) = ([rank["critic_augments"] for rank in recorded(run)["ranks"]] for run in ("one", "two"))
    assert first == second
    for player, state in one.items():
        assert state["p"] != 0.5
        assert state["batches"] == 3
        if name == "wgan_gp":  # the other has batch norm
            assert first[player] == state


def test_two_ranks_judge_as_one_does(run: Run):
    judged = ["metrics=fast", "metrics.count=40", "evaluate_every=8", "images=8", "optimizer.generator.lr=0"]
    one, two = (
        read_rows(Path(run(name, *judged, *options)["run_dir"]) / "metrics.jsonl")[-1]
        for name, options in (("one", []), ("two", FORKED))
    )
    names = [key for key in one if key.startswith("val/")]
    assert any("ms_ssim" in name for name in names)
    assert any("swd" in name for name in names)
    for name in names:
        assert two[name] == pytest.approx(one[name], rel=1e-6), name


def test_a_run_begun_on_one_rank_goes_on_on_two(run: Run):
    options = [*BATCHWISE, "log_every=8"]
    whole = run("whole", *options, "images=128")
    run("grown", *options)
    grown = run("grown", *options, "images=128", *FORKED)
    a, b = (read_rows(Path(r["run_dir"]) / "metrics.jsonl") for r in (whole, grown))
    assert [row["images_seen"] for row in a] == [row["images_seen"] for row in b]
    assert b[-1]["train/critic/wasserstein"] == pytest.approx(a[-1]["train/critic/wasserstein"], rel=1e-3)
    changes = json.loads((Path(grown["run_dir"]) / "changes.jsonl").read_text())["changes"]
    assert changes["trainer.devices"] == [1, 2]


def test_a_batch_that_the_processes_do_not_divide_is_refused_before_any_starts(run: Run, tmp_path: Path):
    with pytest.raises(UserError, match=r"batch_size=20 must be a multiple of 8 \(accumulate=4 times the processes\)"):
        run("two", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "batch_size=20", "accumulate=4")
    assert not (tmp_path / "two").exists()


def test_the_command_trains_on_two_ranks_by_torchrun(image_root: Path, tmp_path: Path):
    command = [sys.executable, "-m", "medsynth.train", "model=wgan_gp", "data=image_folder", f"data.root={image_root}"]
    command += ["resolution=16", "batch_size=8", "images=64", "metrics=none", "trainer=ddp", "trainer.accelerator=cpu"]
    command += ["model.generator.width=4", "model.critic.width=4", "trainer.devices=2", f"run_dir={tmp_path / 'run'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images_seen"] == 64
    assert done.stdout.count("\n") == 1
    assert load_run(tmp_path / "run").images_seen == 64
