"""Images out of a trained model."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from medsynth.batch import Request
from medsynth.latent import latents

CHUNK = 32  # images a network call: a fixed size, so that an image's bits depend on its seed and number alone


def synthesise(model: Any, *, n: int, seed: int, first: int = 0, batch_size: int = 64) -> Iterator[Tensor]:
    """Yield the images first ... first + n - 1 as float32 (b, c, h, w) in [-1, 1] on the CPU.

    Args:
        model: a module with `latent_dim`, `device` and `generate`.
        batch_size: largest b, the images held at once; the network always runs on chunks of 32, the last one padded,
            and so never sees it.
    """
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
