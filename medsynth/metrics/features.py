"""What an extractor of features is, and the one resize that all but published Inception share."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class MissingWeights(Exception):
    """An extractor cannot be had: its metrics are null, with this reason and the path that a file would fill.

    Attributes:
        reason: one line for people, with the remedy.
        fill: where the weights are looked for.
    """

    def __init__(self, reason: str, *, fill: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fill = fill


class Extractor(ABC):
    """Abstract: images in [-1, 1] -> one feature vector each.

    name: as in `metrics.extractors`. dimension: length d of a vector. resize: how images reach the network's size.
    sha256: of the weights, so that two figures can be told to come from the same network.
    """

    name: ClassVar[str]
    dimension: int
    resize: str
    sha256: str

    @abstractmethod
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Features (b, dimension), float32, on any device."""


def resize(images: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """Bring images to size x size pixels: bilinear, antialiased when shrinking. Values stay within their range."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
