"""Runs side by side on the same real images:   python -m medsynth.evaluate runs=[A,B,C]"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsynth.checkpoint import LoadedRun
from medsynth.data.pack import Pack
from medsynth.errors import UserError, say
from medsynth.metrics.differences import differences
from medsynth.results import complete, first_images, make_folder, measured, warn
from medsynth.run_directory import write_whole
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
    make_folder(out)
    subjects = {
        name: run_subject(run, pack, count=count, seed=config["seed"], batch_size=config["batch_size"])
        for name, (run, pack) in loaded.items()
    }
    yardstick = measured(next(iter(subjects.values())), config)
    found, judgements = {}, {}
    for number, (name, subject) in enumerate(subjects.items()):
        synthetic = yardstick.measure(subject.fake)
        draws = f"synthetic {number}" if number else "synthetic"  # the first one's intervals are those of run=
        found[name] = yardstick.find(synthetic, name=draws)
        judgements[name] = yardstick.judgement(synthetic, found[name])
        say(f"{name}: judged")
    apart = differences(found, count=count)
    warnings = _once([line for s in subjects.values() for line in s.warnings], judgements)
    warn(warnings)
    comparison = {"runs": judgements, "differences": apart, "warnings": warnings}
    write_whole(out / "metrics.json", json.dumps(comparison, indent=2, allow_nan=False) + "\n")
    facts = {
        "title": " against ".join(names),
        "facts": {name: _fact(run) for name, (run, _) in loaded.items()},
        "reproduce": [
            f"# {name}: checkpoint {run.checkpoint.name}, sha256 {sha256(run.checkpoint)}"
            for name, (run, _) in loaded.items()
        ],
    }
    report = write_comparison(
        out,
        comparison=comparison,
        run_facts=complete(facts),
        grids={name: first_images(subject.fake) for name, subject in subjects.items()},
    )
    say(f"report: {report}")
    return {**comparison, "metrics_json": str(out / "metrics.json"), "report": str(report)}


def names_of(runs: Sequence[Path]) -> dict[str, Path]:
    """What each run is called: its folder, with as many of those above it as tell all runs apart."""
    if len(runs) < 2:
        raise UserError(f"runs=[{','.join(map(str, runs))}]: give two run directories or more; run=RUN judges one")
    whole = [run.resolve().parts for run in runs]
    if len(set(whole)) < len(whole):
        raise UserError(f"runs=[{','.join(map(str, runs))}] names a run twice")
    length = next(n for n in range(1, 1 + max(map(len, whole))) if len({parts[-n:] for parts in whole}) == len(whole))
    return {"/".join(parts[-length:]): run for parts, run in zip(whole, runs, strict=True)}


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
