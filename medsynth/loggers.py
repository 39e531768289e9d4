"""Where figures go: metrics.jsonl and metrics.csv always; W&B or TensorBoard beside them."""

import csv
import json
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from medsynth.errors import UserError, say


class FileLogger(Logger):
    """Rows of `images_seen` and figures, in metrics.jsonl (the truth) and metrics.csv (for a spreadsheet)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.jsonl, self.csv = folder / "metrics.jsonl", folder / "metrics.csv"
        self.columns: list[str] = []

    @property
    def name(self) -> str:
        return "files"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, int | float], step: int | None = None) -> None:
        """Append a row; `step` counts images."""
        row = {"images_seen": step, **metrics}
        with self.jsonl.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        if row.keys() <= set(self.columns):
            with self.csv.open("a", newline="") as stream:
                csv.DictWriter(stream, self.columns).writerow(row)
        else:
            self._rewrite_csv()

    def cut(self, images_seen: int) -> None:
        """Drop the rows that a run wrote beyond the checkpoint it resumes from, and a half-written last line."""
        kept = [row for row in read_rows(self.jsonl) if row["images_seen"] <= images_seen]
        partial = self.jsonl.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        partial.replace(self.jsonl)
        self._rewrite_csv()

    def _rewrite_csv(self) -> None:
        rows = read_rows(self.jsonl)
        self.columns = list({key: None for row in rows for key in row})
        partial = self.csv.with_suffix(".partial")
        with partial.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.csv)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that a kill cut short is left out, a missing file has none."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def build_loggers(config: dict[str, Any], folder: Path) -> list[Logger]:
    """The file logger, and the one that `logger=` chose."""
    choice = config["logger"]
    files = FileLogger(folder)
    match choice["kind"]:
        case "files":
            return [files]
        case "wandb":
            return [files, _wandb(config, folder)]
        case "tensorboard":
            from pytorch_lightning.loggers import TensorBoardLogger

            return [files, TensorBoardLogger(str(folder), name="tensorboard", version="")]
    raise AssertionError(f"check_logger lets {choice['kind']} through")


def check_logger(choice: dict[str, Any]) -> None:
    """Refuse a logger that is unknown or not installed."""
    kinds = {"files": None, "wandb": "wandb", "tensorboard": "tensorboard"}
    if choice["kind"] not in kinds:
        raise UserError(f"logger.kind={choice['kind']} is unknown; choices: {', '.join(kinds)}")
    package = kinds[choice["kind"]]
    if package is not None and find_spec(package) is None:
        raise UserError(f"logger={choice['kind']} needs the package {package}: pip install {package}")


def finish_wandb(*, failed: bool) -> None:
    """Close a W&B run, so that the next job of a sweep opens its own and a failed one shows as failed."""
    if "wandb" in sys.modules and (run := sys.modules["wandb"].run) is not None:
        run.finish(exit_code=int(failed))


def _wandb(config: dict[str, Any], folder: Path) -> Logger:
    """W&B's own Lightning logger: the run's id is kept in the run directory, so that a resumed run goes on in place."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    choice = config["logger"]
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
    if mode == "offline":
        say(f"W&B: nobody is logged in, so it stays offline; later: wandb sync {folder / 'wandb' / 'offline-run-*'}")
    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb" / "id"
    if not identity.exists():
        identity.write_text(secrets.token_hex(4))
    logger = WandbLogger(
        name=folder.name,
        save_dir=str(folder),
        id=identity.read_text().strip(),
        resume="allow",
        offline=mode == "offline",
        project=choice["project"],
        entity=choice["entity"],
        group=choice["group"],
        config={**config, "data": {key: value for key, value in config["data"].items() if key != "root"}},
        # The folder of the data may be named after people: it goes to W&B neither in the config nor in the command.
        settings=wandb.Settings(console="off", x_disable_meta=True),
    )
    # Panels from code: every figure over images_seen, in one section a prefix.
    logger.experiment.define_metric("images_seen")
    for section in ("train/*", "val/*"):
        logger.experiment.define_metric(section, step_metric="images_seen")
    return logger
