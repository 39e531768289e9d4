"""Judge a run or any folder of images:   python -m medsynth.evaluate run=RUN   or   real=DIR fake=DIR"""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_whole, say

if TYPE_CHECKING:
    from torch import Tensor

    from medsynth.metrics.suite import Images, Yardstick
    from medsynth.report import Embedding, NearestPair
    from medsynth.subjects import Subject

PAIRS = 12  # of nearest images in a report


def evaluate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Judge what `config` (conf/evaluate.yaml as plain Python) names; returns metrics.json's content and the paths."""
    check_choice(config)

    from medsynth.metrics.settings import settings

    chosen = settings(config["metrics"])
    if chosen.count == 0:
        raise UserError("metrics=none judges nothing; use metrics=fast or metrics=full")
    if config["run"] is not None:
        return _evaluate_run(config, count=chosen.count)
    return _evaluate_folders(config, count=chosen.count)


def check_choice(config: Mapping[str, Any]) -> None:
    """Raise UserError unless either run=, or real= and fake=, are given, and numbers are possible."""
    run, real, fake = config["run"], config["real"], config["fake"]
    if (run is None) == (real is None and fake is None):
        raise UserError("give either run=RUN, or real=DIR and fake=DIR")
    if run is None and (real is None or fake is None):
        raise UserError(f"{'real' if real is None else 'fake'}= is missing; give real=DIR and fake=DIR")
    check_whole(config, "batch_size", least=1)
    check_whole(config, "seed", least=0)
    if config["channels"] not in (1, 3):
        raise UserError(f"channels={config['channels']} must be 1 or 3")
    if config["resolution"] is not None:
        check_whole(config, "resolution", least=16)


