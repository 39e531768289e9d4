"""Where real images come from: this finds the encoder trained on them, and what was measured on them before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from medsynth.metrics.encoder.extractor import cached_encoder
from medsynth.metrics.features import Extractor
from medsynth.metrics.measurement import IMAGES, Measurement
from medsynth.metrics.nearest import SIDE
from medsynth.metrics.statistics_cache import Arrays, StatisticsCache, StatisticsKey

EVERY = 0  # as a key's count: all images of a part


@dataclass(frozen=True)
class Origin:
    """The pack of real images.

    name, content: of the pack. Equal content means equal images in equal splits.
    chosen: digest of which images stand in which part; content does not say who is on them, which decides that.
    cache: of what was measured on them.
    """

    name: str
    content: str
    chosen: str = ""
    cache: StatisticsCache = field(default_factory=StatisticsCache)

    def encoder(self) -> Path:
        """Where the encoder that was trained on them lies, if there is one."""
        return cached_encoder(self.name, content=self.content)

    def recall(
        self, part: str, *, count: int, extractors: Mapping[str, Extractor], device: torch.device | None
    ) -> dict[str, Arrays]:
        """What a `Measurement` of this part of the images has left behind before, by extractor and as `IMAGES`."""
        keys = self._keys(part, count=count, extractors=extractors, device=device)
        found = {name: self.cache.load(key) for name, key in keys.items()}
        return {name: arrays for name, arrays in found.items() if arrays is not None}

    def keep(self, part: str, made: Measurement, *, count: int) -> None:
        """Keep what a measurement found itself. An extractor's figures differ in their last bits between devices."""
        keys = self._keys(part, count=count, extractors=made.extractors, device=made.device)
        for name in keys.keys() - made.known:
            self.cache.save(keys[name], made.to_arrays(name))

    def recall_thumbnails(self, part: str) -> UInt8[Tensor, "n d"] | None:
        """The thumbnails of all images of a part."""
        found = self.cache.load(self._thumbnails(part))
        return None if found is None else torch.from_numpy(found["thumbnails"]).clone()

    def keep_thumbnails(self, part: str, thumbnails: UInt8[Tensor, "n d"]) -> None:
        """Keep the thumbnails of all images of a part."""
        self.cache.save(self._thumbnails(part), {"thumbnails": thumbnails.numpy()})

    def _thumbnails(self, part: str) -> StatisticsKey:
        return StatisticsKey(self.content, f"{part} thumbnails", EVERY, resize=f"{SIDE}x{SIDE}")

    def _keys(
        self, part: str, *, count: int, extractors: Mapping[str, Extractor], device: torch.device | None
    ) -> dict[str, StatisticsKey]:
        placed = part if device is None or device.type == "cpu" else f"{part} {device.type}"
        content = f"{self.content} {self.chosen}"
        return {IMAGES: StatisticsKey(content, part, count)} | {
            name: StatisticsKey(content, placed, count, name, extractor.sha256, extractor.resize)
            for name, extractor in extractors.items()
        }
