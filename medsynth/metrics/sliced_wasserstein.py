"""Sliced Wasserstein distance between the patches of Laplacian pyramids, one figure a level of detail."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator
from medsynth.seeds import fold

PATCH = 7
PATCHES_PER_IMAGE = 128
DIRECTIONS, REPEATS = 128, 4  # all four as in Karras et al. 2018
BLOCK = 32  # directions at once, a part of 128: bounds memory
COARSEST = 16  # side of the last level, in pixels
MOST_PATCHES = 65_536  # a level and set: bounds memory to 12.8 MB a channel, half as much more while images pass by
UNIT = 1e3  # the paper's tables are in thousandths


def laplacian_pyramid(images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c _h _w"]]:
    """Split images into bands of detail, finest first; the last one is the image itself, shrunk to 16 to 31 pixels.

    Burt and Adelson 1983 with the kernel [1 4 6 4 1] / 16 and mirrored borders. Their sum, each level enlarged to the
    next, is the image.
    """
    levels = []
    while min(images.shape[-2:]) >= 2 * COARSEST:
        smaller = _blur(images)[..., ::2, ::2]
        levels.append(images - _enlarge(smaller, images.shape[-2:]))
        images = smaller
    return [*levels, images]


def collapse(pyramid: list[Float[Tensor, "b c _h _w"]]) -> Float[Tensor, "b c h w"]:
    """Rebuild the images of a Laplacian pyramid."""
    images = pyramid[-1]
    for level in reversed(pyramid[:-1]):
        images = level + _enlarge(images, level.shape[-2:])
    return images


def _blur(images: Tensor, gain: float = 1.0) -> Tensor:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    kernel = (torch.outer(taps, taps) * gain).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=images.shape[1])


def _enlarge(images: Tensor, size: torch.Size) -> Tensor:
    spread = images.new_zeros(*images.shape[:2], *size)
    spread[..., ::2, ::2] = images
    return _blur(spread, gain=4.0)


class PatchSample:
    """Random 7 x 7 patches of every pyramid level of the images that pass by, float32 on the CPU.

    Where patches lie depends on an image's number alone, never on how images were cut into batches. How many an image
    gives depends on how many images there are: beyond 512 of them, the last patches of each are left out again.

    Args:
        seed: of the places.
        first: number of the first image, on which its places depend, in a set that is measured in parts.
    """

    def __init__(self, *, seed: int = 0, first: int = 0) -> None:
        self.seed, self.start = seed, first
        self.count = 0
        self.levels: list[list[Tensor]] = []  # of each level, batches (b, each, c, p)
        self.sides: list[int] = []

    def update(self, images: Float[Tensor, "b c h w"]) -> None:
        """Take patches of more images."""
        pyramid = laplacian_pyramid(images.detach().cpu().float())
        if not self.levels:
            self.levels = [[] for _ in pyramid]
            self.sides = [min(level.shape[-2:]) for level in pyramid]
        start = self.start + self.count
        self.count += len(images)
        found = [self._places(start + k, len(pyramid)) for k in range(len(images))]
        places = torch.stack(found)  # (b, levels, each, 2)
        for kept, level, where in zip(self.levels, pyramid, places.unbind(dim=1), strict=True):
            kept.append(extract_patches(level, where))
        if sum(len(part) * part.shape[1] for part in self.levels[0]) > 1.5 * MOST_PATCHES:
            self.levels = [[self._first(kept, self.each)] for kept in self.levels]

    def append(self, later: "PatchSample") -> None:
        """The patches of images that follow these."""
        if not self.levels:
            self.levels, self.sides = [[] for _ in later.levels], later.sides
        for kept, more in zip(self.levels, later.levels, strict=True):
            kept += more
        self.count += later.count

    def first(self, count: int) -> "PatchSample":
        """Those of the first `count` images."""
        made = PatchSample(seed=self.seed, first=self.start)
        made.count, made.sides = min(count, self.count), self.sides
        made.levels = [[patches[:count]] for patches in self.compute()]
        return made

    @property
    def each(self) -> int:
        """How many patches an image of a set of so many gives at most."""
        return max(1, min(PATCHES_PER_IMAGE, MOST_PATCHES // max(1, self.count)))

    def compute(self) -> list[Float[Tensor, "n each c p"]]:
        """The patches of each level, finest first, in the order of the images."""
        self.levels = [[self._first(kept, self.each)] for kept in self.levels]
        return [patches for (patches,) in self.levels]

    @staticmethod
    def _first(kept: list[Tensor], each: int) -> Tensor:
        return torch.cat([part[:, :each] for part in kept])

    def _places(self, number: int, levels: int) -> Float[Tensor, "levels each 2"]:
        # The first places are the same however many are wanted.
        stream = generator(self.seed, "patches", number)
        return torch.rand(levels, PATCHES_PER_IMAGE, 2, generator=stream)[:, : self.each]


def extract_patches(
    images: Float[Tensor, "b c h w"], places: Float[Tensor, "b patches 2"]
) -> Float[Tensor, "b patches c p"]:
    """Cut 7 x 7 patches of p = 49 pixels. `places` in [0, 1) span the corners that lie inside."""
    _, c, h, w = images.shape
    corners = (places * torch.tensor([h - PATCH + 1, w - PATCH + 1])).long()  # (b, patches, 2)
    offsets = torch.arange(PATCH)[:, None] * w + torch.arange(PATCH)  # (7, 7)
    index = (corners[..., 0] * w + corners[..., 1])[..., None] + offsets.flatten()  # (b, patches, 49)
    flat = index.flatten(1)[:, None].expand(-1, c, -1)  # (b, c, patches * 49)
    cut = images.flatten(2).gather(2, flat).unflatten(2, (-1, PATCH**2))  # (b, c, patches, 49)
    return cut.transpose(1, 2)  # (b, patches, c, 49)


def equally_many(
    first: list[Float[Tensor, "n _each c p"]], second: list[Float[Tensor, "m _each c p"]]
) -> tuple[list[Float[Tensor, "_n c p"]], list[Float[Tensor, "_m c p"]]]:
    """The patches of each level of two sets: of every image of either as many as the larger set's images give."""
    each = min(patches.shape[1] for patches in (*first, *second))
    a, b = ([patches[:, :each].flatten(0, 1) for patches in side] for side in (first, second))
    return a, b


