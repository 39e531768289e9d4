"""Pairs of neighbours in a set: random pairs, when images come in random order."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 64  # pairs measured at once
Measure = Callable[[Float[Tensor, "_b _c _h _w"], Float[Tensor, "_b _c _h _w"]], Float[Tensor, " _b"]]


class Chain:
    """A measure of each image and the one before it.

    n images give n - 1 pairs; of the images only the first and the last are kept, so memory hardly grows.

    Args:
        measure: of image pairs, one number each.
        values: of pairs measured earlier.
    """

    def __init__(self, measure: Measure, values: Float[Tensor, " n"] | None = None) -> None:
        self.measure = measure
        self.first: Tensor | None = None
        self.last: Tensor | None = None
        self._values = [] if values is None else [values]

    @classmethod
    def of(cls, measure: Measure, images: Iterable[Float[Tensor, "_b _c _h _w"]]) -> "Chain":
        """Of all images of a set in batches."""
        made = cls(measure)
        for batch in images:
            made.update(batch)
        return made

    def update(self, images: Float[Tensor, "b c h w"]) -> None:
        """Measure more images, in their order."""
        images = images.detach().float()
        chain = images if self.last is None else torch.cat((self.last.to(images.device), images))
        self.first = images[:1].clone() if self.first is None else self.first
        self.last = chain[-1:].clone()
        if len(chain) > 1:
            for first, second in zip(chain[:-1].split(CHUNK), chain[1:].split(CHUNK), strict=True):
                self._add(first, second)

    def append(self, later: "Chain") -> None:
        """The pairs of images that follow these, the one of the last and the first image included."""
        if later.first is None:
            return
        if self.last is not None:
            self._add(self.last, later.first.to(self.last.device))
        self.first = later.first if self.first is None else self.first
        self.last = later.last
        self._values += later._values

    def values(self) -> Float[Tensor, " n"]:
        """Of each pair, in their order, float64; pairs k and k + 1 share an image."""
        return torch.cat([torch.zeros(0, dtype=torch.float64), *self._values])

    def compute(self) -> float:
        """The mean over all pairs; nan before there are two images."""
        return self.values().mean().item()

    def _add(self, first: Tensor, second: Tensor) -> None:
        self._values.append(self.measure(first, second).double().cpu())
