"""Synthetic images of a trained model:   python -m medsynth.generate run=RUN n=64 seed=0 out=DIR"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsynth.cli import verb
from medsynth.errors import UserError, say

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 32  # images a network call: a fixed size, so that an image's bits depend on its seed and number alone


def synthesise(model: Any, *, n: int, seed: int, first: int = 0, batch_size: int = 64) -> "Iterator[Tensor]":
    """Yield the images first ... first + n - 1 as float32 (b, c, h, w) in [-1, 1] on the CPU.

    Args:
        model: a module with `latent_dim` and `generate`.
        batch_size: largest b, the images held at once; the network always runs on chunks of 32, the last one padded,
            and so never sees it.
    """
    import torch

    from medsynth.batch import Request
    from medsynth.latent import latents

    held: list[Tensor] = []
    last = first + n
    for start in range(first - first % CHUNK, last, CHUNK):
        latent = latents(seed, start, CHUNK, model.latent_dim).to(model.device)
        with torch.inference_mode(), torch.autocast(latent.device.type, enabled=False):
            images = model.generate(Request(latent=latent)).float().cpu()
        held += images[max(first - start, 0) : last - start]
        while len(held) >= batch_size:
            yield torch.stack(held[:batch_size])
            held = held[batch_size:]
    if held:
        yield torch.stack(held)


def generate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images that `config` (conf/generate.yaml as plain Python) asks for; returns the verb's JSON."""
    check(config)

    from medsynth.checkpoint import load_run
    from medsynth.export import Exporter

    run = load_run(config["run"], checkpoint=config["checkpoint"])
    out = Path(config["out"] or Path(config["run"]) / "generated")
    n, first, seed = config["n"], config["first"], config["seed"]
    exporter = Exporter(out, run=run, seed=seed, format=config["format"], bits=config["bits"])
    batches = synthesise(run.model, n=n, seed=seed, first=first, batch_size=config["batch_size"])
    for number, image in enumerate((image for images in batches for image in images), start=first):
        exporter.write(image, number)
    exporter.close()
    say(f"{n} synthetic images of {config['run']} at {run.images_seen:,} images: {out}")
    return {"out": str(out), "n": n, "manifest": str(exporter.manifest), "provenance": str(exporter.provenance)}


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot work, before anything is read or written."""
    if not (Path(config["run"]) / "config.yaml").exists():
        raise UserError(f"run={config['run']} is no run directory: it has no config.yaml")
    from medsynth.export import FORMATS

    for name, least in (("n", 1), ("batch_size", 1), ("first", 0)):
        if not isinstance(config[name], int) or config[name] < least:
            raise UserError(f"{name}={config[name]} must be a whole number of at least {least}")
    if config["format"] not in FORMATS:
        raise UserError(f"format={config['format']} is unknown; choices: {', '.join(FORMATS)}")
    if config["bits"] not in (8, 16):
        raise UserError(f"bits={config['bits']} must be 8 or 16")


if __name__ == "__main__":
    verb("generate", generate)()
