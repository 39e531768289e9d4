"""What one pass over an image set leaves behind."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics.chain import Chain
from medsynth.metrics.features import Extractor
from medsynth.metrics.frechet import Moments, merge, moments
from medsynth.metrics.ms_ssim import ms_ssim
from medsynth.metrics.nearest import thumbnails
from medsynth.metrics.rows import Rows
from medsynth.metrics.sliced_wasserstein import PatchSample
from medsynth.metrics.spectrum import radial_profiles
from medsynth.metrics.statistics_cache import Arrays, moments_from_arrays, moments_to_arrays

SMALLEST = 16  # pixels a side: below it a pyramid has no level and SSIM's window no place
MOST_FEATURES = 10_000  # vectors kept for the kernel distance, a set and extractor
CHUNK = 64  # images given to an extractor at once
IMAGES = "images"  # the part of a measurement that needs no extractor


class Measurement:
    """What one pass over an image set leaves behind: enough for every metric, and bounded whatever the set's size.

    Args:
        name: of the set, for messages.
        count: images taken at most; later ones are ignored.
        extractors: by name.
        like: another set: these images must have its size, and are no more than its images.
        device: where features are computed; None leaves images where they are.
        known: parts of the same measurement made earlier, as `to_arrays` gave them: by extractor, and `IMAGES`. They
            are not measured again; with all of them the measurement is complete and looks at no image.
        first: number of the first image in a set of which each rank measures a part, for `append`.
    """

    def __init__(
        self,
        name: str,
        *,
        count: int,
        extractors: Mapping[str, Extractor],
        like: "Measurement | None" = None,
        device: torch.device | None = None,
        known: Mapping[str, Arrays] | None = None,
        first: int = 0,
    ) -> None:
        self.name, self.like = name, like
        self.most = min(count, like.count) if like else count
        self.extractors, self.device = extractors, device
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.moments: dict[str, Moments] = {}
        self._features = {extractor: Rows() for extractor in extractors}
        self._patches = PatchSample(first=first)
        self.similarity = Chain(ms_ssim)
        self._thumbnails, self._profiles = Rows(), Rows()
        self.known: set[str] = set()
        for part, arrays in (known or {}).items():
            self._from_arrays(part, arrays)
        self.complete = self.known == {IMAGES, *extractors}
        if self.complete:
            self.count = self._profiles.count

    def update(self, images: Float[Tensor, "b c h w"]) -> None:
        """Measure more images. Raises UserError for mixed sizes, tiny images and values that are no numbers."""
        images = images[: self.most - self.count].detach().float()
        if self.complete or not len(images):
            return
        self._check(images)
        for name, extractor in self.extractors.items():
            for chunk in images.split(CHUNK) if name not in self.known else ():
                features = extractor(chunk.to(self.device or chunk.device)).cpu()
                if not bool(features.isfinite().all()):
                    raise UserError(f"metrics.extractors={name} gives NaN or infinite features of {self.name} images")
                self._add_features(name, features)
        if IMAGES not in self.known:
            self._patches.update(images)
            self.similarity.update(images.cpu())
            self._thumbnails.append(thumbnails(images))
            self._profiles.append(radial_profiles(images).cpu())
        self.count += len(images)

    def append(self, later: "Measurement") -> None:
        """Take in what was measured on the images that follow these, by the same extractors, on another rank."""
        for name, found in later.moments.items():
            self.moments[name] = merge(self.moments[name], found) if name in self.moments else found
            self._features[name].append(later.features(name)[: MOST_FEATURES - self._features[name].count])
        if later.count:
            self._patches.append(later._patches)
            self._thumbnails.append(later.thumbnails())
            self._profiles.append(later.profiles())
        self.similarity.append(later.similarity)
        self.shape = self.shape or later.shape
        self.count += later.count

    def first(self, count: int) -> "Measurement":
        """The same of the first `count` images alone, 10,000 at most."""
        count = min(count, MOST_FEATURES)
        if count >= self.count:
            return self
        made = Measurement(self.name, count=count, extractors=self.extractors, device=self.device)
        made.count, made.shape = count, self.shape
        made._features = {name: Rows(self.features(name)[: made.count]) for name in self.extractors}
        made.moments = {name: moments(features.all()) for name, features in made._features.items()}
        made._patches = self._patches.first(made.count)
        made.similarity = Chain(ms_ssim, self.similarity.values()[: made.count - 1])
        made._thumbnails, made._profiles = Rows(self.thumbnails()[: made.count]), Rows(self.profiles()[: made.count])
        return made

    def __getstate__(self) -> dict[str, Any]:
        """What travels between ranks: all that was measured, and not the networks that measured it."""
        return {**self.__dict__, "extractors": {}, "like": None, "device": None}

    def to_arrays(self, part: str) -> Arrays:
        """What was measured by an extractor, or on `IMAGES` themselves, as `known` takes it; at least one image."""
        if part != IMAGES:
            return {**moments_to_arrays(self.moments[part]), "features": self.features(part).numpy()}
        levels = {f"patches_{level}": found.numpy() for level, found in enumerate(self.patches())}
        return {
            **levels,
            "sides": np.array(self.sides()),
            "shape": np.array(self.shape),
            "similarity": self.similarity.values().numpy(),
            "thumbnails": self.thumbnails().numpy(),
            "profiles": self.profiles().numpy(),
        }

    def _from_arrays(self, part: str, arrays: Arrays) -> None:
        self.known.add(part)
        if part != IMAGES:
            found = moments_from_arrays(arrays)
            self.moments[part] = Moments(found.count, found.mean.clone(), found.scatter.clone())
            self._features[part] = Rows(torch.from_numpy(arrays["features"]))
            return
        self.shape = tuple(arrays["shape"].tolist())
        self._patches.sides = arrays["sides"].tolist()
        self._patches.levels = [[_tensor(arrays[f"patches_{level}"])] for level in range(len(self._patches.sides))]
        self.similarity = Chain(ms_ssim, _tensor(arrays["similarity"]))
        self._thumbnails, self._profiles = (Rows(torch.from_numpy(arrays[name])) for name in ("thumbnails", "profiles"))

    def _check(self, images: Tensor) -> None:
        found = tuple(images.shape[1:])
        self.shape = self.shape or found
        if self.like is None and found != self.shape:
            raise UserError(f"{self.name} images have two sizes: {size_of(self.shape)} and {size_of(found)}")
        check(self.name, images, like=self.like)

    def _add_features(self, name: str, features: Tensor) -> None:
        new = moments(features)
        self.moments[name] = merge(self.moments[name], new) if name in self.moments else new
        self._features[name].append(features[: MOST_FEATURES - self._features[name].count])

    def features(self, name: str) -> Float[Tensor, "n d"]:
        """The first 10,000 feature vectors of an extractor."""
        return self._features[name].all()

    def patches(self) -> list[Float[Tensor, "n each c p"]]:
        """Random patches of each pyramid level, finest first, from each image equally many."""
        return self._patches.compute()

    def sides(self) -> list[int]:
        """The size of each pyramid level in pixels, finest first."""
        return self._patches.sides

    def profiles(self) -> Float[Tensor, "n r"]:
        """The power spectrum of every image."""
        return self._profiles.all()

    def thumbnails(self) -> Tensor:
        """Every image as a small vector."""
        return self._thumbnails.all()


def _tensor(array: ndarray) -> Tensor:
    # Copied to where torch would have put it: sums of vectors that start elsewhere in memory may end in other bits.
    return torch.from_numpy(array).clone()


def check(name: str, images: Float[Tensor, "b c h w"], *, like: Measurement | None) -> None:
    """Raise UserError for images of another size than those of `like`, tiny ones, and values that are no numbers."""
    found = tuple(images.shape[1:])
    if like and like.shape != found:
        raise UserError(
            f"{name} images are {size_of(found)}, {like.name} ones {size_of(like.shape)}; both must have one size"
        )
    if min(found[1:]) < SMALLEST:
        raise UserError(f"{name} images are {size_of(found)}; metrics need {SMALLEST}x{SMALLEST} or more")
    if not bool(images.isfinite().all()):
        wrong = int((~images.isfinite()).flatten(1).any(dim=1).sum())
        raise UserError(f"{wrong} of {len(images)} {name} images hold NaN or infinite values")


def size_of(shape: Iterable[int]) -> str:
    """(1, 64, 48) -> "64x48 of 1 channel"."""
    channels, height, width = shape
    return f"{height}x{width} of {channels} channel{'s' if channels > 1 else ''}"
