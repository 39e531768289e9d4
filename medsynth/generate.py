"""Synthetic images of a trained model:   python -m medsynth.generate run=RUN n=64 seed=0 out=DIR"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsynth.cli import verb
from medsynth.errors import UserError, check_whole, say
from medsynth.run_directory import check_run

if TYPE_CHECKING:
    from torch import Tensor

    from medsynth.checkpoint import LoadedRun
    from medsynth.export import Exporter
    from medsynth.latent import Truncation


def generate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images that `config` (conf/generate.yaml as plain Python) asks for; returns the verb's JSON."""
    check(config)

    from medsynth.checkpoint import load_run
    from medsynth.sampling import idle, synthesise

    run = load_run(config["run"], checkpoint=str(config["checkpoint"]))
    n, first, seed = config["n"], config["first"], config["seed"]
    label, covariates = _conditions(run, config)
    truncation = _truncation(config)
    if truncation and idle(truncation, run.model):
        raise UserError(
            f"truncation={truncation.threshold} with truncation_mode=psi changes nothing here: this run's generator "
            "brings latents to one length; truncation_mode=resample changes their directions"
        )
    exporter = _exporter(config, run, label=label, covariates=covariates, truncation=truncation)
    batches = partial(  # the same images at each call
        synthesise,
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
    best = None if exporter.keep is None else _best(config, exporter, batches)
    images = (image for images in batches() for image in images)
    described = _described(run, seed=seed, first=first, n=n, label=label, covariates=covariates)
    try:
        for number, (image, (name, values)) in enumerate(zip(images, described, strict=True), start=first):
            if best is None:
                exporter.write(image, number, label=name, covariates=values)
            elif number in best:
                exporter.write(image, number, label=name, covariates=values, score=best[number])
    finally:  # also of an export that is stopped: else nobody knew whose images lie there
        exporter.close()
    chosen = {} if best is None else {"made": n, "usable_ratio": exporter.choices[-1]["usable_ratio"]}
    written = n if best is None else len(best)
    say(f"{written} synthetic images of {config['run']} at {run.images_seen:,} images: {exporter.out}")
    paths = {"out": exporter.out, "manifest": exporter.manifest, "provenance": exporter.provenance}
    return {"n": written, **chosen, **{name: str(path) for name, path in paths.items()}}


def _exporter(
    config: Mapping[str, Any],
    run: "LoadedRun",
    *,
    label: str | None,
    covariates: Mapping[str, float | int],
    truncation: "Truncation | None",
) -> "Exporter":
    """Writes into the folder of `config`. Raises UserError where that holds images of another kind."""
    from medsynth.export import Exporter

    seed, first = config["seed"], config["first"]
    default = Path(str(config["run"])) / f"generated-{run.images_seen}-s{seed}"
    asked = {
        "covariates": covariates,
        "truncation": truncation.threshold if truncation else None,
        "truncation_mode": truncation.mode if truncation else None,
    }
    return Exporter(
        default if config["out"] is None else Path(str(config["out"])),
        run=run,
        seed=seed,
        format=config["format"],
        bits=config["bits"],
        label=label,
        asked=asked,
        keep=_share(config),
        numbers=range(first, first + config["n"]),
    )


def _best(
    config: Mapping[str, Any], exporter: "Exporter", batches: Callable[[], Iterable["Tensor"]]
) -> dict[int, float]:
    """The numbers of the best of all images, and their scores. Raises UserError where no detector is to be had."""
    from medsynth.metrics.quality import keep
    from medsynth.metrics.undefined import Undefined
    from medsynth.subjects import load
    from medsynth.usable import blindness, detector_of, scores_of

    folder, share = Path(str(config["run"])), _share(config) or 1.0
    run, pack = load(folder, checkpoint=str(config["checkpoint"]), root=(config.get("data") or {}).get("root"))
    if run.pack_content != pack.content:
        say("warning: the real images at hand are not those of the training: their content differs")
    try:
        detector = detector_of([folder], pack)
    except Undefined as error:
        raise UserError(f"keep={share} cannot be: {error.reason}; keep=null writes all") from None
    if (reason := blindness(detector)) is not None:
        raise UserError(f"keep={share} cannot be: {reason}; keep=null writes all")
    scores = scores_of(detector, batches())
    best, ratio = keep(scores, share), detector.usable(scores)
    say(f"usable: {ratio:.1%} of {len(scores)} images, and of new real ones {1 - detector.tail.expected:.1%}")
    if unusable := int(detector.tail.holds(scores[best]).sum()):
        say(f"warning: {unusable} of the best {len(best)} images are not usable; a smaller keep leaves them out")
    exporter.choose(written=len(best), usable_ratio=ratio, detector=detector.digest())
    return {config["first"] + place: scores[place].item() for place in best.tolist()}


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work, before anything is read or written."""
    for name, least in (("n", 1), ("batch_size", 1), ("first", 0), ("seed", 0)):
        check_whole(config, name, least=least)
    check_run(Path(str(config["run"])))
    from medsynth.export import FORMATS

    if config["format"] not in FORMATS:
        raise UserError(f"format={config['format']} is unknown; choices: {', '.join(FORMATS)}")
    if config["bits"] not in (8, 16):
        raise UserError(f"bits={config['bits']} must be 8 or 16")
    if not isinstance(config.get("covariates") or {}, Mapping):
        raise UserError(f"covariates={config['covariates']} must be values by name: covariates='{{age: 60}}'")
    _truncation(config)
    _share(config)


def _share(config: Mapping[str, Any]) -> float | None:
    """The share to keep. Raises UserError unless it is one, and for a place of real images that nothing needs."""
    share, root = config.get("keep"), (config.get("data") or {}).get("root")
    if share is None and root is not None:
        raise UserError(f"data.root={root} says where the real images for keep= lie, and keep=null: set keep=0.8")
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1):
        raise UserError(f"keep={share} must be a share above 0 and at most 1, or null for all images")
    return None if share is None else float(share)


def _truncation(config: Mapping[str, Any]) -> "Truncation | None":
    from medsynth.latent import MODES, Truncation

    threshold, mode = config.get("truncation"), config.get("truncation_mode")
    if threshold is None and mode is not None:
        raise UserError(
            f"truncation_mode={mode} says how to truncate, and truncation=null does not: set truncation=0.7"
        )
    return None if threshold is None else Truncation(threshold, mode or MODES[0])


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
