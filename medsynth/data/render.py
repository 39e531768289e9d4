"""A Picture to a slice of a Pack: weigh to grey, resize once, encode, quantise."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from isal import isal_zlib
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray
from PIL import Image

from medsynth.data.decode import read_image
from medsynth.data.intensity import HU_FULL, Intensity, grey
from medsynth.data.picture import UNKNOWN, BadImage, Geometry, Picture
from medsynth.data.resample import resample, transposed

FITS = ("pad", "stretch", "crop")
THUMBNAIL = 32
SAMPLED = 64  # values a side that describe a slice's intensities
QUANTILES = np.linspace(0, 1, 33)
HASHED = 32  # rows


@dataclass(frozen=True)
class Decoder:
    """How pictures become slices: the settings of a Pack that concern one picture at a time.

    fit: what happens to pictures that are not square: "pad" keeps proportions and fills with the dark end, "stretch"
    does not keep them, "crop" keeps the central square. Proportions are those of millimetres where they are known.
    """

    resolution: int
    channels: int
    bits: int
    fit: str
    intensity: Intensity

    @property
    def stored(self) -> Intensity:
        """The codec of the stored values: with 16 bits Hounsfield units keep their full range."""
        return HU_FULL if self.bits == 16 and self.intensity.unit == "hu" else self.intensity


@dataclass(frozen=True)
class Slice:
    """A packed slice and what its picture was like.

    pixels: quantised (c, r, r).  low, high: values that became -1 and 1, one a channel.
    mask: (1, r, r) labels.  condition: quantised (d, r, r), with its own low and high.
    placement: (row, column) of the picture at the first pixel's centre, and the steps of the picture a packed row and
    column.  digest: of the picture's values.  thumbnail: grey, THUMBNAIL squared, flattened.
    quantiles: QUANTILES of the values.  labels: those in the mask; None without one.
    """

    pixels: UInt[ndarray, "c h w"]
    low: Float[ndarray, " c"]
    high: Float[ndarray, " c"]
    placement: tuple[float, float, float, float]
    size: tuple[int, int]
    mode: str
    digest: str
    thumbnail: Float[ndarray, " p"]
    quantiles: Float[ndarray, " q"]
    mask: UInt8[ndarray, "1 h w"] | None = None
    condition: UInt[ndarray, "d h w"] | None = None
    condition_low: Float[ndarray, " d"] = field(default_factory=lambda: np.empty(0, np.float32))
    condition_high: Float[ndarray, " d"] = field(default_factory=lambda: np.empty(0, np.float32))
    labels: tuple[int, ...] | None = None
    geometry: Geometry | None = None
    frames: int = 1
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> float:
        """The brightest of the sampled values."""
        return float(self.quantiles[-1])


def decode(path: Path, decoder: Decoder, *, white: float | None = None) -> Slice:
    """An image file as a slice. Raises BadImage with the reason."""
    return render(read_image(path, white=white), decoder)


def render(picture: Picture, decoder: Decoder, *, compares: bool = True) -> Slice:
    """Make the slice of a picture. Raises BadImage for values that are not finite and for channels that do not fit.

    compares: whether anybody compares thumbnails; else they are a single value, which is 0 for a picture of one value.
    """
    values = picture.values
    least, most = values.min(), values.max()
    if not np.isfinite([least, most]).all():  # the least value of any with a NaN among them is NaN
        raise BadImage("holds values that are not finite")
    flat = grey(values) if picture.is_colour else values if values.ndim == 2 else values[..., 0]
    values = _with_channels(values, flat, picture, decoder.channels)
    frame = Frame.of(values.shape[:2], decoder, picture.geometry)
    pixels, low, high = _encoded(values, picture.codecs, frame, decoder)
    extra = {}
    if picture.condition is not None:
        condition = picture.condition if picture.condition.ndim == 3 else picture.condition[..., None]
        names = ("condition", "condition_low", "condition_high")
        extra = dict(zip(names, _encoded(condition, picture.condition_codecs, frame, decoder), strict=True))
    mask = None if picture.mask is None else frame.labels(picture.mask)
    sample = flat[:: max(1, flat.shape[0] // SAMPLED), :: max(1, flat.shape[1] // SAMPLED)]
    return Slice(
        pixels=pixels,
        low=low,
        high=high,
        placement=frame.placement,
        size=picture.size,
        mode=picture.mode,
        digest=_digest(picture.values),
        thumbnail=_thumbnail(flat) if compares else np.array([least != most], dtype=np.float32),
        quantiles=_quantiles(sample),
        mask=None if mask is None else mask[None],
        labels=None if mask is None else tuple(np.unique(mask).tolist()),
        geometry=picture.geometry,
        frames=picture.frames,
        notes=tuple(picture.notes),
        **extra,
    )


def _quantiles(sample: Float[ndarray, "h w"]) -> Float[ndarray, " q"]:
    """np.quantile(sample, QUANTILES), at a sixth of its time."""
    ordered = np.sort(sample, axis=None)
    share, place = np.modf(QUANTILES * (ordered.size - 1))
    low = place.astype(int)
    high = np.minimum(low + 1, ordered.size - 1)
    return (ordered[low] * (1 - share) + ordered[high] * share).astype(np.float32)


def _digest(values: Float[ndarray, "h w *c"]) -> str:
    """Of the values, whatever their order in memory: SHA-256 of a CRC of all of them and of every HASHED-th row, which
    tells pictures apart as well as SHA-256 of all would, at a tenth of its time."""
    hashed = hashlib.sha256(f"{values.shape}".encode())
    rows = transposed(values.T) if values.ndim == 2 and values.flags.f_contiguous else np.ascontiguousarray(values)
    hashed.update(isal_zlib.crc32(rows.data).to_bytes(4, "little"))
    hashed.update(np.ascontiguousarray(rows[::HASHED]).data)
    return hashed.hexdigest()[:32]


def _with_channels(
    values: Float[ndarray, "h w *c"], flat: Float[ndarray, "h w"], picture: Picture, channels: int
) -> Float[ndarray, "h w c"]:
    """Grey or colour as `channels` asks; modalities as they are."""
    if picture.is_colour or values.ndim == 2:
        grey_or_rgb = flat[..., None] if channels == 1 or values.ndim == 2 else values
        return np.broadcast_to(grey_or_rgb, (*flat.shape, channels))
    if values.shape[-1] != channels:
        raise BadImage(f"has {values.shape[-1]} channels where data.channels={channels}")
    return values


def _encoded(
    values: Float[ndarray, "h w c"], codecs: Sequence[Intensity], frame: "Frame", decoder: Decoder
) -> tuple[UInt[ndarray, "c r r"], Float[ndarray, " c"], Float[ndarray, " c"]]:
    """Resized, encoded and quantised channels with the values that became -1 and 1.

    Without fitted codecs, one is fitted to all channels of a photograph.
    """
    fitted = list(codecs) or [decoder.stored.fit(values)] * values.shape[-1]
    planes = [quantise(frame.image(values[..., i], codec), bits=decoder.bits) for i, codec in enumerate(fitted)]
    ranges = np.array([codec.range() for codec in fitted], dtype=np.float32)
    return np.stack(planes), ranges[:, 0], ranges[:, 1]


def _thumbnail(flat: Float[ndarray, "h w"]) -> Float[ndarray, " p"]:
    return resize(flat, (THUMBNAIL, THUMBNAIL)).ravel()


def resize(values: Float[ndarray, "h w"], size: tuple[int, int]) -> Float[ndarray, "y x"]:
    """The one resize: antialiased bicubic in float (as Parmar et al. 2022, arXiv:2104.11222, ask for), size (y, x)."""
    return values if values.shape == size else resample(values, size)


@dataclass(frozen=True)
class Frame:
    """How a picture of (height, width) lies in the packed square: the part taken of it, and where that comes to lie.

    top, left, height, width: the part, in the picture's pixels.  inner: its (height, width) in packed pixels.
    """

    resolution: int
    top: int
    left: int
    height: int
    width: int
    inner: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], decoder: Decoder, geometry: Geometry | None) -> "Frame":
        """The frame of a picture, by the decoder's `fit` and, where it is known, the size of a pixel."""
        r, (height, width) = decoder.resolution, shape
        row, column = geometry.spacing[:2] if geometry is not None else (1.0, 1.0)
        if decoder.fit == "crop":
            side = min(height * row, width * column)
            part = min(height, max(1, round(side / row))), min(width, max(1, round(side / column)))
            return cls(r, (height - part[0]) // 2, (width - part[1]) // 2, *part, (r, r))
        longest = max(height * row, width * column)
        inner = max(1, round(r * height * row / longest)), max(1, round(r * width * column / longest))
        return cls(r, 0, 0, height, width, inner if decoder.fit == "pad" else (r, r))

    @property
    def offset(self) -> tuple[int, int]:
        """Row and column of the packed square where the part begins."""
        return (self.resolution - self.inner[0]) // 2, (self.resolution - self.inner[1]) // 2

    @property
    def placement(self) -> tuple[float, float, float, float]:
        """Row and column of the picture under the centre of the first packed pixel, and the picture's steps."""
        steps = self.height / self.inner[0], self.width / self.inner[1]
        row, column = ((0.5 - o) * s - 0.5 for o, s in zip(self.offset, steps, strict=True))
        return row + self.top, column + self.left, *steps

    def image(self, values: Float[ndarray, "h w"], codec: Intensity) -> Float[ndarray, "r r"]:
        """The encoded square; what lies outside the picture is the dark end."""
        part = values[self.top : self.top + self.height, self.left : self.left + self.width]
        return self._placed(codec.encode(resize(part, self.inner)), np.float32(-1))

    def labels(self, mask: UInt8[ndarray, "h w"]) -> UInt8[ndarray, "r r"]:
        """The square of labels: the nearest pixel's, and 0 outside the picture, unless all of it is UNKNOWN."""
        part = mask[self.top : self.top + self.height, self.left : self.left + self.width]
        small = Image.fromarray(np.ascontiguousarray(part)).resize(
            (self.inner[1], self.inner[0]), Image.Resampling.NEAREST
        )
        return self._placed(np.asarray(small), np.uint8(UNKNOWN if (part == UNKNOWN).all() else 0))

    def _placed(self, inner: ndarray, outside: np.generic) -> ndarray:
        if inner.shape == (self.resolution, self.resolution):
            return inner
        square = np.full((self.resolution, self.resolution), outside)
        top, left = self.offset
        square[top : top + self.inner[0], left : left + self.inner[1]] = inner
        return square


def quantise(image: Float[ndarray, "..."], *, bits: int) -> UInt[ndarray, "..."]:
    """[-1, 1] to the nearest of 2^bits levels: -1 is 0 and 1 the highest; error at most half a step."""
    levels = image + 1
    levels *= (2**bits - 1) / 2
    return np.rint(levels).astype(np.uint8 if bits == 8 else np.uint16)
