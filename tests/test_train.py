"""Training end to end, at the smallest size: resume, elasticity, refusals."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException

from medsynth.errors import Failure, Interrupted, UserError
from medsynth.loggers import read_rows
from medsynth.synthesis import SynthesisModule
from medsynth.train import check, train

Compose = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]
BATCHWISE = ["model.generator.norm=none"]  # no batch statistics anywhere


def state(result: dict[str, Any]) -> dict[str, Any]:
    return torch.load(result["checkpoint"], weights_only=True)


def assert_equal_states(a: dict[str, Any], b: dict[str, Any]) -> None:
    for key in ("state_dict", "optimizer_states", "clock"):
        torch.testing.assert_close(b[key], a[key], rtol=0, atol=0)


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def test_a_run_directory_holds_what_other_verbs_read(run: Run, tmp_path: Path):
    result = run("run", "log_every=16", "sample_every=32")
    names = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert {"config.yaml", "command.txt", "metrics.jsonl", "metrics.csv", "checkpoints/last.ckpt"} <= names
    assert {f"samples/{seen:09d}.png" for seen in (0, 32, 64)} <= names
    assert json.dumps(result)
    assert result["images_seen"] == 64
    assert {"train/critic/wasserstein", "train/critic/gradient_penalty", "train/generator/wasserstein"} <= result.keys()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first_and_the_same_command_goes_on_bit_for_bit(
    number: int, run: Run, monkeypatch: pytest.MonkeyPatch
):
    options = ["images=96", "log_every=16", "checkpoint_every=48"]
    whole = run("whole", *options)
    original = SynthesisModule.training_step

    def signalled(self: SynthesisModule, batch: Any, batch_idx: int) -> None:
        original(self, batch, batch_idx)
        if self.clock.images_seen == 40:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(SynthesisModule, "training_step", signalled)
        with pytest.raises(Interrupted, match="saved at image 40; the same command goes on") as stop:
            run("stopped", *options)
    assert stop.value.signal_number == number
    assert signal.getsignal(number) is before
    assert_equal_states(state(whole), state(run("stopped", *options)))


def test_a_crash_between_checkpoints_resumes_bit_for_bit_and_cuts_later_rows(run: Run, power_cut: Callable[..., None]):
    options = ["images=96", "log_every=16", "checkpoint_every=32"]
    whole = run("whole", *options)
    power_cut("cut", *options, at=56)
    resumed = run("cut", *options)
    assert_equal_states(state(whole), state(resumed))
    rows = [read_rows(Path(r["run_dir"]) / "metrics.jsonl") for r in (whole, resumed)]
    assert without_time(rows[1]) == without_time(rows[0])


def test_training_twice_gives_the_same_bits_and_another_seed_others(run: Run):
    first, second, other = run("a"), run("b"), run("c", "seed=1")
    assert_equal_states(state(first), state(second))
    assert not torch.equal(
        state(first)["state_dict"]["critic.layers.0.weight"], state(other)["state_dict"]["critic.layers.0.weight"]
    )


def test_a_finished_run_says_so_and_a_larger_budget_goes_on(run: Run, capsys: pytest.CaptureFixture[str]):
    run("run")
    assert run("run")["images_seen"] == 64
    assert "finished" in capsys.readouterr().err
    assert_equal_states(state(run("whole", "images=128")), state(run("run", "images=128")))


def test_a_change_of_mathematics_is_refused_and_the_run_is_left_alone(run: Run, tmp_path: Path):
    before = Path(run("run")["checkpoint"]).read_bytes()
    with pytest.raises(UserError, match=r"model.gp_weight 10.0 -> 3"):
        run("run", "model.gp_weight=3", "images=128")
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == before


def test_changed_files_are_a_change_of_mathematics(run: Run, image_root: Path):
    run("run")
    (image_root / "upright" / "29.png").unlink()
    with pytest.raises(UserError, match=r"data.content \w+ -> \w+"):
        run("run", "images=128")


def test_moved_files_are_not(run: Run, image_root: Path, tmp_path: Path):
    run("run")
    image_root.rename(tmp_path / "moved")
    run("run", f"data.root={tmp_path / 'moved'}", "images=128")


def test_cadences_and_budget_may_change_and_are_recorded(run: Run, tmp_path: Path):
    run("run")
    run("run", "images=128", "sample_every=16")
    changes = json.loads((tmp_path / "run/changes.jsonl").read_text())["changes"]
    assert changes == {"images": [64, 128], "sample_every": [0, 16]}


def test_accumulation_changes_memory_and_not_mathematics(run: Run):
    whole = state(run("whole", *BATCHWISE))["state_dict"]
    parts = state(run("parts", *BATCHWISE, "accumulate=4"))["state_dict"]
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


def test_clipping_bounds_the_gradient(run: Run, monkeypatch: pytest.MonkeyPatch):
    norms: list[float] = []
    original = SynthesisModule.on_before_optimizer_step

    def measured(self: SynthesisModule, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        weights = [w.grad for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        norms.append(torch.stack([w.norm() for w in weights]).norm().item())

    monkeypatch.setattr(SynthesisModule, "on_before_optimizer_step", measured)
    run("run", "clip_norm=0.01")
    assert norms
    assert max(norms) <= 0.01 * 1.001


def test_a_diverged_run_stops_with_what_to_try_and_keeps_its_checkpoint(run: Run, tmp_path: Path):
    options = ["optimizer.critic.lr=0.0001", "log_every=8", "checkpoint_every=16"]
    with pytest.MonkeyPatch.context() as patch:
        original = SynthesisModule.training_step

        def poisoned(self: SynthesisModule, batch: Any, batch_idx: int) -> None:
            if self.clock.images_seen == 40:
                batch["image"] = batch["image"] * float("nan")
            original(self, batch, batch_idx)

        patch.setattr(SynthesisModule, "training_step", poisoned)
        with pytest.raises(
            Failure,
            match=r"critic/\w+ is nan at image 48 \(last finite .*a lower optimizer.critic.lr",
        ):
            run("run", *options)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["clock"]["images_seen"] == 32
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_two_processes_cannot_train_one_run(run: Run, compose: Compose, tmp_path: Path):
    from medsynth.run_directory import RunDirectory

    with RunDirectory(tmp_path / "run").locked(), pytest.raises(UserError, match="another process trains there"):
        run("run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resolution=96", "resolution=96 must be a power of two between 16 and 1024; nearest: 64, 128"),
        ("batch_size=0", "batch_size=0 must be a whole number of at least 1"),
        ("images=0", "images=0 must be"),
        ("sample_every=-1", "sample_every=-1 must be a whole number of at least 0"),
        ("trainer.precision=8-bit", "trainer.precision=8-bit is unknown; choices: 32-true"),
        ("trainer.precision=16-mixed", "16-mixed needs a GPU"),
        ("accumulate=3", r"batch_size=8 must be a multiple of 3 \(accumulate=3 times the processes\)"),
        ("seed=abc", "seed=abc must be a whole number of at least 0"),
        ("seed=-1", "seed=-1 must be a whole number of at least 0"),
        ("batch_size=true", "batch_size=True must be a whole number"),
        ("resolution=abc", "resolution=abc must be a number"),
        ("clip_norm=-1", "clip_norm=-1 must be above 0"),
        ("trainer.devices=3", "trainer.devices=3 needs several processes: trainer=ddp"),
        ("trainer.devices=0", "trainer.devices=0 must be a whole number of at least 1"),
        ("trainer.accelerator=foo", "trainer.accelerator=foo is unknown"),
        ("trainer=gpu", "torch finds no GPU here"),
        ("+trainer.max_epochs=3", "trainer.max_epochs is not a knob"),
        ("+foo=1", "foo is not a knob of train"),
        ("~seed", "seed= is missing"),
    ],
)
def test_impossible_knobs_are_refused_before_anything_is_read(override: str, message: str, compose: Compose):
    with pytest.raises(UserError, match=message):
        check(compose(override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=1000", r"batch_size=1000 is larger than the data: the train split has \d+ images"),
        ("data.root=nowhere", r"nowhere.*data.root.*data.phantom=true"),
        ("model.critic.norm=batch", "norm=batch mixes samples"),
        ("optimizer.critic.lr=-1", "optimizer.critic: Invalid learning rate: -1"),
        ("logger.kind=foo", "logger.kind=foo is unknown"),
        ("model.generator.width=0", "width=0 and max_width=512 must be whole numbers"),
        ("model.n_critic=0", "the generator moves every 0 batches"),
        ("data.workers=-1", "data.workers=-1 must be a whole number"),
        ("data.root=null", "data.root is empty; set data.root=DIR"),
        ("data.flips=foo", "data.flips=foo must be one of"),
        ("degrade=low_resolution", "which model=wgan_gp does not take: degrade=none"),
    ],
)
def test_a_refused_run_leaves_no_directory(override: str, message: str, run: Run, tmp_path: Path):
    with pytest.raises((UserError, InstantiationException), match=message):
        run("run", override)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("dcgan", "model.generator.channels=3", "model=dcgan does not work with model.generator.channels=3: "),
        ("dcgan", "model.generator.resolution=32", "does not work with model.generator.resolution=32: "),
        ("acgan", "model.generator.classes=1", "does not work with model.generator.classes=1: index out of range"),
        ("hinge", "model.generator.classes=null", "model.generator is conditioned on label, and model.critic is not"),
        ("acgan", "model.critic.classes=0", "model.generator is conditioned on label, and model.critic is not"),
        ("acgan", "model.generator.dim=0", "dim=0 of an embedding must be at least 1"),
        ("gan", "batch_size=1", "model=gan does not work with batch_size=1: Expected more than 1 value"),
    ],
)
def test_parts_that_do_not_fit_are_named_before_there_is_a_directory(
    model: str, override: str, message: str, compose: Compose, tmp_path: Path
):
    config = compose(f"run_dir={tmp_path / 'run'}", override, model=model)
    with pytest.raises((UserError, InstantiationException), match=message):
        train(config, choices={"model": model, "data": "image_folder"}, overrides=[override])
    assert not (tmp_path / "run").exists()


def test_an_error_that_no_choice_explains_keeps_its_traceback(compose: Compose, monkeypatch: pytest.MonkeyPatch):
    def broken(*parts: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SynthesisModule, "begin", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train(compose(), choices={"model": "wgan_gp", "data": "image_folder"}, overrides=[])


def test_a_conditional_model_names_data_without_labels_and_data_with_them(compose: Compose):
    config = compose("data.source.labels=none", model="acgan")
    with pytest.raises(
        UserError, match=r"model=acgan needs labels or .*data=image_folder has neither; kidney_ct, covidx"
    ):
        train(config, choices={"model": "acgan", "data": "image_folder"}, overrides=[])


def test_labels_that_a_model_needs_must_be_there(
    compose: Compose, image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from medsynth.models.wgan_gp import WGANGP

    monkeypatch.setattr(WGANGP, "needs", frozenset({"image", "label"}))
    config = compose(f"run_dir={tmp_path / 'run'}", "data.source.labels=none")
    with pytest.raises(UserError, match="model=wgan_gp needs labels, data=image_folder provides only images"):
        train(config, choices={"model": "wgan_gp", "data": "image_folder"}, overrides=[])
    assert not (tmp_path / "run").exists()
