"""How soon the commands answer:   python benchmarks/start.py [--quick]

Whole processes, measured from outside and in turn with one that only imports Lightning, which every training needs:
    python -m medsynth.train --help      bar 1.5 s
    python -c 'import medsynth'          bar 0.2 s
    the command of `make demo`, up to the first row of its journal, which is written after the first batch (log_every is
    one batch here, the pack is made already): bar 12 s
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measure import ROOT, alternate, compare, configuration, finish, is_quick

OTHER = [sys.executable, "-c", "import os, pytorch_lightning; os._exit(0)"]  # Lightning's own exit takes a second
HELP = [sys.executable, "-m", "medsynth.train", "--help"]
IMPORT = [sys.executable, "-c", "import medsynth"]
BARS = {"train --help": 1.5, "import medsynth": 0.2, "first step of the demo": 12.0}


def wall(command: list[str]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def demo_overrides() -> list[str]:
    """What `make demo` says to medsynth.train, run_dir left out."""
    plan = subprocess.run(["make", "-n", "demo"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in plan.splitlines() if "-m medsynth.train" in line and "echo" not in line]
    words = line.partition("-m medsynth.train")[2].partition(">")[0].split()
    return [word for word in words if not word.startswith("run_dir=")]


def first_step(overrides: list[str]) -> float:
    """Seconds from starting medsynth.train to its first row; the process is ended then."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "run" / "metrics.jsonl"
        command = [sys.executable, "-m", "medsynth.train", *overrides, f"run_dir={rows.parent}"]
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (rows.exists() and rows.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError(
                        f"{' '.join(command)} ended with status {process.returncode} before its first row"
                    )
                time.sleep(0.005)
            seconds = time.perf_counter() - start
            process.kill()
    return seconds


def judge(name: str, ours: Callable[[], float], *, quick: bool) -> dict[str, Any]:
    """Measure `ours` in turn with the import of Lightning, and hold it against its bar."""
    a, b = alternate(ours, lambda: wall(OTHER), pairs=2 if quick else 15, warmup=0 if quick else 1)
    return {**compare(a, b), "bar_seconds": BARS[name], "pass": median(a) <= BARS[name]}


def main() -> None:
    """Measure all three."""
    quick = is_quick(__doc__)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    overrides = demo_overrides()
    config = configuration(*overrides)
    overrides.append(f"log_every={config['batch_size']}")

    from medsynth.data.prepare_pack import prepare_pack

    prepare_pack(config["data"], resolution=config["resolution"])
    measured: dict[str, Callable[[], float]] = {
        "train --help": lambda: wall(HELP),
        "import medsynth": lambda: wall(IMPORT),
        "first step of the demo": lambda: first_step(overrides),
    }
    cases = {name: judge(name, ours, quick=quick) for name, ours in measured.items()}
    finish(
        {
            "benchmark": "start",
            "ours": "the wall time of each command",
            "other": "python -c 'import pytorch_lightning'",
            "ratio": cases["train --help"]["ratio"],
            "bar": ", ".join(f"{name} <= {seconds} s" for name, seconds in BARS.items()),
            "cases": cases,
            "demo": " ".join(overrides),
            "pass": all(case["pass"] for case in cases.values()),
        }
    )


if __name__ == "__main__":
    main()