def _evaluate_run(config: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    from medsynth.loggers import read_rows
    from medsynth.subjects import load, run_subject, sha256

    run = Path(str(config["run"]))
    loaded, pack = load(run, checkpoint=config["checkpoint"], root=config["data"]["root"])
    subject = run_subject(loaded, pack, count=count, seed=config["seed"], batch_size=config["batch_size"])
    command = run / "command.txt"
    facts = {
        "title": run.absolute().name,
        "facts": {
            "Model": str(loaded.config["model"]["_target_"]).rpartition(".")[2],
            "Data": f"{pack.name} at {pack.resolution} × {pack.resolution}",
            "Trained for": f"{loaded.images_seen:,} images",
            "Checkpoint": loaded.checkpoint.name,
        },
        "reproduce": [
            *(map(without_root, command.read_text().splitlines()) if command.exists() else []),
            f"# checkpoint {loaded.checkpoint.name}, sha256 {sha256(loaded.checkpoint)}",
        ],
    }
    out = Path(config["out"] or run / "evaluation")
    inside = out.resolve().is_relative_to(run.resolve())
    return _judge(subject, config, facts=facts, out=out, curves=read_rows(run / "metrics.jsonl"), inside_run=inside)


def _evaluate_folders(config: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    from medsynth.folders import folder_subject

    real, fake = Path(config["real"]), Path(config["fake"])
    subject = folder_subject(
        real,
        fake,
        unseen=Path(config["unseen"]) if config["unseen"] else None,
        resolution=config["resolution"],
        channels=config["channels"],
        count=count,
        seed=config["seed"],
    )
    facts = {"title": f"{fake.name} against {real.name}", "facts": {"Synthetic": str(fake), "Real": str(real)}}
    out = Path(config["out"] or fake.with_name(f"{fake.absolute().name}-evaluation"))
    return _judge(subject, config, facts={**facts, "reproduce": []}, out=out, curves=[], inside_run=False)


def _judge(
    subject: "Subject",
    config: Mapping[str, Any],
    *,
    facts: dict[str, Any],
    out: Path,
    curves: list[dict[str, Any]],
    inside_run: bool,
) -> dict[str, Any]:
    import json

    from medsynth.metrics.suite import Yardstick
    from medsynth.report import write_report
    from medsynth.report.verdict import verdict
    from medsynth.run_directory import write_whole

    _make_folder(out)
    _warn(subject.warnings)
    yardstick = Yardstick(
        reference=subject.reference,
        held_out=subject.held_out,
        train=subject.train,
        unseen=subject.unseen,
        patients=subject.patients,
        real_split=subject.real_split,
        config=config["metrics"],
        device=_device(config),
        thorough=True,
        origin=subject.origin,
    )
    judgement = yardstick.judge(subject.fake)
    _warn(judgement["warnings"])
    judgement["warnings"] += subject.warnings
    show_real = inside_run if config["real_images"] is None else config["real_images"]
    write_whole(out / "metrics.json", json.dumps(judgement, indent=2, allow_nan=False) + "\n")
    report = write_report(
        out,
        judgement=judgement,
        run_facts=_complete(facts),
        real_grid=_first(subject.reference) if show_real else None,
        fake_grid=_first(subject.fake),
        nearest=nearest_pairs(subject, judgement, show_real=show_real),
        curves=curves,
        embedding=_embedding(yardstick),
    )
    say(f"{verdict(judgement).headline}\nreport: {report}")
    return {**judgement, "metrics_json": str(out / "metrics.json"), "report": str(report)}


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        say(f"warning: {line}")


def _embedding(yardstick: "Yardstick") -> "Embedding | None":
    """Real and synthetic features of the first extractor along the main axes of the real ones; None without spread."""
    from medsynth.metrics.embedding import principal_axes
    from medsynth.report import Embedding

    real, fake, name = yardstick.reference, yardstick.synthetic, next(iter(yardstick.extractors or {}), None)
    if name is None or fake is None or min(real.count, fake.count) < 2 or real.features(name).shape[1] < 3:
        return None
    basis = principal_axes(real.moments[name])
    shares = basis.explained()
    return Embedding(basis.project(real.features(name)), basis.project(fake.features(name)), shares, extractor=name)


def _make_folder(out: Path) -> None:
    """Before any work, so that a folder that cannot be written costs nobody an evaluation."""
    import os

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"out={out} is not a writable folder")


def nearest_pairs(subject: "Subject", judgement: Mapping[str, Any], *, show_real: bool) -> "list[NearestPair]":
    """The pairs that a judgement names, as images: likely duplicates first, then the closest others."""
    from medsynth.metrics.entries import find
    from medsynth.metrics.nearest import COPY_DISTANCE
    from medsynth.report import NearestPair

    flagged, close = find(judgement, "duplicates"), find(judgement, "nearest_train")
    named = {}  # by number of the synthetic image: its pair, whether it is a copy, whether it was flagged
    certain = flagged["copies"] if flagged else 0
    for place, pair in enumerate(flagged["pairs"] if flagged else ()):
        named[pair["fake"]] = pair, place < certain, True  # the nearest come first, and the nearest are the copies
    for pair in close["pairs"] if close else ():
        named.setdefault(pair["fake"], (pair, pair["distance"] < COPY_DISTANCE, False))
    return [
        NearestPair(
            fake=subject.show_fake(pair["fake"]),
            train=subject.show_train(pair["train"]) if show_real else None,
            distance=pair["distance"],
            name=subject.fake_name(pair["fake"]),
            is_copy=is_copy,
            is_flagged=is_flagged,
        )
        for pair, is_copy, is_flagged in islice(named.values(), PAIRS)
    ]


def _first(images: "Images") -> "Tensor":
    """The images of the first batches, as many as a report shows."""
    import torch

    from medsynth.subjects import SHOWN

    shown = list(islice((image for batch in images for image in batch), SHOWN))
    return torch.stack(shown)


def _device(config: Mapping[str, Any]) -> Any:
    """A GPU for extractors that are worth it."""
    import torch

    heavy = {"inception", "own"} & set(config["metrics"]["extractors"])
    return torch.device("cuda") if heavy and torch.cuda.is_available() else None


def _complete(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a report with what every evaluation has: when, by what command, with which versions."""
    import platform
    import shlex
    import sys
    import time

    import torch

    from medsynth import __version__

    return {
        **facts,
        "facts": {**facts["facts"], "Judged": time.strftime("%Y-%m-%d %H:%M %z"), "medsynth": __version__},
        "reproduce": [
            *facts["reproduce"],
            without_root(shlex.join(["python", "-m", "medsynth.evaluate", *sys.argv[1:]])),
            f"# medsynth {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        ],
    }


def without_root(command: str) -> str:
    """A command as a report shows it, which others read: the folder of the data may be named after people."""
    import shlex

    words = shlex.split(command)
    if not any(word.startswith("data.root=") for word in words):
        return command
    return shlex.join("data.root=DIR" if word.startswith("data.root=") else word for word in words)


if __name__ == "__main__":
    verb("evaluate", evaluate)()
