"""Augmented copies of training images, made once while a Pack is written: the chest X-ray study made ten of each."""

from collections.abc import Callable, Iterator

import torch

from medsynth.augment.affine import Views, flip
from medsynth.latent import Draws
from medsynth.seeds import fold


def copies(
    views: Views, *, augment: Callable[..., Views], flips: str, copies: int, seed: int, first: int
) -> Iterator[Views]:
    """Yields `copies` transformed versions of a batch of samples, first copy 1 of all of them, then copy 2, and so on.

    flips: one of FLIPS.  first: number of the first sample among all training images. Copy j of image i depends on
    seed, i and j alone, however the images are divided into batches.
    """
    singles = [{name: view[i : i + 1] for name, view in views.items()} for i in range(len(views["image"]))]
    for copy in range(1, copies + 1):
        stream = fold(seed, "copy", copy)
        one = [_copy(single, augment, flips, Draws(stream, first + i, 1)) for i, single in enumerate(singles)]
        yield {name: torch.cat([sample[name] for sample in one]) for name in views}


def _copy(sample: Views, augment: Callable[..., Views], flips: str, draws: Draws) -> Views:
    row = torch.zeros(1, dtype=torch.int64)
    return augment(flip(sample, draws, row, kind=flips), draws, row)
