"""Intensity codecs: how stored values (greys, Hounsfield units, MR signal) become [-1, 1] and come back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601 luma, as the chest X-ray study uses it


def grey(image: Float[ndarray, "h w 3"]) -> Float[ndarray, "h w"]:
    """Weigh red, green and blue into one grey, 0.2989 R + 0.5870 G + 0.1140 B, kept in [0, 1] for input in [0, 1].

    The published weights sum to 0.9999; dividing by that sum makes a grey picture stored as RGB equal to its grey one.
    """
    weights = np.array(GREY_WEIGHTS) / sum(GREY_WEIGHTS)
    return image @ weights.astype(np.float32)


class Intensity(ABC):
    """An invertible map from values to [-1, 1]; -1 is the dark end. Values outside the range are clipped."""

    unit: str
    """What the values are: "grey" (fraction of white), "hu", or "any"."""

    @abstractmethod
    def range(self) -> tuple[float, float]:
        """The values that become -1 and 1."""

    @abstractmethod
    def fit(self, values: Float[ndarray, "..."]) -> "Intensity":
        """The codec for these values; codecs with a fixed range return themselves."""

    def encode(self, values: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """2 (clip(v) - low) / (high - low) - 1, float32 in [-1, 1]."""
        low, high = self.range()
        encoded = np.clip(values, low, high)
        encoded -= low
        encoded *= 2
        encoded /= high - low
        encoded -= 1
        return encoded.astype(np.float32, copy=False)

    def decode(self, image: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
        """The values of an image in [-1, 1]: decode(encode(v)) == clip(v)."""
        low, high = self.range()
        return ((np.clip(image, -1, 1) + 1) / 2 * (high - low) + low).astype(np.float32)

    def config(self) -> dict[str, Any]:
        """The Hydra config that rebuilds this codec."""
        return {"_target_": f"{type(self).__module__}.{type(self).__qualname__}", **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Grey(Intensity):
    """Photographs, film and PNG slices: 0 is black and 1 is white."""

    unit = "grey"

    def range(self) -> tuple[float, float]:
        """Black and white."""
        return 0.0, 1.0

    def fit(self, values: Float[ndarray, "..."]) -> "Intensity":
        """Itself: the range is fixed."""
        return self


@dataclass(frozen=True)
class Window(Intensity):
    """A CT window: center_hu - width_hu / 2 is black, center_hu + width_hu / 2 is white; width_hu > 0."""

    center_hu: float
    width_hu: float
    unit = "hu"

    def __post_init__(self) -> None:
        if not self.width_hu > 0:
            raise ValueError(f"data.intensity.width_hu={self.width_hu} must be above 0")

    def range(self) -> tuple[float, float]:
        """Lower and upper edge of the window, HU."""
        return self.center_hu - self.width_hu / 2, self.center_hu + self.width_hu / 2

    def fit(self, values: Float[ndarray, "..."]) -> "Intensity":
        """Itself: the range is fixed."""
        return self


HU_FULL = Window(center_hu=2047.9375, width_hu=8191.875)
"""What a 16-bit pack of CT stores, -2048 ... 6143.875 HU: 65,536 steps of 0.125 HU, so whole HU survive exactly."""

# Centre and width in HU. Radiopaedia, "Windowing (CT)" (radiopaedia.org/articles/windowing-ct): all but `kidney`, which
# is the range that KiTS19 entries clip to, -79 ... 304 HU (Isensee and Maier-Hein 2019, arXiv:1908.02182).
PRESETS: dict[str, tuple[float, float]] = {
    "soft_tissue": (50, 400),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "bone": (400, 1800),
    "brain": (40, 80),
    "kidney": (112.5, 383),
}


class NamedWindow(Window):
    """The Window of a preset's name, or of [center, width] in HU. Raises ValueError for anything else.

    A class, because a run's configuration may build nothing else (see checkpoint.py).
    """

    def __init__(self, window: str | Sequence[int | float]) -> None:
        if isinstance(window, str):
            if window not in PRESETS:
                choices = ", ".join(PRESETS)
                raise ValueError(f"data.window={window} is unknown; choices: {choices}, or [center, width] in HU")
            window = PRESETS[window]
        if len(window) != 2:
            raise ValueError(f"data.window={list(window)} must be [center, width] in HU, or a preset's name")
        super().__init__(float(window[0]), float(window[1]))

    def config(self) -> dict[str, Any]:
        """That of the plain Window."""
        return Window(self.center_hu, self.width_hu).config()


@dataclass(frozen=True)
class Percentile(Intensity):
    """MR signal, which has no unit: the lower and upper percentile (in %) of the values become black and white.

    low, high: the values found by `fit`; None before it, when only `fit` may be called.
    """

    lower: float = 0.5
    upper: float = 99.5
    low: float | None = None
    high: float | None = None
    unit = "any"

    def __post_init__(self) -> None:
        if not 0 <= self.lower < self.upper <= 100:
            raise ValueError(f"data.intensity: 0 <= lower={self.lower} < upper={self.upper} <= 100 does not hold")

    def range(self) -> tuple[float, float]:
        """The fitted values. Raises ValueError before `fit`."""
        if self.low is None or self.high is None:
            raise ValueError("Percentile has no range before fit(values)")
        return self.low, self.high

    def fit(self, values: Float[ndarray, "..."]) -> "Intensity":
        """This codec with the percentiles of the finite `values`; a constant image gets a range of 1 above itself."""
        finite = values[np.isfinite(values)]
        low, high = (float(v) for v in np.percentile(finite, (self.lower, self.upper))) if finite.size else (0.0, 1.0)
        return replace(self, low=low, high=high if high > low else low + 1.0)


MODALITY_UNITS = {"CT": "hu", "MR": "signal", "PT": "signal", "NM": "signal"}


def modality_unit(modality: str) -> str:
    """What the values of a DICOM modality are: "hu", "signal", or "grey" for all that is shown as the file asks."""
    return MODALITY_UNITS.get(modality.upper(), "grey")


@dataclass(frozen=True)
class FileWindow(Intensity):
    """The window that each DICOM series states in its header. low, high: found by `of`; None before it."""

    low: float | None = None
    high: float | None = None
    unit = "any"

    def range(self) -> tuple[float, float]:
        """The edges of the window. Raises ValueError before `of`."""
        if self.low is None or self.high is None:
            raise ValueError(
                "data.window=tags is read from DICOM headers; other files need a preset or [center, width]"
            )
        return self.low, self.high

    def fit(self, values: Float[ndarray, "..."]) -> "Intensity":
        """Itself: values say nothing of a window."""
        return self

    def of(self, center: float, width: float) -> "FileWindow":
        """This codec with the window of a header, in HU or signal."""
        return replace(self, low=center - width / 2, high=center + width / 2)


class ByUnit(Intensity):
    """The codec that suits what values are: NamedWindow(window) for "hu", Percentile for "signal", Grey for "grey".

    window: as NamedWindow takes it, or "tags" for FileWindow; of no meaning for greys.
    """

    def __new__(cls, unit: str, window: str | Sequence[int | float]) -> Intensity:  # type: ignore[misc]
        named = FileWindow() if window == "tags" else NamedWindow(window)  # a wrong name is refused whatever the unit
        if unit == "grey":
            return Grey()
        return named if unit == "hu" or window == "tags" else Percentile()


class ByModality(Intensity):
    """The codec that suits a DICOM modality, by the unit of its values; signal where it is None, or one of several."""

    def __new__(cls, modality: str | Sequence[str] | None, window: str | Sequence[int | float]) -> Intensity:  # type: ignore[misc]
        names = [modality] if isinstance(modality, str) else list(modality or ())
        units = {modality_unit(name) for name in names}
        return ByUnit(units.pop() if len(units) == 1 else "signal", window)  # type: ignore[return-value]
