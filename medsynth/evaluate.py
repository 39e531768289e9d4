"""Judge a run or anyone's images, or compare runs:   python -m medsynth.evaluate run=RUN"""

from collections.abc import Mapping
from typing import Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_flag, check_number, check_whole

LARGEST = 4096  # pixels a side that folders are resized to


def evaluate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Judge what `config` (conf/evaluate.yaml as plain Python) names; returns metrics.json's content and the paths."""
    check_choice(config)

    from medsynth.metrics.settings import settings

    config = {**config, "metrics": {**config["metrics"], "monitor": None}}  # that chooses checkpoints while training
    chosen = settings(config["metrics"])
    if chosen.count == 0:
        raise UserError("metrics=none judges nothing; use metrics=fast or metrics=full")
    if config["runs"] is not None:
        from medsynth.compare import compare_runs

        return compare_runs(config, count=chosen.count)

    from medsynth.judging import judge_folders, judge_run

    judge = judge_folders if config["run"] is None else judge_run
    return judge(config, count=chosen.count)


def check_choice(config: Mapping[str, Any]) -> None:
    """Raise UserError unless either run=, or runs=, or real= and fake=, are given, and numbers are possible."""
    real, fake = config["real"], config["fake"]
    given = [config["run"] is not None, config["runs"] is not None, real is not None or fake is not None]
    if sum(given) != 1:
        raise UserError("give either run=RUN, or runs=[A,B], or real=DIR and fake=DIR")
    if given[2] and (real is None or fake is None):
        raise UserError(f"{'real' if real is None else 'fake'}= is missing; give real=DIR and fake=DIR")
    for name, least in (("batch_size", 1), ("seed", 0), ("path_pairs", 0)):
        check_whole(config, name, least=least)
    for name in ("runs", "truncations"):
        if isinstance(config[name], str | int | float):
            raise UserError(f"{name}={config[name]} must be a list: {name}=[{config[name]}]")
    for threshold in config["truncations"]:
        check_number("truncations", threshold, least=0)
    for name in ("usable", "pairs", *(() if config["real_images"] is None else ("real_images",))):
        check_flag(config, name)
    if config["truncations"] and config["run"] is None:
        raise UserError(f"truncations={config['truncations']} needs run=RUN: only a model's latents can be truncated")
    if config["pairs"] and not given[2]:
        raise UserError("pairs=true needs real=DIR and fake=DIR: a model that starts from noise makes no pairs")
    if config["channels"] not in (1, 3):
        raise UserError(f"channels={config['channels']} must be 1 or 3")
    if config["resolution"] is not None:
        check_whole(config, "resolution", least=16)
        if config["resolution"] > LARGEST:
            raise UserError(f"resolution={config['resolution']} must be at most {LARGEST}")


if __name__ == "__main__":
    verb("evaluate", evaluate)()
