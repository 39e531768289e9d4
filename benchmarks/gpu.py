"""Loop, feed and one real training on a GPU, in under ten minutes:   make bench-gpu   or   python benchmarks/gpu.py --save

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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

NEEDED = (
    "torch torchvision pytorch_lightning torchmetrics hydra omegaconf jaxtyping filelock psutil scipy numpy PIL".split()
)
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
SECONDS = 60  # of the real training
RESULTS = Path(__file__).parent / "results"


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
    result = measure_all("gpu", PRECISIONS, quick=arguments.quick)
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


def measure_all(trainer: str, precisions: tuple[str, ...], *, quick: bool, tiny: bool = False) -> dict[str, Any]:
    """Race loop and feed, and train.

    Args:
        trainer: option of conf/trainer: gpu, or cpu in the tests.
        tiny: smallest networks and data and the fewest pairs, for the tests.
    """
    import torch
    from measure import machine

    start = time.perf_counter()
    loops = {p: race_loop(trainer, p, pairs=1 if tiny else 5 if quick else 25, tiny=tiny) for p in precisions}
    fastest = max(loops, key=lambda precision: loops[precision]["ours_images_per_second"])
    device = torch.device("cuda" if trainer == "gpu" else "cpu")
    feed = race_feed(device, pairs=1 if tiny else 5 if quick else 15, tiny=tiny)
    rate = loops[fastest]["ours_images_per_second"]
    seconds = 1 if tiny else 10 if quick else SECONDS
    return {
        "benchmark": "gpu",
        "ours": "medsynth.train's loop; Pack and ImageDataModule",
        "other": "a bare PyTorch loop of the same mathematics and batches; torchvision ImageFolder and PIL",
        "ratio": loops["32-true"]["ratio"],
        "loop": loops,
        "feed": feed,
        "training": train(trainer, fastest, images=int(rate * seconds), tiny=tiny),
        "seconds": round(time.perf_counter() - start, 1),
        "machine": machine(),
    }


def overrides(trainer: str, precision: str, *, tiny: bool) -> list[str]:
    """A WGAN-GP at 64x64 with the networks of conf/model, or the smallest one."""
    import loop

    size = (
        ["resolution=16", "model.generator.width=4", "model.critic.width=4", "data.phantom_patients=3", "data.phantom_size=64"]
        if tiny
        else ["resolution=64", "model.generator.width=64", "model.critic.width=64"]
    )
    return [*loop.MODEL, *size, "batch_size=64", f"trainer={trainer}", f"trainer.precision={precision}"]


def race_loop(trainer: str, precision: str, *, pairs: int, tiny: bool) -> dict[str, Any]:
    """One precision; a window of 50 batches is long enough for a GPU."""
    import loop
    from measure import configuration

    config = configuration(*overrides(trainer, precision, tiny=tiny))
    return loop.race(config, batches=5 if tiny else 50, pairs=pairs, warmup=1 if tiny else 2)


def race_feed(device: Any, *, pairs: int, tiny: bool) -> dict[str, Any]:
    """Both sides end on the device."""
    import feed
    from measure import configuration

    size = ["data.phantom_size=64", "data.phantom_patients=3"] if tiny else []
    config = configuration(*feed.PHANTOM, *size)
    return feed.race(config, device=device, pairs=pairs, batches=4 if tiny else 400, passes=1)


def train(trainer: str, precision: str, *, images: int, tiny: bool) -> dict[str, Any]:
    """A whole run as medsynth.train does it, with grids, judgements and checkpoints; returns its rate and figures."""
    from measure import configuration, digits

    from medsynth import train as verb

    images = max(images - images % 64, 640)
    words = [word for word in overrides(trainer, precision, tiny=tiny) if "_every=" not in word and "metrics" not in word]
    every = images // 4
    cadences = [f"{key}={every}" for key in ("sample_every", "evaluate_every", "checkpoint_every")]
    count = 64 if tiny else 256
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(
            *words, f"images={images}", *cadences, f"metrics.count={count}", f"run_dir={folder}/run", "log_every=640"
        )
        start = time.perf_counter()
        found = verb.train(config, choices={"model": "wgan_gp", "data": "kidney_ct"}, overrides=words)
        seconds = time.perf_counter() - start
    figures = {key: digits(value) for key, value in found.items() if isinstance(value, float)}
    return {
        "command": f"python -m medsynth.train {' '.join(words)} images={images}",
        "precision": precision,
        "images": images,
        "seconds": round(seconds, 1),
        "images_per_second_with_all_stops": digits(images / seconds),
        "figures": figures,
    }


if __name__ == "__main__":
    main()
