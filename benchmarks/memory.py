"""Does a run's memory grow?   python benchmarks/memory.py [--quick]

Trains a WGAN-GP on phantoms with every cadence firing at least four times before 20 % of the run and as often in each
later fifth: rows, grids, judgements, checkpoints. Compared is the resident memory after the last batch with that after
the batch at 20 % of the run, both right after everything fired; the peak of each fifth stands beside it.

Bar: at 100 % at most 20 MB, or 2 %, above 20 %.
"""

from typing import Any

from measure import PHANTOMS, configuration, digits, finish, is_quick, train_with
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
    """Train `config`; returns the resident memory after each batch, in MB."""
    residency = Residency()
    train_with(config, lambda run: residency)
    return [value / MB for value in residency.bytes]


def fifths(resident: list[float]) -> list[list[float]]:
    """The run in five parts."""
    count = len(resident)
    return [resident[count * k // FIFTHS : count * (k + 1) // FIFTHS] for k in range(FIFTHS)]


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
    parts = fifths(watch(config))
    early, late = parts[0][-1], parts[-1][-1]
    allowed = max(ALLOWED_MB, ALLOWED_SHARE * early)
    finish(
        {
            "benchmark": "memory",
            "ours": "resident memory at 100 % of a run",
            "other": "the same at 20 % of the run",
            "ratio": digits(early / late),
            "bar": f"at 100 % <= at 20 % + max({ALLOWED_MB} MB, {ALLOWED_SHARE:.0%})",
            "resident_mb": {"at 20 %": round(early, 1), "at 100 %": round(late, 1)},
            "peak_mb_by_fifth": [round(max(part), 1) for part in parts],
            "growth_mb": round(late - early, 1),
            "allowed_mb": round(allowed, 1),
            "batches": images // config["batch_size"],
            "judgements": FIFTHS * FIRINGS,
            "pass": late - early <= allowed,
        }
    )


if __name__ == "__main__":
    main()
