"""The one range of values that images of both folders are seen through, so that brightness compares."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from medsynth.data.decode import strict_pillow
from medsynth.data.intensity import Grey, Percentile
from medsynth.data.picture import BadImage
from medsynth.data.render import Decoder
from medsynth.errors import UserError
from medsynth.folders.reader import Fixed, Reader
from medsynth.folders.views import Found, View

T = TypeVar("T")
FILES, SLICES, SIDE = 64, 8, 64  # files that percentiles are taken of, slices of each, and pixels a side of those
DARK = 1 / 8  # of white: 16-bit images whose 99.5th percentile lies below it show little and pass for copies


@dataclass(frozen=True)
class Scale:
    """What the values of images are.

    window: the values that become -1 and 1, in `unit`.  levels: value of white in that unit for image files, whose
    pictures are fractions of white; 1 for others.  bits: that a decoded pixel needs.  white: see `Reader`.
    """

    window: tuple[float, float]
    unit: str
    levels: float = 1.0
    bits: int = 16
    white: float | None = None

    def decoder(self, side: int, channels: int) -> Decoder:
        """Pictures padded with the dark end to squares of `side` pixels."""
        low, high = (value / self.levels for value in self.window)
        codec = Grey() if (low, high) == (0, 1) else Fixed(low, high)
        return Decoder(side, channels, self.bits, "pad", codec)


def check_window(window: object) -> tuple[float, float] | None:
    """Two rising numbers, or None. Raises UserError for anything else."""
    if window is None:
        return None
    given = list(window) if isinstance(window, list | tuple) else []
    numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    if len(given) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise UserError(f"window={window} must be the least and the greatest value shown, as in [-160,240]")
    return float(numbers[0]), float(numbers[1])


def choose_scale(
    real: Found, fake: Found, *, window: Sequence[float | int] | None, modality: str
) -> tuple[Scale, list[str]]:
    """The scale of both folders, and what a reader must know of it.

    window: as the user asks, in HU, signal, or grey levels of image files. None: all grey levels of image files of 8 or
    16 bits, up to the 99.5th percentile of the real images where 16 bits are dark (12 bits stored in 16, say); of
    others the range that medsynth.generate wrote into the provenance of `fake`, and else the 0.5 to 99.5 percentile of
    the real images. No image is scaled by itself.

    Raises:
        UserError: `window` is none, or only some image files say what white is.
    """
    chosen = check_window(window)
    depths = {view.bits: view.path for side in (real, fake) for view in side.views if view.size is not None}
    if real.kind == "image" and 32 not in depths:
        return _of_images(real, fake, chosen, depths=set(depths))
    if real.kind == "image" and len(depths) > 1:
        other = next(path for bits, path in depths.items() if bits != 32)
        raise UserError(
            f"{depths[32]} has 32 bits a pixel and no known white, unlike {other}; give all files as one type"
        )
    white = 1.0 if real.kind == "image" else None
    training = _provenance(fake.root) if white is None else None
    unit = "HU" if modality == "CT" or bool(training and training[1]) else "values as stored"
    if chosen is not None:
        return Scale(chosen, unit, white=white), []
    if training:
        origin, chosen = "the range of the synthetic images' training, by their provenance.json", training[0]
    else:
        found = Percentile().fit(sampled(real.views, Reader(_PLAIN, modality, white)))
        origin, chosen = "the 0.5 to 99.5 percentile of the real images", found.range()
    low, high = chosen
    return Scale(chosen, unit, white=white), [
        f"real and synthetic images are seen through one window, {low:g} to {high:g} ({unit}): {origin}; set "
        "window=[low,high] for another"
    ]


_PLAIN = Decoder(SIDE, 1, 16, "pad", Grey())


def _of_images(
    real: Found, fake: Found, chosen: tuple[float, float] | None, *, depths: Collection[int]
) -> tuple[Scale, list[str]]:
    """Grey levels of 65535 where all files have 16 bits, else of 255."""
    levels = 65535 if set(depths) == {16} else 255
    bits = max(depths, default=8)
    scale = Scale(chosen or (0.0, float(levels)), f"grey levels of {levels}", float(levels), bits)
    if chosen is not None or bits == 8:
        return scale, []
    if levels == 255:
        brightest = {side.key: _brightest([view for view in side.views if view.bits == 16]) for side in (real, fake)}
        return scale, [
            f"{key}: 99.5 % of the 16-bit grey levels are at most {share * 65535:,.0f} of 65,535, so these images are "
            "dark beside those of 8 bits; give both in one depth"
            for key, share in brightest.items()
            if 0 < share < DARK
        ]
    most = round(_brightest(real.views) * levels)
    if not 0 < most < DARK * levels:
        return scale, []
    return replace(scale, window=(0.0, float(most))), [
        f"99.5 % of the real images' 16-bit grey levels are at most {most:,} of {levels:,}, so all images are seen "
        f"through window=[0,{most}]; set window=[low,high] for another"
    ]


def _brightest(views: Sequence[View]) -> float:
    """The 99.5th percentile of image files, as a share of white; 0 where none is read."""
    values = sampled(views, Reader(_PLAIN))
    return float(np.percentile(values, 99.5)) if len(values) else 0.0


def sampled(views: Sequence[View], reader: Reader) -> Float[ndarray, " n"]:
    """Some pixels of some slices of some files, evenly spread, in the unit of pictures; none when none is read."""
    files = [list(run) for _, run in groupby(views, key=lambda view: view.path)]
    found: list[ndarray] = []
    for file in _spread(files, FILES):
        try:
            with strict_pillow():
                for picture in reader.pictures(_spread(file, SLICES)):
                    rows, columns = (max(1, size // SIDE) for size in picture.values.shape[:2])
                    found.append(picture.values[::rows, ::columns].ravel())
        except BadImage:
            continue  # reading all of them names it with its reason
    return np.concatenate([np.empty(0, dtype=np.float32), *found])


def _spread(items: Sequence[T], most: int) -> list[T]:
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]


def _provenance(folder: Path) -> tuple[tuple[float, float], bool] | None:
    """The range of grey images that medsynth.generate wrote, and whether it is in HU; None for other folders."""
    try:
        told: Mapping[str, Any] = json.loads((folder / "provenance.json").read_text())
        ((low, high),) = told["ranges"]
        is_hu = str(told["intensity"]["_target_"]).rpartition(".")[2] in ("Window", "NamedWindow")
        return ((float(low), float(high)), is_hu) if float(low) < float(high) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
