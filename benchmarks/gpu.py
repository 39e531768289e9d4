"""Loop, feed and one real training on a GPU, in under ten minutes:   python benchmarks/gpu.py [--save] [--quick]

Uses the torch that is there and runs from the checkout, uninstalled. The loop is raced at 32-true, 16-mixed and
bf16-mixed; the training is of the precision that was fastest, for about a minute, from a pack of phantoms.
--save also writes benchmarks/results/<name of the GPU>.json. No bars: a GPU's numbers are for the record.
Without a GPU, or without a package that is needed: one line and status 2.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

NEEDED = (
    *("torch", "torchvision", "pytorch_lightning", "torchmetrics", "hydra", "omegaconf"),
    *("jaxtyping", "filelock", "psutil", "scipy", "numpy", "PIL"),
)
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
RESULTS = Path(__file__).parent / "results"
PHANTOMS = ("data=kidney_ct", "data.phantom=true")


@dataclass(frozen=True)
class Size:
    """How much is measured.

    run: overrides of medsynth.train: data, resolution, network, batch.
    feed: overrides of the feed's data: 256x256 files.
    pairs: of both races.  batches: of a window of the loop.  feed_batches: of a pass of our feed.
    seconds: of the training, about.
    """

    run: tuple[str, ...] = (*PHANTOMS, "resolution=64", "batch_size=64")  # widths of conf/model: 64
    feed: tuple[str, ...] = (*PHANTOMS, "data.phantom_size=256", "data.phantom_patients=6")
    pairs: int = 25
    batches: int = 50
    feed_batches: int = 400
    seconds: float = 60.0


def main() -> None:
    """Check what is there, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/<name of the GPU>.json")
    parser.add_argument("--quick", action="store_true", help="fewer pairs and a training of ten seconds")
    arguments = parser.parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        refuse(f"bench-gpu needs {', '.join(missing)} beside this Python ({sys.executable}): pip install them")

    import torch

    if not torch.cuda.is_available():
        refuse(f"bench-gpu needs a GPU; torch {torch.__version__} sees none here")
    size = Size(pairs=5, seconds=10.0) if arguments.quick else Size()
    result = measure_all("gpu", PRECISIONS, size)
    text = json.dumps(result, indent=2)
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        name = re.sub(r"[^\w-]+", "-", torch.cuda.get_device_name()).strip("-").lower()
        (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def refuse(line: str) -> NoReturn:
    """One line, status 2."""
    print(line, file=sys.stderr)
    sys.exit(2)


def measure_all(trainer: str, precisions: Sequence[str], size: Size) -> dict[str, Any]:
    """Race loop and feed, and train.

    Args:
        trainer: option of conf/trainer: gpu, or cpu in the tests.
    """
    import torch
    from measure import machine

    start = time.perf_counter()
    loops = {precision: race_loop(trainer, precision, size) for precision in precisions}
    fastest = max(loops, key=lambda precision: loops[precision]["ours_images_per_second"])
    images = int(loops[fastest]["ours_images_per_second"] * size.seconds)
    return {
        "benchmark": "gpu",
        "ours": "medsynth.train's loop; Pack and ImageDataModule",
        "other": "a bare PyTorch loop of the same mathematics and batches; torchvision ImageFolder and PIL",
        "ratio": loops[precisions[0]]["ratio"],
        "loop": loops,
        "feed": race_feed(torch.device("cuda" if trainer == "gpu" else "cpu"), size),
        "training": train(trainer, fastest, images, size),
        "seconds": round(time.perf_counter() - start, 1),
        "machine": machine(),
    }


def race_loop(trainer: str, precision: str, size: Size) -> dict[str, Any]:
    """One precision."""
    import loop
    from measure import configuration

    words = [*loop.WGAN_GP, *size.run, f"trainer={trainer}", f"trainer.precision={precision}"]
    return loop.race(configuration(*words), batches=size.batches, pairs=size.pairs)


def race_feed(device: Any, size: Size) -> dict[str, Any]:
    """Both sides end on the device."""
    import feed
    from measure import configuration

    config = configuration(*size.feed)
    return feed.race(config, device=device, pairs=size.pairs, batches=size.feed_batches, passes=1)


def train(trainer: str, precision: str, images: int, size: Size) -> dict[str, Any]:
    """A whole run as medsynth.train does it, with four grids, judgements and checkpoints: its rate and figures."""
    from measure import configuration, digits

    from medsynth import train as verb

    every = max(images // 4, 640)
    words = ["model=wgan_gp", *size.run, f"trainer={trainer}", f"trainer.precision={precision}", f"images={4 * every}"]
    words += [f"{key}={every}" for key in ("sample_every", "evaluate_every", "checkpoint_every", "log_every")]
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(*words, f"run_dir={folder}/run")
        start = time.perf_counter()
        found = verb.train(config, choices={"model": "wgan_gp", "data": config["data"]["name"]}, overrides=words)
        seconds = time.perf_counter() - start
    return {
        "command": f"python -m medsynth.train {' '.join(words)}",
        "seconds": round(seconds, 1),
        "images_per_second_with_all_stops": digits(4 * every / seconds),
        "figures": {key: digits(value) for key, value in found.items() if isinstance(value, float)},
    }


if __name__ == "__main__":
    main()
