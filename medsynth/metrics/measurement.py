"""What one pass over an image set leaves behind."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics.features import Extractor
from medsynth.metrics.frechet import Moments, merge, moments
from medsynth.metrics.ms_ssim import PairSimilarity
from medsynth.metrics.nearest import thumbnails
from medsynth.metrics.sliced_wasserstein import PatchSample

SMALLEST = 16  # pixels a side: below it a pyramid has no level and SSIM's window no place
MOST_FEATURES = 10_000  # vectors kept for the kernel distance, a set and extractor
CHUNK = 64  # images given to an extractor at once


class Measurement:
    """What one pass over an image set leaves behind: enough for every metric, and bounded whatever the set's size.

    Args:
        name: of the set, for messages.
        count: images taken at most; later ones are ignored. It also sets how many patches an image gives.
        extractors: by name.
        like: another set: these images must have its size, and are no more than its images.
        device: where features are computed; None leaves images where they are.
    """

    def __init__(
        self,
        name: str,
        *,
        count: int,
        extractors: Mapping[str, Extractor],
        like: "Measurement | None" = None,
        device: torch.device | None = None,
    ) -> None:
        self.name, self.like = name, like
        self.most = min(count, like.count) if like else count
        self.extractors, self.device = extractors, device
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.moments: dict[str, Moments] = {}
        self._features: dict[str, list[Tensor]] = {extractor: [] for extractor in extractors}
        self._patches = PatchSample(count=count)
        self.similarity = PairSimilarity()
        self._thumbnails: list[Tensor] = []

    def update(self, images: Float[Tensor, "b c h w"]) -> None:
        """Measure more images. Raises UserError for mixed sizes, tiny images and values that are no numbers."""
        images = images[: self.most - self.count].detach().float()
        if not len(images):
            return
        self._check(images)
        for name, extractor in self.extractors.items():
            for chunk in images.split(CHUNK):
                self._add_features(name, extractor(chunk.to(self.device or chunk.device)).cpu())
        self._patches.update(images)
        self.similarity.update(images)
        self._thumbnails.append(thumbnails(images))
        self.count += len(images)

    def _check(self, images: Tensor) -> None:
        found = tuple(images.shape[1:])
        self.shape = self.shape or found
        if self.like and self.like.shape != found:
            raise UserError(
                f"{self.name} images are {size_of(found)}, {self.like.name} ones {size_of(self.like.shape)}; "
                "both must have one size"
            )
        if found != self.shape:
            raise UserError(f"{self.name} images have two sizes: {size_of(self.shape)} and {size_of(found)}")
        if min(found[1:]) < SMALLEST:
            raise UserError(f"{self.name} images are {size_of(found)}; metrics need {SMALLEST}x{SMALLEST} or more")
        if not bool(images.isfinite().all()):
            wrong = int((~images.isfinite()).flatten(1).any(dim=1).sum())
            raise UserError(f"{wrong} of {len(images)} {self.name} images hold NaN or infinite values")

    def _add_features(self, name: str, features: Tensor) -> None:
        new = moments(features)
        self.moments[name] = merge(self.moments[name], new) if name in self.moments else new
        kept = sum(map(len, self._features[name]))
        self._features[name].append(features[: MOST_FEATURES - kept])

    def features(self, name: str) -> Float[Tensor, "n d"]:
        """The first 10,000 feature vectors of an extractor."""
        return torch.cat(self._features[name])

    def patches(self) -> list[Float[Tensor, "n c p"]]:
        """Random patches of each pyramid level, finest first."""
        return self._patches.compute()

    def sides(self) -> list[int]:
        """The size of each pyramid level in pixels, finest first."""
        return self._patches.sides

    def thumbnails(self) -> Tensor:
        """Every image as a small vector."""
        return torch.cat(self._thumbnails)


def size_of(shape: Iterable[int]) -> str:
    """(1, 64, 48) -> "64x48 of 1 channel"."""
    channels, height, width = shape
    return f"{height}x{width} of {channels} channel{'s' if channels > 1 else ''}"
