"""Copies that a pixel-by-pixel comparison misses: mirrored, moved a little, brighter, of other contrast, noisy."""

from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from medsynth.metrics.nearest import Nearest

REACH = 2  # thumbnail pixels that an image may have moved either way: 1/16 of a 32-pixel thumbnail's side
SHORTLIST = 8  # training images compared at every shift, a query
FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
CHUNK = 4096  # training images compared at once: bounds memory
COARSE = 4  # thumbnail pixels, each way, averaged into one for the shortlist
QUERIES = 64  # queries compared at once
LEAST = 1e-4  # contrast of a thumbnail (share of the grey range) below which there is nothing to compare


def nearest_copy(queries: UInt8[Tensor, "n d"], train: UInt8[Tensor, "m d"], *, channels: int) -> Nearest:
    """Find the training thumbnail that each query is most likely a changed copy of.

    The distance of two pictures is sqrt((1 - r) / 2), 0 to 1, with r the greatest correlation of their pixels over
    four mirrorings and shifts of up to 2 thumbnail pixels (Lewis 1995, normalised cross-correlation). Brightness and
    contrast drop out. It is searched in two steps: with every 4 x 4 pixels averaged, at every shift, the 8 best
    training images of each mirroring are named, and only these are compared pixel by pixel. So a pair's distance is
    exact but, rarely, a nearer pair is missed.

    Args:
        queries, train: of `medsynth.metrics.nearest.thumbnails`; m >= 1.
        channels: of the images; brightness and contrast are changed in all of them alike.

    Returns:
        Distances of this measure; `Nearest.copies` does not apply to them, `medsynth.metrics.privacy.duplicates` does.
    """
    index = torch.zeros(len(queries), dtype=torch.long)
    best = torch.full((len(queries),), -torch.inf)
    coarse = torch.cat([_unit(_coarse(_middles(part, channels))) for part in train.split(CHUNK)])
    for axes, start in product(FLIPS, range(0, len(queries), QUERIES)):
        rows = slice(start, start + QUERIES)
        windows = _windows(_pictures(queries[rows], channels).flip(axes))
        shortlist = _shortlist(_unit(_coarse(windows)), coarse)  # (n, k)
        windows = _unit(windows.flatten(2))  # (n, shifts, d)
        exact = _unit(_middles(train[shortlist.flatten()], channels).flatten(1)).unflatten(0, shortlist.shape)
        found = torch.einsum("nsd,nkd->nks", windows, exact).amax(dim=2)
        found, place = found.max(dim=1)
        index[rows] = torch.where(found > best[rows], shortlist.gather(1, place[:, None])[:, 0], index[rows])
        best[rows] = torch.maximum(found, best[rows])
    return Nearest(((1 - best.clamp(-1, 1)) / 2).sqrt(), index)


def _pictures(thumbnails: Tensor, channels: int) -> Float[Tensor, "n c s s"]:
    side = round((thumbnails.shape[1] // channels) ** 0.5)
    return thumbnails.float().unflatten(1, (channels, side, side)) / 255


def _middles(thumbnails: Tensor, channels: int) -> Float[Tensor, "n c w w"]:
    """What stays of each picture however it is shifted."""
    return _pictures(thumbnails, channels)[:, :, REACH:-REACH, REACH:-REACH]


def _unit(vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Centred and of length 1, so that a product is a correlation; a flat picture becomes 0 and resembles nothing."""
    centred = vectors - vectors.mean(dim=-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    return torch.where(length > LEAST * vectors.shape[-1] ** 0.5, centred / length.clamp(min=1e-12), 0.0)


def _windows(pictures: Float[Tensor, "n c s s"]) -> Float[Tensor, "n shifts c w w"]:
    """What each shift of up to 2 pixels brings to the place of the middle."""
    side = pictures.shape[-1] - 2 * REACH
    shifts = product(range(2 * REACH + 1), repeat=2)
    return torch.stack([pictures[:, :, y : y + side, x : x + side] for y, x in shifts], dim=1)


def _coarse(pictures: Float[Tensor, "*n c w w"]) -> Float[Tensor, "*n d"]:
    return F.avg_pool2d(pictures.flatten(0, -4), COARSE).flatten(1).unflatten(0, pictures.shape[:-3])


def _shortlist(queries: Float[Tensor, "n shifts d"], train: Float[Tensor, "m d"]) -> Int[Tensor, "n k"]:
    """The training images, at most 8, of greatest correlation with each query at its best shift."""
    values, places = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
    for start in range(0, len(train), CHUNK):
        part = (queries.flatten(0, 1) @ train[start : start + CHUNK].T).unflatten(0, queries.shape[:2]).amax(dim=1)
        values = torch.cat([values, part], dim=1)
        places = torch.cat([places, torch.arange(start, start + part.shape[1]).expand(len(queries), -1)], dim=1)
        values, order = values.topk(min(SHORTLIST, values.shape[1]), dim=1)
        places = places.gather(1, order)
    return places
