"""Synthetic images of a trained model:   python -m medsynth.generate run=RUN n=64 seed=0 out=DIR"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_whole, say

if TYPE_CHECKING:
    from medsynth.checkpoint import LoadedRun
    from medsynth.latent import Truncation


def generate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images that `config` (conf/generate.yaml as plain Python) asks for; returns the verb's JSON."""
    check(config)

    from medsynth.checkpoint import load_run
    from medsynth.export import Exporter
    from medsynth.sampling import synthesise

    run = load_run(config["run"], checkpoint=config["checkpoint"])
    n, first, seed = config["n"], config["first"], config["seed"]
    label, covariates = _conditions(run, config)
    truncation = _truncation(config)
    if truncation and not all(getattr(network, "truncates", True) for network in run.model.modules()):
        raise UserError(
            f"truncation={truncation.threshold} changes nothing here: this run's generator normalises latents"
        )
    default = Path(str(config["run"])) / f"generated-{run.images_seen}-s{seed}"
    out = default if config["out"] is None else Path(str(config["out"]))
    asked = {
        "covariates": covariates,
        "truncation": truncation.threshold if truncation else None,
        "truncation_mode": truncation.mode if truncation else None,
    }
    exporter = Exporter(out, run=run, seed=seed, format=config["format"], bits=config["bits"], label=label, asked=asked)
    batches = synthesise(
        run.model,
        n=n,
        seed=seed,
        first=first,
        batch_size=config["batch_size"],
        attributes=run.attributes,
        label=label,
        covariates=covariates,
        truncation=truncation,
    )
    images = (image for images in batches for image in images)
    described = _described(run, seed=seed, first=first, n=n, label=label, covariates=covariates)
    for number, (image, (name, values)) in enumerate(zip(images, described, strict=True), start=first):
        exporter.write(image, number, label=name, covariates=values)
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
    if not isinstance(config.get("covariates") or {}, Mapping):
        raise UserError(f"covariates={config['covariates']} must be values by name: covariates='{{age: 60}}'")
    _truncation(config)


def _truncation(config: Mapping[str, Any]) -> "Truncation | None":
    from medsynth.latent import Truncation

    threshold, mode = config.get("truncation"), config.get("truncation_mode")
    if threshold is None and mode is not None:
        raise UserError(
            f"truncation_mode={mode} says how to truncate, and truncation=null does not: set truncation=0.7"
        )
    return None if threshold is None else Truncation(threshold, mode or "resample")


def _conditions(run: "LoadedRun", config: Mapping[str, Any]) -> tuple[str | None, dict[str, float | int]]:
    """The label and the covariates that are asked for. Raises UserError where the model takes none or other ones."""
    label = None if config.get("label") is None else str(config["label"])
    covariates = dict(config.get("covariates") or {})
    for name, asked in (("label", label), ("covariates", covariates)):
        if asked and name not in run.model.needs:
            raise UserError(f"{name}={asked}: the model of {config['run']} is not conditioned on {name}; leave it out")
    if run.attributes is not None:
        run.attributes.check(label=label, covariates=covariates)
    return label, covariates


def _described(
    run: "LoadedRun", *, seed: int, first: int, n: int, label: str | None, covariates: Mapping[str, float | int]
) -> Iterator[tuple[str, dict[str, float | int]]]:
    """The class of each image, and its covariates in their own units, as far as the model is conditioned on them."""
    from medsynth.export import UNLABELLED
    from medsynth.sampling import CHUNK, needed_attributes

    needed, attributes = needed_attributes(run.model, run.attributes), run.attributes
    for start in range(first, first + n, CHUNK):
        count = min(CHUNK, first + n - start)
        if not needed or attributes is None:
            yield from [(UNLABELLED, {})] * count
            continue
        classes, values = attributes.values(seed, start, count, label=label, covariates=covariates)
        for number, row in zip(classes, values, strict=True):
            name = attributes.class_names[number] if "label" in needed else UNLABELLED
            yield name, dict(zip(attributes.covariates, row.tolist(), strict=True)) if "covariates" in needed else {}


def opened(words: list[str]) -> list[str]:
    """The command line's words with covariates, whose names the run decides, marked as new keys for Hydra."""
    return [f"++{word}" if word.startswith(("covariates.", "covariates=")) else word for word in words]


if __name__ == "__main__":
    import sys

    sys.argv[1:] = opened(sys.argv[1:])
    verb("generate", generate)()
