"""Which image stands at which place of the endless training stream, as a function of the seed alone."""

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from medsynth.latent import generator


class Order:
    """The places 0, 1, 2, ... of training, filled with the numbers 0 ... m - 1 of m images.

    balance: what is done about classes of different size.
        "none": each epoch is a permutation of all images, so none comes twice before all others came once.
        "oversample": each epoch holds as many images of every class as the largest class has: small classes are
            repeated whole and filled up with a random part of them.
        "weighted": m draws an epoch with replacement, every class equally probable.
    labels: class of each image; images of label -1 are a class.
    """

    def __init__(self, labels: Int[ndarray, " m"], *, seed: int, balance: str = "none", name: str = "epoch") -> None:
        self.seed, self.balance, self.name = seed, balance, name
        self.members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.largest = max((len(images) for images in self.members), default=0)
        self.count = len(self.members) * self.largest if balance == "oversample" else len(labels)
        self._kept: tuple[int, Int[ndarray, " count"]] = (-1, np.empty(0, dtype=np.int64))

    def at(self, positions: range) -> Int[ndarray, " b"]:
        """The images at these places; place p is place p % count of epoch p // count."""
        parts, first = [], positions.start
        while first < positions.stop:
            epoch, offset = divmod(first, self.count)
            taken = min(self.count - offset, positions.stop - first)
            parts.append(self._epoch(epoch)[offset : offset + taken])
            first += taken
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _epoch(self, epoch: int) -> Int[ndarray, " count"]:
        """All images of one epoch in their order; the running one is kept."""
        if self._kept[0] != epoch:
            self._kept = (epoch, self._drawn(epoch))
        return self._kept[1]

    def _drawn(self, epoch: int) -> Int[ndarray, " count"]:
        random = generator(self.seed, self.name, epoch)
        if self.balance == "weighted":
            classes = torch.randint(len(self.members), (self.count,), generator=random).numpy()
            places = torch.rand(self.count, generator=random, dtype=torch.float64).numpy()
            sizes = np.array([len(images) for images in self.members])
            starts = np.cumsum(sizes) - sizes
            return np.concatenate(self.members)[starts[classes] + (places * sizes[classes]).astype(np.int64)]
        order = torch.randperm(self.count, generator=random).numpy()
        if self.balance == "none":
            return order
        return np.concatenate([self._filled(images, random) for images in self.members])[order]

    def _filled(self, images: Int[ndarray, " k"], random: torch.Generator) -> Int[ndarray, " largest"]:
        """A class repeated to the size of the largest."""
        whole, rest = divmod(self.largest, len(images))
        part = torch.randperm(len(images), generator=random).numpy()[:rest]
        return np.concatenate([np.tile(images, whole), images[part]])
