"""Randomness that depends on a seed and a position alone: never on ranks, batch size at export, or what ran before."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.errors import UserError
from medsynth.seeds import fold

MODES = ("resample", "psi")  # of truncation; the first where nobody says
LEAST = 0.01  # a smaller threshold accepts fewer than 0.8 % of the numbers


def generator(seed: int, *words: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream named by `seed` and `words`."""
    return torch.Generator().manual_seed(fold(seed, *words))


@dataclass(frozen=True)
class Draws:
    """The randomness of one global training batch.

    Every draw is made for all `batch_size` samples on the CPU and then indexed by `rows`, so that one rank with 64
    images and two ranks with 32 see the same numbers, bit for bit. Two draws of the same name are equal.
    """

    seed: int
    images_seen: int
    batch_size: int

    def normal(self, name: str, rows: Int[Tensor, " b"], *shape: int) -> Float[Tensor, "b ..."]:
        """Standard normal numbers (b, *shape) on the device of `rows`."""
        return self._sliced(torch.randn(self.batch_size, *shape, generator=self._stream(name)), rows)

    def uniform(self, name: str, rows: Int[Tensor, " b"], *shape: int) -> Float[Tensor, "b ..."]:
        """Uniform numbers in [0, 1) (b, *shape) on the device of `rows`."""
        return self._sliced(torch.rand(self.batch_size, *shape, generator=self._stream(name)), rows)

    def integers(self, name: str, rows: Int[Tensor, " b"], *, below: int) -> Int[Tensor, " b"]:
        """Uniform integers in [0, below) on the device of `rows`."""
        return self._sliced(torch.randint(below, (self.batch_size,), generator=self._stream(name)), rows)

    def _stream(self, name: str) -> torch.Generator:
        return generator(self.seed, name, self.images_seen)

    def _sliced(self, drawn: Tensor, rows: Tensor) -> Tensor:
        return drawn.to(rows.device, non_blocking=True)[rows]


@dataclass(frozen=True)
class Truncation:
    """Latents nearer to the middle of their distribution: images more typical and less diverse.

    mode: "resample" draws coordinates beyond `threshold` again until none is, the truncation trick of Brock et al. 2019
        (arXiv:1809.11096, section 3.1); "psi" scales latents by `threshold`.
    threshold: at least 0.01 standard deviations, or for "psi" a factor from 0 to 1; 1 changes nothing there.
    """

    threshold: float | int
    mode: str = MODES[0]

    def __post_init__(self) -> None:
        check_truncation(self.threshold, self.mode)

    def __call__(self, latent: Float[Tensor, " dim"], random: torch.Generator) -> Float[Tensor, " dim"]:
        """The truncated latent; further numbers come from `random`, the latent's own stream."""
        if self.mode == "psi":
            return latent * self.threshold
        while (beyond := latent.abs() > self.threshold).any():
            latent = torch.where(beyond, torch.randn(len(latent), generator=random), latent)
        return latent


def check_truncation(threshold: Any, mode: str, *, name: str = "truncation") -> None:
    """Raise UserError unless there is a `Truncation` of these; `name` is the knob that `threshold` comes from."""
    if mode not in MODES:
        raise UserError(f"truncation_mode={mode} is unknown; choices: {', '.join(MODES)}")
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if mode == "psi" and not (is_number and 0 <= threshold <= 1):
        raise UserError(f"{name}={threshold} must be a factor from 0 to 1 with truncation_mode=psi")
    if mode == "resample" and not (is_number and threshold >= LEAST):
        raise UserError(f"{name}={threshold} must be a number of at least {LEAST} with truncation_mode=resample")


def latents(
    seed: int, first: int, count: int, dim: int, *, truncation: Truncation | None = None
) -> Float[Tensor, "count dim"]:
    """Standard normal latents of images first ... first + count - 1: each depends on seed and number alone.

    truncation: None for none.
    """
    return torch.stack([_latent(generator(seed, "image", k), dim, truncation) for k in range(first, first + count)])


def _latent(random: torch.Generator, dim: int, truncation: Truncation | None) -> Float[Tensor, " dim"]:
    latent = torch.randn(dim, generator=random)
    return latent if truncation is None else truncation(latent, random)
