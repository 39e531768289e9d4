"""What the benchmarks share: configurations, medians of alternated pairs, the machine, and the one JSON object."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # a machine with a torch of its own runs the checkout, uninstalled
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer

    from medsynth.data.pack import Pack
    from medsynth.synthesis import SynthesisModule

PHANTOMS = ("data=kidney_ct", "data.phantom=true")


def is_quick(description: str | None) -> bool:
    """Parse the command line of a benchmark and set torch's threads; was --quick given?"""
    return parse(description).quick


def parse(description: str | None, **options: str) -> argparse.Namespace:
    """The command line of a benchmark, with options of its own by name and help, and torch's threads set."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs, within a minute")
    # On a machine that is busy with other work, two threads wait for each other and measure the scheduler.
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides; 1")
    for name, meaning in options.items():
        parser.add_argument(f"--{name}", help=meaning)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    return arguments


# ------------------------------------------------------------------------------------------------- measuring


def alternate(*sides: Callable[[], float], pairs: int, warmup: int = 1) -> list[list[float]]:
    """Call all sides, which return their seconds, in the order a, b, b, a, a, ...: the machine's drift cancels.

    Returns the seconds of each side, `pairs` of each; `warmup` rounds before them are not counted.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    numbers = range(len(sides))
    for pair in range(warmup + pairs):
        for side in numbers if pair % 2 == 0 else reversed(numbers):
            seconds[side].append(sides[side]())
    return [times[warmup:] for times in seconds]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles, to four digits."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": digits(middle), "quartiles": [digits(low), digits(high)]}


def compare(ours: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """Pair by pair, how many times faster ours is: the same amount of work took `ours` and `other` seconds."""
    ratio = summary([b / a for a, b in zip(ours, other, strict=True)])
    return {
        "ratio": ratio["median"],
        "ratio_quartiles": ratio["quartiles"],
        "pairs": len(ours),
        "ours_seconds": summary(ours),
        "other_seconds": summary(other),
    }


def digits(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


# -------------------------------------------------------------------------------------------------- medsynth


def configuration(*overrides: str, verb: str = "train") -> dict[str, Any]:
    """A verb's configuration from conf/ and overrides, resolved, as plain Python."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from medsynth.cli import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose(verb, overrides=list(overrides)), resolve=True)
    return config


def narrow(model: str, width: int) -> list[str]:
    """Overrides that make every convolution of a model `width` channels wide, where its configuration has a width."""

    def found(config: Any, path: str) -> list[str]:
        if not isinstance(config, dict):
            return []
        own = [f"{path}.width={width}"] if "width" in config else []
        return [*own, *(word for key, value in config.items() for word in found(value, f"{path}.{key}"))]

    return found(configuration(f"model={model}", "data=image_folder", "data.root=none")["model"], "model")


@dataclass(frozen=True)
class Run:
    """What medsynth.train assembles, before it trains."""

    model: "SynthesisModule"
    pack: "Pack"
    trainer: "Trainer"


def train_with(config: dict[str, Any], attach: "Callable[[Run], Callback]") -> dict[str, Any]:
    """medsynth.train itself, all of it, in a run directory that is removed, with one callback more after its own.

    Args:
        attach: makes the callback from what is about to be trained.
    """
    from medsynth import train

    assemble = train._assemble

    def assemble_with(model: Any, pack: Any, *others: Any) -> Any:
        parts = assemble(model, pack, *others)
        parts[0].callbacks.append(attach(Run(model, pack, parts[0])))
        return parts

    choices = {"model": config["model"]["_target_"].rpartition(".")[2], "data": config["data"]["name"]}
    with tempfile.TemporaryDirectory() as folder, patch.object(train, "_assemble", assemble_with):
        return train.train({**config, "run_dir": f"{folder}/run"}, choices=choices, overrides=[])


# ------------------------------------------------------------------------------------------------- reporting


def machine() -> dict[str, Any]:
    """Where this was measured; the load says how busy the machine was with other work."""
    import torch

    facts = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return facts | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def finish(result: dict[str, Any]) -> NoReturn:
    """Print the result with the machine as the one JSON object on stdout; status 1 when it misses its bar."""
    print(json.dumps({**result, "machine": machine()}, indent=2))
    sys.exit(0 if result["pass"] else 1)
