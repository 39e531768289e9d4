"""Judge a run, or anyone's folders: measure, compare, and write metrics.json and report.html."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from medsynth.checkpoint import LoadedRun
from medsynth.data.pack import Pack
from medsynth.errors import say
from medsynth.findings import Looks, detector_at_hand, lacking, looks_of, of_images, of_model
from medsynth.folders import folder_subject, pair_findings
from medsynth.loggers import read_rows
from medsynth.metrics.embedding import principal_axes
from medsynth.metrics.entries import find
from medsynth.metrics.measurement import Measurement
from medsynth.metrics.nearest import COPY_DISTANCE
from medsynth.metrics.neighbour_map import TITLES, neighbour_map
from medsynth.metrics.per_class import ClassSets, judge_classes
from medsynth.metrics.suite import Images, Yardstick
from medsynth.model_metrics import truncation_sweep
from medsynth.report import Embedding, NearestPair, write_report
from medsynth.report.verdict import verdict
from medsynth.results import (
    Figures,
    Kept,
    complete,
    first_images,
    measured,
    warn,
    without_root,
    writable,
)
from medsynth.run_directory import write_whole
from medsynth.subjects import Subject, load, run_subject, sha256

PAIRS = 12  # of nearest images in a report
CLASS_SHOWN = 8  # images of a class and side in it


def judge_run(config: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    """A run against the images that it was trained on."""
    run = Path(str(config["run"]))
    loaded, pack = load(run, checkpoint=str(config["checkpoint"]), root=config["data"]["root"])
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
    default = "evaluation" if loaded.pack_content == pack.content else "evaluation-by-other-images"
    out = Path(str(config["out"] or run / default))
    inside = out.resolve().is_relative_to(run.resolve())
    return _judge(
        subject,
        config,
        facts=facts,
        out=out,
        curves=read_rows(run / "metrics.jsonl"),
        inside_run=inside,
        more=partial(_of_model, run, loaded, pack, config),
    )


def _of_model(
    run: Path,
    loaded: LoadedRun,
    pack: Pack,
    config: Mapping[str, Any],
    fake: Images,
    yardstick: Yardstick,
    looks: Looks,
) -> Figures:
    """What needs the model: see `medsynth.findings.of_model`, and what truncation trades."""
    count, seed = yardstick.settings.count, config["seed"]
    detector = detector_at_hand([run], pack, config)
    findings = of_model(loaded, pack, config, fake=fake, looks=looks, detector=detector, count=count)
    if not config["truncations"] or not yardstick.extractors:
        return Figures(findings)
    subject = run_subject(loaded, pack, count=count, seed=seed, batch_size=config["batch_size"])
    sweep = truncation_sweep(
        loaded,
        measured(subject, config, thorough=False).judge,
        config["truncations"],
        count=yardstick.reference.count,
        seed=seed,
        mode=config["truncation_mode"],
        extractor=next(iter(yardstick.extractors)),
    )
    return Figures(findings, {"truncation": asdict(sweep)})


def judge_folders(config: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    """One folder of images against another."""
    real, fake = Path(str(config["real"])), Path(str(config["fake"]))
    options = {name: config[name] for name in ("window", "resolution", "channels", "seed")}
    paired = Figures()
    if config["pairs"]:
        findings, warnings = pair_findings(real, fake, **options)
        paired = Figures(findings, warnings=warnings)
    unseen = Path(str(config["unseen"])) if config["unseen"] else None
    subject = folder_subject(real, fake, unseen=unseen, count=count, **options)
    named = {"Synthetic": fake.absolute().name, "Real": real.absolute().name}
    facts = {"title": f"{named['Synthetic']} against {named['Real']}", "facts": named, "reproduce": []}
    out = Path(str(config["out"] or fake.with_name(f"{fake.absolute().name}-evaluation")))
    return _judge(subject, config, facts=facts, out=out, curves=[], inside_run=False, more=lambda *_: paired)


def _judge(
    subject: Subject,
    config: Mapping[str, Any],
    *,
    facts: dict[str, Any],
    out: Path,
    curves: list[dict[str, Any]],
    inside_run: bool,
    more: Callable[[Images, Yardstick, Looks], Figures],
) -> dict[str, Any]:
    """Measure, compare and write; `more` gives the figures that this kind of subject alone has."""
    with writable(out):
        warn(subject.warnings)
        yardstick, fake = measured(subject, config), Kept(subject.fake)
        looks, synthetic = looks_of(yardstick), yardstick.measure(fake)
        findings = of_images(subject, fake, yardstick, synthetic, looks)
        own = more(fake, yardstick, looks)
        judgement = yardstick.judgement(synthetic, {**findings, **own.findings})
        judgement |= {**own.sections, **_by_class(subject, yardstick)}
        judgement["warnings"] += [*lacking(looks, yardstick), *own.warnings]
        warn(judgement["warnings"])
        judgement["warnings"] += subject.warnings
        show_real = inside_run if config["real_images"] is None else config["real_images"]
        write_whole(out / "metrics.json", json.dumps(judgement, indent=2, allow_nan=False) + "\n")
        report = write_report(
            out,
            judgement=judgement,
            run_facts=complete(facts),
            real_grid=first_images(subject.reference) if show_real else None,
            fake_grid=first_images(fake),
            nearest=nearest_pairs(subject, judgement, show_real=show_real),
            curves=curves,
            embedding=_embedding(yardstick, synthetic),
            neighbours=_neighbours(yardstick, synthetic, method=config["embedding"], seed=config["seed"]),
            class_grids={name: _class_grids(sets, show_real=show_real) for name, sets in subject.classes.items()},
        )
    say(f"{verdict(judgement).headline}\nreport: {report}")
    return {**judgement, "metrics_json": str(out / "metrics.json"), "report": str(report)}


def _by_class(subject: Subject, yardstick: Yardstick) -> dict[str, Any]:
    """The section of metrics.json on single classes, where there are any."""
    if not subject.classes:
        return {}
    judged = judge_classes(
        subject.classes,
        extractors=yardstick.extractors or {},
        count=yardstick.settings.count,
        device=yardstick.device,
        real_split=subject.real_split,
    )
    return {"classes": judged}


def _class_grids(sets: ClassSets, *, show_real: bool) -> tuple[Tensor | None, Tensor]:
    """Real images of a class, or None where they must not be shown or there are none, and synthetic ones."""

    real, fake = (first_images(images, most=CLASS_SHOWN) for images in (sets.reference, sets.fake))
    return (real if show_real and len(real) else None), fake


def _embedding(yardstick: Yardstick, fake: Measurement) -> Embedding | None:
    """Real and synthetic features of the first extractor along the main axes of the real ones; None without spread."""

    real, name = yardstick.reference, next(iter(yardstick.extractors or {}), None)
    if name is None or min(real.count, fake.count) < 2 or real.features(name).shape[1] < 3:
        return None
    basis = principal_axes(real.moments[name])
    shares = basis.explained()
    return Embedding(basis.project(real.features(name)), basis.project(fake.features(name)), shares, extractor=name)


def _neighbours(yardstick: Yardstick, fake: Measurement, *, method: str, seed: int) -> Embedding | None:
    """The same features as a map of neighbours; None where the method is pca, or there is nothing to place."""

    real, name = yardstick.reference, next(iter(yardstick.extractors or {}), None)
    if method == "pca" or name is None:
        return None
    say(f"placing {real.count + fake.count:,} images by {TITLES[method]}")
    placed = neighbour_map(real.features(name), fake.features(name), method=method, seed=seed)
    return placed and Embedding(*placed, method=TITLES[method])


def nearest_pairs(subject: Subject, judgement: Mapping[str, Any], *, show_real: bool) -> list[NearestPair]:
    """The pairs that a judgement names, as images: likely duplicates first, then the closest others."""

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
