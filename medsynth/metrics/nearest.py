"""Memorisation: how near each synthetic image lies to its nearest training image, against unseen patients' images."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from medsynth.metrics.features import resize

SIDE = 32
COPY_DISTANCE = 1 / 255  # below one grey level of 256, root mean square over the thumbnail, two images are one
NEAR_QUANTILE = 0.01
CHUNK, QUERIES = 4096, 1024  # training images, and others, compared at once: bounds memory


def thumbnails(images: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b d"]:
    """Images in [-1, 1] as 8-bit vectors of at most 32 x 32 pixels a channel: what distances are taken on."""
    side = min(SIDE, *images.shape[-2:])
    small = resize(images.detach().cpu().float(), side)
    return ((small.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).flatten(1)


@dataclass(frozen=True)
class Nearest:
    """For each query its nearest training image.

    distance: root mean square difference of the thumbnails as a share of the grey range, 0 to 1.
    index: which training image.
    """

    distance: Float[Tensor, " n"]
    index: Int[Tensor, " n"]

    def copies(self) -> int:
        """How many queries are the same picture as a training image."""
        return int((self.distance < COPY_DISTANCE).sum())

    def quantiles(self) -> list[float]:
        """Least, 5 %, 25 %, 50 %, 75 %, 95 % and greatest distance."""
        levels = torch.tensor([0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0], dtype=torch.float64)
        return self.distance.double().quantile(levels).tolist()

    def closest(self, count: int) -> list[tuple[int, int, float]]:
        """The closest pairs as (query, training image, distance), nearest first."""
        order = self.distance.argsort(stable=True)[:count].tolist()
        return [(q, int(self.index[q]), self.distance[q].item()) for q in order]


def nearest(queries: UInt8[Tensor, "n d"], train: UInt8[Tensor, "m d"]) -> Nearest:
    """Find each query's nearest training thumbnail by Euclidean distance; m >= 1."""
    found = [_nearest(part, train) for part in queries.split(QUERIES)]
    return Nearest(torch.cat([one.distance for one in found]), torch.cat([one.index for one in found]))


def _nearest(queries: UInt8[Tensor, "n d"], train: UInt8[Tensor, "m d"]) -> Nearest:
    x = _centred(queries)
    best = torch.full((len(x),), torch.inf)
    index = torch.zeros(len(x), dtype=torch.long)
    for start in range(0, len(train), CHUNK):
        y = _centred(train[start : start + CHUNK])
        # |x - y|^2 without |x|^2, which is the same for every y.
        found, place = torch.addmm((y**2).sum(dim=1), x, y.T, alpha=-2).min(dim=1)
        closer = found < best
        best = torch.where(closer, found, best)
        index = torch.where(closer, place + start, index)
    # Once more for the winners alone: the sum above cancels, and equal images must give exactly 0.
    difference = (queries.float() - train[index].float()) / 255
    return Nearest(difference.square().mean(dim=1).sqrt(), index)


def near_share(fake: Nearest, unseen: Nearest) -> float:
    """The share of synthetic images as close to a training image as the closest 1 % of unseen ones, or copies.

    About 0.01 for images of new patients, of m < 100 unseen ones about 1 / (m + 1); more means that training images
    were remembered.
    """
    threshold = max(unseen.distance.quantile(NEAR_QUANTILE).item(), COPY_DISTANCE)
    return (fake.distance <= threshold).float().mean().item()


def _centred(images: Tensor) -> Tensor:
    return (images.float() - 127.5) / 255
