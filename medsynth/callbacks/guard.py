"""Stops a run that is lost, with a message that says what to try."""

from collections.abc import Iterable
from math import isfinite

from jaxtyping import Float
from torch import Tensor

from medsynth.errors import Failure

# Standard deviation over images as a share of the largest possible one. Real slices have more than 0.1; 64 images of
# a generator that ignores its latent have 0.
COLLAPSED = 0.002
PATIENCE = 20_000  # images: an untrained generator is constant too


def check_terms(row: dict[str, float], previous: dict[str, float], *, images_seen: int) -> None:
    """Raise Failure if a loss term of this row is not a finite number."""
    for name, value in row.items():
        if not isfinite(value):
            last = f" (last finite {previous[name]:.3g})" if name in previous else ""
            player = name.split("/")[1]
            raise Failure(
                f"{name.removeprefix('train/')} is {value} at image {images_seen:,}{last}; "
                f"start a new run with a lower optimizer.{player}.lr or with trainer.precision=32-true"
            )


def check_weights(weights: Iterable[Tensor], *, images_seen: int) -> None:
    """Raise Failure if a weight is not finite, so that no checkpoint of a lost run replaces a good one."""
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise Failure(
            f"weights are not finite at image {images_seen:,}; nothing was saved; "
            "start a new run with lower learning rates"
        )


def check_collapse(images: Float[Tensor, "b c h w"], *, images_seen: int) -> None:
    """Raise Failure if images of different latents are all alike, once training has had time to part them."""
    spread = images.std(dim=0).mean().item()
    if images_seen >= PATIENCE and len(images) > 1 and spread < COLLAPSED:
        raise Failure(
            f"the generator collapsed: {len(images)} images of different latents differ by {spread:.1g} on average "
            f"at image {images_seen:,}; try another seed, a lower optimizer.generator.lr, or model=wgan_gp"
        )
