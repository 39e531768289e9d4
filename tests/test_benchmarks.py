"""The benchmarks are honest: both sides do the same mathematics on the same images, and a difference is found."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Callback
from torch import Tensor

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import evaluate  # noqa: E402
import feed  # noqa: E402
import gpu  # noqa: E402
import loop  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import start  # noqa: E402

TINY = ("resolution=16", "model.generator.width=4", "model.critic.width=4", "batch_size=8")
Race = Callable[..., dict[str, Any]]


@pytest.fixture
def data(image_root: Path) -> tuple[str, ...]:
    return ("data=image_folder", f"data.root={image_root}")


@pytest.fixture
def race(data: tuple[str, ...]) -> Race:
    """Races ours and the bare loop over 16 batches."""

    def start(*overrides: str) -> dict[str, Any]:
        config = measure.configuration(*loop.WGAN_GP, *data, *TINY, "trainer=cpu", "model.n_critic=2", *overrides)
        return loop.race(config, batches=4, pairs=2, warmup=2)

    return start


@pytest.fixture
def folder(tmp_path: Path) -> tuple[str, ...]:
    """150 pictures of 64x64 in two class folders: neither side resizes them."""
    rng = np.random.default_rng(1)
    for number in range(150):
        path = tmp_path / "pictures" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64)).astype(np.uint8)).save(path)
    return ("data=image_folder", f"data.root={tmp_path / 'pictures'}")


def test_the_bare_loop_and_ours_end_with_the_same_weights_bit_for_bit(race: Race):
    result = race()
    assert result["batches"] == 16  # 16 critic steps and 8 generator steps on each side
    assert result["largest_weight_difference"] == 0
    assert result["pairs"] == 2


def test_an_average_that_has_ramped_up_is_the_same_too(race: Race):
    assert race("model.ema_half_life=4")["largest_weight_difference"] == 0


@pytest.mark.parametrize("name", ["gp_weight", "n_critic", "seed", "half_life"])
def test_a_bare_loop_of_other_mathematics_is_found_out(name: str, race: Race, monkeypatch: pytest.MonkeyPatch):
    original = loop.Bare.__init__

    def cheating(self: loop.Bare, run: measure.Run, **options: Any) -> None:
        original(self, run, **options)
        setattr(self, name, getattr(self, name) + 1 if name != "half_life" else 1)

    monkeypatch.setattr(loop.Bare, "__init__", cheating)
    result = race()
    assert result["largest_weight_difference"] > 0
    assert not result["pass"]


def test_a_bare_loop_starts_from_the_runs_weights_and_moves_its_own(data: tuple[str, ...]):
    distances: list[float] = []

    def attach(run: measure.Run) -> Callback:
        bare = loop.Bare(run, device=torch.device("cpu"), precision="32-true")
        distances.append(bare.distance(run.model))
        bare.window(1)
        distances.append(bare.distance(run.model))
        return Callback()

    measure.train_with(measure.configuration(*loop.WGAN_GP, *data, *TINY, "trainer=cpu", "images=8"), attach)
    assert distances[0] == 0
    assert distances[1] > 0


def test_ours_is_measured_with_all_that_medsynth_train_runs(data: tuple[str, ...]):
    found: list[str] = []

    def attach(run: measure.Run) -> Callback:
        class Look(Callback):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                found.extend(type(part).__name__ for part in (*trainer.callbacks, *trainer.loggers))

        return Look()

    measure.train_with(measure.configuration(*loop.WGAN_GP, *data, *TINY, "trainer=cpu", "images=8"), attach)
    assert {"Journal", "SampleGrid", "Evaluation", "Checkpoints", "StopOnSignal", "FileLogger"} <= set(found)


def test_mixed_precision_runs_on_both_sides(race: Race):
    result = race("trainer.precision=bf16-mixed")
    assert 0 < result["largest_weight_difference"] < 0.1  # half precision adds up in another order


def test_windows_of_ours_and_bare_alternate_so_that_a_drift_cancels(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []

    class Fake:
        device = torch.device("cpu")

        def window(self, batches: int) -> loop.Seconds:
            order.append("bare")
            return loop.Seconds(1.0, 1.0)

        def distance(self, model: Any) -> float:
            return 0.0

    alternation = loop.Alternation(Fake(), batches=3, windows=4)  # type: ignore[arg-type]
    alternation.on_train_start(None, None)
    for batch in range(15):
        alternation.on_train_batch_end(None, None, None, None, batch)
        order += ["ours"] * (len(alternation.ours) - order.count("ours"))
    assert order == ["bare", "bare", "ours", "ours", "bare", "bare", "ours", "ours"]  # the first "ours" is noted late
    assert len(alternation.ours) == len(alternation.other) == 4


def identities(images: Tensor) -> list[bytes]:
    """Each image's 8-bit values, which both sides must give exactly."""
    return [((image + 1) * 127.5).round().to(torch.uint8).numpy().tobytes() for image in images]


