"""Runs side by side on the same real images:   python -m medsynth.evaluate runs=[A,B,C]"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from medsynth.checkpoint import LoadedRun
from medsynth.data.pack import Pack
from medsynth.errors import UserError, say
from medsynth.findings import SYNTHETIC, detector_at_hand, lacking, looks_of, of_images, of_model
from medsynth.metrics.differences import differences
from medsynth.results import Kept, complete, first_images, measured, warn, writable
from medsynth.run_directory import names_of, write_whole
from medsynth.subjects import load, run_subject, sha256


def compare_runs(config: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    """Judge runs that were trained on the same real images, and their differences; returns metrics.json's content.

    Returns `runs` (a judgement by the name of each run), `differences` (see `medsynth.metrics.differences`), `warnings`
    and the paths. Raises UserError for runs of different real images.
    """
    from medsynth.report import write_comparison

    names = names_of([Path(str(run)) for run in config["runs"]])
    out = Path(str(config["out"] or next(iter(names.values())).absolute().parent / "comparison"))
    loaded = {
        name: load(path, checkpoint=str(config["checkpoint"]), root=config["data"]["root"])
        for name, path in names.items()
    }
    check_alike({name: pack for name, (_, pack) in loaded.items()})
    with writable(out):
        comparison, grids = _judged(names, loaded, config, count=count)
        warn(comparison["warnings"])
        write_whole(out / "metrics.json", json.dumps(comparison, indent=2, allow_nan=False) + "\n")
        facts = {
            "title": " against ".join(names),
            "facts": {name: _fact(run) for name, (run, _) in loaded.items()},
            "reproduce": [
                f"# {name}: checkpoint {run.checkpoint.name}, sha256 {sha256(run.checkpoint)}"
                for name, (run, _) in loaded.items()
            ],
        }
        report = write_comparison(out, comparison=comparison, run_facts=complete(facts), grids=grids)
    say(f"report: {report}")
    return {**comparison, "metrics_json": str(out / "metrics.json"), "report": str(report)}


def _judged(
    names: Mapping[str, Path], loaded: Mapping[str, tuple[LoadedRun, Pack]], config: Mapping[str, Any], *, count: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of metrics.json but for the paths, and images of each run: all by one yardstick and one detector."""
    subjects = {
        name: run_subject(run, pack, count=count, seed=config["seed"], batch_size=config["batch_size"])
        for name, (run, pack) in loaded.items()
    }
    yardstick = measured(next(iter(subjects.values())), config)
    looks = looks_of(yardstick)
    detector = detector_at_hand(list(names.values()), next(iter(loaded.values()))[1], config)
    found, judgements, grids = {}, {}, {}
    for number, (name, subject) in enumerate(subjects.items()):
        fake, drawn = Kept(subject.fake), f"{SYNTHETIC} {number}" if number else SYNTHETIC  # the first one's as of run=
        synthetic = yardstick.measure(fake)
        found[name] = {
            **of_images(subject, fake, yardstick, synthetic, looks, drawn=drawn),
            **of_model(*loaded[name], config, fake=fake, looks=looks, detector=detector, count=count, drawn=drawn),
        }
        judgements[name] = yardstick.judgement(synthetic, found[name])
        grids[name] = first_images(fake)
        say(f"{name}: judged")
    lines = [*lacking(looks, yardstick), *(line for subject in subjects.values() for line in subject.warnings)]
    warnings = _once(lines, judgements)
    return {"runs": judgements, "differences": differences(found, count=count), "warnings": warnings}, grids


def check_alike(packs: Mapping[str, Pack]) -> None:
    """Raise UserError unless all packs hold the same images."""
    (first, pack), *others = packs.items()
    for name, other in others:
        if other.content != pack.content:
            raise UserError(
                f"runs: {first} was trained on {pack.name} at {pack.resolution} x {pack.resolution}, {name} on "
                f"{other.name} at {other.resolution} x {other.resolution} or on other images of it; their figures do "
                "not compare"
            )


def _once(lines: list[str], judgements: Mapping[str, Any]) -> list[str]:
    """What is to be said of all runs, and of single ones by name, each line once."""
    said = {name: judgement["warnings"] for name, judgement in judgements.items()}
    shared = [line for line in next(iter(said.values())) if all(line in own for own in said.values())]
    own = [f"{name}: {line}" for name, found in said.items() for line in found if line not in shared]
    return list(dict.fromkeys([*lines, *shared, *own]))


def _fact(run: LoadedRun) -> str:
    model = str(run.config["model"]["_target_"]).rpartition(".")[2]
    return f"{model}, {run.images_seen:,} images, {run.checkpoint.name}"
