"""Randomness that depends on a seed and a position alone: never on ranks, batch size at export, or what ran before."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.seeds import fold


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


def latents(seed: int, first: int, count: int, dim: int) -> Float[Tensor, "count dim"]:
    """Standard normal latents of images first ... first + count - 1: each depends on seed and number alone."""
    return torch.stack([torch.randn(dim, generator=generator(seed, "image", k)) for k in range(first, first + count)])
