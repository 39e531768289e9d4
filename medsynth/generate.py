"""Synthetic images of a trained model:   python -m medsynth.generate run=RUN n=64 seed=0 out=DIR"""

from collections.abc import Iterator
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


@verb("generate")
def main(config: Any) -> dict[str, Any]:
    """Check the configuration, load the run, write the images."""
    from medsynth.checkpoint import load_run
    from medsynth.export import FORMATS, Exporter

    if config.n < 1 or config.batch_size < 1 or config.first < 0:
        raise UserError(
            f"n={config.n}, batch_size={config.batch_size} must be at least 1 and first={config.first} at least 0"
        )
    if config.format not in FORMATS:
        raise UserError(f"format={config.format} is unknown; choices: {', '.join(FORMATS)}")
    if config.bits not in (8, 16):
        raise UserError(f"bits={config.bits} must be 8 or 16")
    run = load_run(config.run, checkpoint=config.checkpoint)
    out = Path(config.out or Path(config.run) / "generated")
    exporter = Exporter(out, run=run, seed=config.seed, format=config.format, bits=config.bits)
    number = config.first
    for images in synthesise(run.model, n=config.n, seed=config.seed, first=config.first, batch_size=config.batch_size):
        for image in images:
            exporter.write(image, number)
            number += 1
    exporter.close()
    say(f"{config.n} synthetic images of {config.run} at {run.images_seen:,} images: {out}")
    return {"out": str(out), "n": config.n, "manifest": str(exporter.manifest), "provenance": str(exporter.provenance)}


if __name__ == "__main__":
    main()
