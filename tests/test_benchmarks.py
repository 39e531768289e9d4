"""The benchmarks are honest: both sides do the same mathematics on the same images, and a difference is found."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import feed  # noqa: E402
import gpu  # noqa: E402
import loop  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import start  # noqa: E402

PHANTOM = ["data.phantom_patients=3", "data.phantom_size=64"]
TINY = ["resolution=16", "model.generator.width=4", "model.critic.width=4", "batch_size=8", "trainer=cpu", *PHANTOM]


def raced(*overrides: str) -> dict[str, Any]:
    config = measure.configuration(*loop.MODEL, *TINY, "model.n_critic=2", *overrides)
    return loop.race(config, batches=4, pairs=2, warmup=2)


def test_the_bare_loop_and_ours_end_with_the_same_weights_bit_for_bit():
    result = raced()
    assert result["batches"] == 16  # 16 critic steps and 8 generator steps on each side
    assert result["largest_weight_difference"] == 0
    assert result["pairs"] == 2


def test_an_average_that_ramps_up_and_ends_to_do_so_is_the_same_too():
    assert raced("model.ema_half_life=4")["largest_weight_difference"] == 0


@pytest.mark.parametrize("name", ["gp_weight", "n_critic", "seed", "half_life"])
def test_a_bare_loop_of_other_mathematics_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch):
    original = loop.Bare.__init__

    def cheating(self: loop.Bare, run: measure.Run, **options: Any) -> None:
        original(self, run, **options)
        setattr(self, name, getattr(self, name) + 1 if name != "half_life" else 1)

    monkeypatch.setattr(loop.Bare, "__init__", cheating)
    result = raced()
    assert result["largest_weight_difference"] > 0
    assert not result["pass"]


def test_a_bare_loop_alone_moves_its_weights(tmp_path: Path):
    config = measure.configuration(*loop.MODEL, *TINY, "images=64")
    run = measure.assemble(config, tmp_path)
    bare = loop.Bare(run, device=torch.device("cpu"), precision="32-true")
    assert bare.distance(run.model) == 0
    bare.window(1)
    assert bare.distance(run.model) > 0


def test_mixed_precision_runs_on_both_sides():
    result = raced("trainer.precision=bf16-mixed")
    assert 0 < result["largest_weight_difference"] < 0.1  # half precision adds up in another order


def test_windows_of_ours_and_bare_alternate_so_that_a_drift_cancels(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []

    class Fake:
        device = torch.device("cpu")

        def window(self, batches: int) -> float:
            order.append("bare")
            return 1.0

        def distance(self, model: Any) -> float:
            return 0.0

    alternation = loop.Alternation(Fake(), batches=3, windows=4)  # type: ignore[arg-type]
    alternation.on_train_start(None, None)
    for batch in range(15):
        alternation.on_train_batch_end(None, None, None, None, batch)
        order += ["ours"] * (len(alternation.ours) - order.count("ours"))
    assert order == ["bare", "bare", "ours", "ours", "bare", "bare", "ours", "ours"]  # the first "ours" is noted late
    assert len(alternation.ours) == len(alternation.other) == 4


def fed() -> tuple[feed.OursFeed, feed.FolderFeed]:
    from medsynth.data.prepare_pack import phantom_root, prepare_pack
    from medsynth.errors import say

    data = measure.configuration(*feed.PHANTOM, *PHANTOM)["data"]
    pack, device = prepare_pack(data, resolution=feed.RESOLUTION), torch.device("cpu")
    batches = len(pack.splits["train"]) // feed.BATCH
    ours = feed.OursFeed(pack, workers=0, batches=batches, device=device)
    return ours, feed.FolderFeed(pack, phantom_root(data, progress=say), workers=0, device=device)


def identities(images: Tensor) -> list[bytes]:
    """Each image's 8-bit values: phantoms of 64 pixels are not resized, so both sides must give them exactly."""
    return [((image + 1) * 127.5).round().to(torch.uint8).numpy().tobytes() for image in images]


def test_both_feeds_give_the_same_images_shuffled_as_float_batches():
    ours, folder = fed()
    first = [torch.cat(list(islice(side.stream(), ours.batches))) for side in (ours, folder)]
    for images in first:
        assert images.dtype == torch.float32
        assert images.shape == (ours.batches * feed.BATCH, 1, feed.RESOLUTION, feed.RESOLUTION)
        assert -1 <= images.min() < -0.9
        assert 0.5 < images.max() <= 1
    everything = set(identities(torch.stack([folder.dataset[k][0] for k in range(len(folder.dataset))])))
    stored = identities(ours.pack.tensor(ours.pack.splits["train"]))
    assert set(stored) == everything
    assert all(set(identities(images)) <= everything for images in first)
    assert all(identities(images) != stored[: len(images)] for images in first)


def test_pairs_alternate_their_order_and_warmup_is_not_counted():
    order: list[str] = []

    def side(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    ours, other = measure.alternate(lambda: side("a", 1.0), lambda: side("b", 3.0), pairs=2, warmup=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert measure.compare(ours, other)["ratio"] == 3.0


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


def test_memory_is_watched_in_fifths_with_every_cadence_firing():
    network = ["model=wgan_gp", *measure.PHANTOMS, *TINY, "metrics.count=16"]
    config = measure.configuration(*network, *memory.cadences(800))
    assert config["evaluate_every"] == 40
    fifths = memory.watch(config)
    assert len(fifths) == 5
    assert min(fifths) > 50  # MB


def test_the_demos_command_is_read_from_the_makefile():
    config = measure.configuration(*start.demo_overrides())
    assert config["model"]["_target_"].endswith("WGANGP")
    assert config["data"]["phantom"] is True


def test_the_gpu_benchmark_runs_its_whole_course_at_the_smallest_size():
    result = gpu.measure_all("cpu", ("32-true",), quick=True, tiny=True)
    assert result["loop"]["32-true"]["largest_weight_difference"] == 0
    assert result["feed"]["ratio"] > 1
    assert result["training"]["figures"]
    assert json.dumps(result)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_without_a_gpu_the_gpu_benchmark_says_so_in_one_line_with_status_2():
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().count("\n") == 0
    assert "needs a GPU" in done.stderr
