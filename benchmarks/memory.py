"""Does a run's memory grow?   python benchmarks/memory.py [--quick]

Trains a WGAN-GP on phantoms with every cadence firing at least four times before 20 % of the run and as often in each
later fifth: rows, grids, judgements, checkpoints. Compared is the largest resident memory from 80 to 100 % of the run
with that from 0 to 20 %, which is past the first of everything.

Bar: at 100 % at most 20 MB, or 2 %, above 20 %.
"""

import tempfile
from pathlib import Path
from typing import Any

from measure import PHANTOMS, assemble, configuration, digits, finish, is_quick
from pytorch_lightning import Callback

ALLOWED_MB, ALLOWED_SHARE = 20, 0.02
MB = 1e6
FIFTHS = 5
FIRINGS = 4  # of every cadence in a fifth of the run


class Residency(Callback):
    """Notes the process's resident memory after every batch, after all other callbacks."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        import psutil

        self.bytes.append(psutil.Process().memory_info().rss)


def watch(config: dict[str, Any]) -> list[float]:
    """Train `config`; returns the largest resident memory of each fifth of the run, in MB."""
    residency = Residency()
    with tempfile.TemporaryDirectory() as folder:
        assemble(config, Path(folder)).fit(residency)
    count = len(residency.bytes)
    fifths = [residency.bytes[count * k // FIFTHS : count * (k + 1) // FIFTHS] for k in range(FIFTHS)]
    return [max(fifth) / MB for fifth in fifths]


def cadences(images: int) -> list[str]:
    """Overrides with which everything fires FIRINGS times a fifth of the run."""
    every = images // (FIFTHS * FIRINGS)
    keys = ("log_every", "sample_every", "evaluate_every", "checkpoint_every")
    return [f"images={images}", *(f"{key}={every}" for key in keys)]


def main() -> None:
    """Watch one run."""
    quick = is_quick(__doc__)
    images = 6_400 if quick else 64_000
    network = ["resolution=32", "model.generator.width=8", "model.critic.width=8", "metrics.count=128"]
    config = configuration("model=wgan_gp", *PHANTOMS, *network, "batch_size=16", "trainer=cpu", *cadences(images))
    fifths = watch(config)
    allowed = max(ALLOWED_MB, ALLOWED_SHARE * fifths[0])
    finish(
        {
            "benchmark": "memory",
            "ours": "largest resident memory from 80 to 100 % of a run",
            "other": "the same from 0 to 20 % of the run",
            "ratio": digits(fifths[0] / fifths[-1]),
            "bar": f"at 100 % <= at 20 % + max({ALLOWED_MB} MB, {ALLOWED_SHARE:.0%})",
            "resident_mb_by_fifth": [round(value, 1) for value in fifths],
            "growth_mb": round(fifths[-1] - fifths[0], 1),
            "allowed_mb": round(allowed, 1),
            "batches": images // config["batch_size"],
            "judgements": FIFTHS * FIRINGS,
            "pass": fifths[-1] - fifths[0] <= allowed,
        }
    )


if __name__ == "__main__":
    main()
