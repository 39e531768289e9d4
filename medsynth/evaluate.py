"""Judge a run or anyone's images, or compare runs:   python -m medsynth.evaluate run=RUN"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_flag, check_whole
from medsynth.run_directory import check_run, names_of

LARGEST = 4096  # pixels a side that folders are resized to
# What one kind of subject alone is asked: by knob what stands for "not asked", and why it says nothing of the others.
SEEN = "a run's images are judged as it was trained on them"
OF_FOLDERS = {
    "pairs": (False, "a model that starts from noise makes no pairs"),
    "unseen": (None, "a run's unseen patients are those of its val and test splits"),
    "window": (None, SEEN),
    "resolution": (None, SEEN),
    "channels": (1, SEEN),
}
OF_RUNS = {
    "checkpoint": ("last", "folders have none"),
    "data.root": (None, "folders are read where they are"),
}
OF_ONE_RUN = {"truncations": ([], "only a model's latents can be truncated, and those of several are not compared")}
NOT_OF_RUNS = {
    "real_images": (None, "a comparison shows synthetic images alone"),
    "embedding": ("pca", "a comparison shows none"),
}


def evaluate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Judge what `config` (conf/evaluate.yaml as plain Python) names; returns metrics.json's content and the paths."""
    check_choice(config)

    from medsynth.metrics.settings import settings

    config = {**config, "metrics": {**config["metrics"], "monitor": None}}  # that chooses checkpoints while training
    chosen = settings(config["metrics"])
    if chosen.count == 0:
        raise UserError("metrics.count=0 (metrics=none) judges nothing; use metrics=fast, metrics=full or a count")
    if config["embedding"] != "pca" and not chosen.extractors:
        raise UserError(f"embedding={config['embedding']} places features, and metrics.extractors=[] asks for none")
    if config["runs"] is not None:
        from medsynth.compare import compare_runs

        return compare_runs(config, count=chosen.count)

    from medsynth.judging import judge_folders, judge_run

    judge = judge_folders if config["run"] is None else judge_run
    return judge(config, count=chosen.count)


def check_choice(config: Mapping[str, Any]) -> None:
    """Raise UserError unless either run=, or runs=, or real= and fake=, are given, and the rest is of use."""
    real, fake = config["real"], config["fake"]
    given = [config["run"] is not None, config["runs"] is not None, real is not None or fake is not None]
    if sum(given) != 1:
        raise UserError("give either run=RUN, or runs=[A,B], or real=DIR and fake=DIR")
    if given[2] and (real is None or fake is None):
        raise UserError(f"{'real' if real is None else 'fake'}= is missing; give real=DIR and fake=DIR")
    _check_values(config)
    _check_truncations(config)
    one, several, folders = given
    if not folders:
        _refuse(config, OF_FOLDERS, "real=DIR and fake=DIR")
    else:
        _refuse(config, OF_RUNS, "run=RUN or runs=[A,B]")
    if not one:
        _refuse(config, OF_ONE_RUN, "run=RUN")
    if several:
        _refuse(config, NOT_OF_RUNS, "run=RUN, or real=DIR and fake=DIR")
    if one:
        check_run(Path(str(config["run"])))
    for run in names_of([Path(str(run)) for run in config["runs"]]).values() if several else ():
        check_run(run, key="runs")


def _refuse(config: Mapping[str, Any], knobs: Mapping[str, tuple[Any, str]], wanted: str) -> None:
    """Raise UserError for a knob that was turned and does nothing here."""
    for name, (unasked, why) in knobs.items():
        group, _, key = name.rpartition(".")
        value = (config[group] if group else config)[key]
        if value != unasked:
            told = str(value).lower() if isinstance(value, bool) else value
            raise UserError(f"{name}={told} needs {wanted}: {why}")


def _check_values(config: Mapping[str, Any]) -> None:
    for name, least in (("batch_size", 1), ("seed", 0), ("path_pairs", 0)):
        check_whole(config, name, least=least)
    for name in ("runs", "truncations"):
        if isinstance(config[name], str | int | float):
            raise UserError(f"{name}={config[name]} must be a list: {name}=[{config[name]}]")
    for name in ("usable", "pairs", *(() if config["real_images"] is None else ("real_images",))):
        check_flag(config, name)
    if config["embedding"] != "pca":
        from medsynth.metrics.neighbour_map import check_method

        check_method(config["embedding"])
    if config["channels"] not in (1, 3):
        raise UserError(f"channels={config['channels']} must be 1 or 3")
    if config["resolution"] is not None:
        check_whole(config, "resolution", least=16)
        if config["resolution"] > LARGEST:
            raise UserError(f"resolution={config['resolution']} must be at most {LARGEST}")


def _check_truncations(config: Mapping[str, Any]) -> None:
    thresholds, mode = config["truncations"], config["truncation_mode"]
    if not thresholds:
        if mode is not None:
            raise UserError(f"truncation_mode={mode} says how to truncate, and truncations=[] does not: set some")
        return

    from medsynth.latent import MODES, check_truncation

    for threshold in thresholds:
        check_truncation(threshold, mode or MODES[0], name="truncations")


if __name__ == "__main__":
    verb("evaluate", evaluate)()
