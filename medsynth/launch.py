"""Several processes a run: torchrun starts them, in a sweep and outside it. Lightning alone would start the whole
command again on rank 1, a `-m` sweep included; this is the one thing that is not left to it."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from medsynth.errors import Failure, Interrupted, UserError


def processes(trainer: dict[str, Any]) -> int:
    """How many processes to start here: 1 when Lightning needs no more, or torchrun or srun has started them."""
    if not str(trainer["strategy"]).startswith("ddp") or {"fork", "spawn"} & set(str(trainer["strategy"]).split("_")):
        return 1
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return 1
    if trainer["devices"] == "auto":
        import torch

        return max(1, torch.cuda.device_count() if trainer["accelerator"] != "cpu" else 1)
    if not isinstance(trainer["devices"], int):
        raise UserError(f"trainer.devices={trainer['devices']} must be a number of processes or auto")
    return trainer["devices"]


def launch(module: str, count: int, overrides: list[str]) -> dict[str, Any]:
    """Run `python -m <module> <overrides>` in `count` processes and return rank 0's JSON.

    Raises:
        Interrupted: the run was told to stop, and saved.
        Failure: a process failed; it has said why.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, _cores() // count)))}
    received: list[int] = []
    with subprocess.Popen(
        [*command, "-m", module, *overrides], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:

        def forward(number: int, frame: Any) -> None:
            if not received:
                child.send_signal(signal.SIGTERM)
            received.append(number)

        before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            output = child.communicate()[0]
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if received:
        raise Interrupted(received[0], f"{signal.Signals(received[0]).name}: saved; the same command goes on")
    if child.returncode:
        raise Failure(f"one of the {count} processes failed with status {child.returncode}; its own lines stand above")
    return json.loads(output)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