def test_both_feeds_give_the_same_images_shuffled_as_float_batches(folder: tuple[str, ...]):
    from medsynth.data.prepare_pack import prepare_pack

    config, cpu = measure.configuration(*folder)["data"], torch.device("cpu")
    pack = prepare_pack(config, resolution=feed.RESOLUTION)
    ours = feed.OursFeed(pack, workers=0, batches=1, device=cpu)
    other = feed.FolderFeed(pack, feed.files_of(config), workers=0, device=cpu)
    stored = identities(pack.tensor(pack.splits["train"]))
    assert stored == identities(torch.stack([image for image, _ in other.dataset]))
    for batch in (next(ours.stream()), next(other.stream())):
        assert batch.dtype == torch.float32
        assert batch.shape == (feed.BATCH, 1, feed.RESOLUTION, feed.RESOLUTION)
        assert (batch.min(), batch.max()) == (-1, 1)
        drawn = identities(batch)
        assert set(drawn) <= set(stored)
        assert drawn != stored[: feed.BATCH]


def test_pairs_alternate_their_order_and_warmup_is_not_counted():
    order: list[str] = []

    def side(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    ours, other = measure.alternate(lambda: side("a", 1.0), lambda: side("b", 3.0), pairs=2, warmup=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert measure.compare(ours, other)["ratio"] == 3.0


def test_three_sides_go_there_and_back():
    order: list[int] = []
    measure.alternate(*(lambda side=side: order.append(side) or 1.0 for side in range(3)), pairs=2, warmup=0)
    assert order == [0, 1, 2, 2, 1, 0]


def test_a_summary_is_median_and_quartiles():
    assert measure.summary([1, 2, 3, 4, 100]) == {"median": 3.0, "quartiles": [2.0, 4.0]}


def test_a_result_is_one_json_object_and_a_missed_bar_is_status_1(capsys: pytest.CaptureFixture[str]):
    for passed in (True, False):
        with pytest.raises(SystemExit) as ended:
            measure.finish({"ratio": 1.0, "pass": passed})
        assert ended.value.code == int(not passed)
        assert json.loads(capsys.readouterr().out)["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("case", "passed"),
    [((0.96, 0.8, 0.0), False), ((0.97, 0.8, 0.0), True), ((0.5, 0.7, 0.0), True), ((1.0, 0.0, 1e-9), False)],
)
def test_the_loops_bar(case: tuple[float, float, float], passed: bool):
    names = ("ratio", "overhead_ms", "largest_weight_difference")
    assert loop.passes(dict(zip(names, case, strict=True)), on_cpu=True) is passed


def test_memory_is_watched_in_fifths_with_every_cadence_firing(data: tuple[str, ...]):
    words = ["model=wgan_gp", *data, *TINY, "trainer=cpu", "metrics.count=16"]
    config = measure.configuration(*words, *memory.cadences(160))
    assert config["evaluate_every"] == 8
    parts = memory.fifths(memory.watch(config))
    assert [len(part) for part in parts] == [4] * 5
    assert min(map(min, parts)) > 50  # MB


def test_the_demos_command_is_read_from_the_makefile():
    config = measure.configuration(*start.demo_overrides())
    assert config["model"]["_target_"].endswith("WGANGP")
    assert config["data"]["phantom"] is True


def test_the_gpu_benchmark_runs_its_whole_course_at_the_smallest_size(data: tuple[str, ...], folder: tuple[str, ...]):
    size = gpu.Size(run=(*data, *TINY), feed=folder, pairs=1, batches=2, feed_batches=2, seconds=0.1)
    result = gpu.measure_all("cpu", ("32-true",), size)
    assert result["loop"]["32-true"]["largest_weight_difference"] == 0
    assert result["feed"]["images"] >= feed.BATCH
    assert any(name.startswith("val/frechet_random") for name in result["training"]["figures"])
    assert json.dumps(result)


def test_figures_from_stored_features_are_torch_fidelitys_and_prdcs():
    result = evaluate.stored(evaluate.Size(stored=260, stored_pairs=1))
    assert result["largest_difference"] < 1e-6
    assert (result["pairs"], result["features"]) == (1, 232)


def test_a_judgement_with_remembered_real_images_is_the_same(monkeypatch: pytest.MonkeyPatch):
    original = evaluate.metrics_config
    monkeypatch.setattr(evaluate, "save_weights", lambda path: None)
    monkeypatch.setattr(evaluate, "metrics_config", lambda count, weights: original(count))
    assert evaluate.cached(evaluate.Size(cached=16, cached_pairs=1))["same"]


def test_intervals_and_real_against_real_values_are_timed_apart():
    result = evaluate.apart(evaluate.Size(apart=16))
    assert result["seconds"] > 0
    assert json.dumps(result)


def test_a_judgement_that_takes_longer_than_its_bar_fails():
    for ours, passed in ((1.0, True), (2.0, True), (2.1, False)):
        result = evaluate.verdict([ours], [2.0], bar=1.0)
        assert (result["ours_over_other"], result["pass"]) == (ours / 2, passed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_without_a_gpu_the_gpu_benchmark_says_so_in_one_line_with_status_2():
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().count("\n") == 0
    assert "needs a GPU" in done.stderr
