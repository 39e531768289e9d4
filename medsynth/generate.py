"""Synthetic images of a trained model:   python -m medsynth.generate run=RUN n=64 seed=0 out=DIR"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_whole, say


def generate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images that `config` (conf/generate.yaml as plain Python) asks for; returns the verb's JSON."""
    check(config)

    from medsynth.checkpoint import load_run
    from medsynth.export import Exporter
    from medsynth.sampling import synthesise

    run = load_run(config["run"], checkpoint=config["checkpoint"])
    n, first, seed = config["n"], config["first"], config["seed"]
    default = Path(str(config["run"])) / f"generated-{run.images_seen}-s{seed}"
    out = default if config["out"] is None else Path(str(config["out"]))
    exporter = Exporter(out, run=run, seed=seed, format=config["format"], bits=config["bits"])
    batches = synthesise(run.model, n=n, seed=seed, first=first, batch_size=config["batch_size"])
    for number, image in enumerate((image for images in batches for image in images), start=first):
        exporter.write(image, number)
    exporter.close()
    say(f"{n} synthetic images of {config['run']} at {run.images_seen:,} images: {out}")
    return {"out": str(out), "n": n, "manifest": str(exporter.manifest), "provenance": str(exporter.provenance)}


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work, before anything is read or written."""
    for name, least in (("n", 1), ("batch_size", 1), ("first", 0), ("seed", 0)):
        check_whole(config, name, least=least)
    if not (Path(str(config["run"])) / "config.yaml").exists():
        raise UserError(f"run={config['run']} is no run directory: it has no config.yaml")
    from medsynth.export import FORMATS

    if config["format"] not in FORMATS:
        raise UserError(f"format={config['format']} is unknown; choices: {', '.join(FORMATS)}")
    if config["bits"] not in (8, 16):
        raise UserError(f"bits={config['bits']} must be 8 or 16")


if __name__ == "__main__":
    verb("generate", generate)()
