"""Several processes a run: torchrun starts them, in a sweep and outside it. Lightning alone would start the whole
command again on rank 1, a `-m` sweep included; this is the one thing that is not left to it."""

import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsynth.errors import Failure, Interrupted


def processes(trainer: dict[str, Any]) -> int:
    """How many processes to start here: 1 when Lightning needs no more, or torchrun or srun has started them."""
    if (
        trainer["strategy"] != "ddp"
        or "TORCHELASTIC_RUN_ID" in os.environ
        or int(os.environ.get("SLURM_NTASKS", "1")) > 1
    ):
        return 1
    if trainer["devices"] == "auto":
        import torch

        return max(1, torch.cuda.device_count() if trainer["accelerator"] != "cpu" else 1)
    return trainer["devices"]


def launch(module: str, count: int, overrides: list[str]) -> dict[str, Any]:
    """Run `python -m <module> <overrides>` in `count` processes and return rank 0's JSON.

    Raises:
        Interrupted: the run was told to stop, and saved.
        Failure: a process failed; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic.agent.server.api").setLevel(logging.ERROR)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=secrets.token_hex(4),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        shutdown_timeout=600,  # seconds for the batch at hand, or a judgement, and the save
    )
    with tempfile.TemporaryDirectory() as folder, _environment(folder, count):
        try:
            elastic_launch(config, sys.executable)("-m", module, *overrides)
        except SignalException as error:
            name = signal.Signals(error.sigval).name
            raise Interrupted(int(error.sigval), f"{name}: {count} processes have stopped") from None
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise Failure(f"process {rank} of {count} failed with status {failure.exitcode}, see above") from None
        return json.loads((Path(folder) / "answer.json").read_text())


@contextmanager
def _environment(folder: str, count: int) -> Iterator[None]:
    """What the processes inherit: where rank 0 leaves its JSON, and a fair share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = dict(os.environ)
    os.environ["MEDSYNTH_ANSWER"] = str(Path(folder) / "answer.json")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
