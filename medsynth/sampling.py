"""Images out of a trained model."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from medsynth.attributes import Attributes
from medsynth.batch import Request
from medsynth.errors import UserError
from medsynth.latent import Truncation, latents

CHUNK = 32  # images a network call: a fixed size, so that an image's bits depend on its seed and number alone
CONDITIONS = ("label", "covariates")


def synthesise(
    model: Any,
    *,
    n: int,
    seed: int,
    first: int = 0,
    batch_size: int = 64,
    attributes: Attributes | None = None,
    label: str | None = None,
    covariates: Mapping[str, float | int] | None = None,
    truncation: Truncation | None = None,
) -> Iterator[Tensor]:
    """Yield the images first ... first + n - 1 as float32 (b, c, h, w) in [-1, 1] on the CPU.

    Args:
        model: a module with `latent_dim`, `needs`, `device` and `generate`.
        batch_size: largest b, the images held at once; the network always runs on chunks of 32, the last one padded,
            and so never sees it.
        attributes: where labels and covariates are drawn from; a model that needs none takes None.
        label, covariates: see Attributes.draw.
        truncation: of the latents; None for none.

    Raises UserError for a model that needs attributes which are not there.
    """
    needed = needed_attributes(model, attributes)
    held: list[Tensor] = []
    last = first + n
    for start in range(first - first % CHUNK, last, CHUNK):
        request = Request(latent=latents(seed, start, CHUNK, model.latent_dim, truncation=truncation).to(model.device))
        if needed and attributes is not None:
            drawn = attributes.draw(seed, start, CHUNK, label=label, covariates=covariates)
            request = Request(**request, **{key: drawn[key].to(model.device) for key in needed})  # type: ignore[typeddict-item]
        with torch.inference_mode(), torch.autocast(request["latent"].device.type, enabled=False):
            images = model.generate(request).float().cpu()
        held += images[max(first - start, 0) : last - start]
        while len(held) >= batch_size:
            yield torch.stack(held[:batch_size])
            held = held[batch_size:]
    if held:
        yield torch.stack(held)


def needed_attributes(model: Any, attributes: Attributes | None) -> list[str]:
    """Which of "label" and "covariates" the model is conditioned on. Raises UserError where `attributes` lacks one."""
    needed = [key for key in CONDITIONS if key in getattr(model, "needs", ())]
    has = {
        "label": attributes is not None and bool(attributes.class_names),
        "covariates": attributes is not None and bool(attributes.covariates),
    }
    if missing := [key for key in needed if not has[key]]:
        raise UserError(f"the model is conditioned on {missing[0]}, and its checkpoint does not say what training had")
    return needed


def idle(truncation: Truncation, model: Any) -> bool:
    """Does a truncation leave all images as they are? Scaling latents does where the generator brings them to one
    length, but for scaling by 0, which leaves none."""
    scales = truncation.mode == "psi" and truncation.threshold > 0
    return scales and any(getattr(network, "normalises_latents", False) for network in model.modules())