def normalise(patches: Float[Tensor, "n c p"]) -> Float[Tensor, "n d"]:
    """Centre and scale each channel by the mean and deviation over all patches; a constant channel becomes 0."""
    mean = patches.mean(dim=(0, 2), keepdim=True)
    deviation = patches.std(dim=(0, 2), keepdim=True, correction=0)
    return ((patches - mean) / deviation.clamp(min=1e-6)).flatten(1)


def sliced_wasserstein(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"], *, seed: int = 0) -> float:
    """The mean over 512 random directions of the 1-D Wasserstein-1 distance of the projected points.

    Rabin et al. 2011; four rounds of 128 seeded directions as in Karras et al. 2018. Of the longer set only as many
    points as the shorter has are used, from its start.
    """
    n = min(len(first), len(second))
    projected, total = torch.empty(2, BLOCK, n), 0.0
    for repeat in range(REPEATS):
        stream = torch.Generator().manual_seed(fold(seed, "directions", repeat))
        directions = F.normalize(torch.randn(DIRECTIONS, first.shape[1], generator=stream), dim=1)
        for block in directions.split(BLOCK):
            for side, points in zip(projected, (first, second), strict=True):
                torch.mm(block, points[:n].T, out=side)
            # torch.sort also finds the order, which nobody needs here: numpy's plain sort took a 27th of its time.
            a, b = projected.numpy()
            a.sort(axis=1)
            b.sort(axis=1)
            total += np.abs(np.subtract(a, b, out=a), out=a).sum(dtype=np.float64)
    return float(total / (REPEATS * DIRECTIONS * n))


def pyramid_distance(
    first: list[Float[Tensor, "n c p"]], second: list[Float[Tensor, "m c p"]], *, seed: int = 0
) -> list[float]:
    """The sliced Wasserstein distance of each level, finest first, in thousandths.

    Karras et al. 2018, section 5 (arXiv:1710.10196): finest levels tell of noise and sharpness, coarsest of anatomy.
    Each set is normalised by its own statistics, as there, so a change of overall contrast alone does not show.
    """
    return [
        UNIT * sliced_wasserstein(normalise(a), normalise(b), seed=fold(seed, "level", level))
        for level, (a, b) in enumerate(zip(first, second, strict=True))
    ]
