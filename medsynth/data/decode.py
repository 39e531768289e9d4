"""One image file to one slice of a Pack: decode, stand upright, weigh to grey, resize once, encode, quantise."""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt
from numpy import ndarray
from PIL import Image, ImageOps

from medsynth.data.intensity import Intensity, grey

FITS = ("pad", "stretch", "crop")
MIN_SIDE = 4  # shorter sides carry no picture
THUMBNAIL = 32
# What Pillow's decoders raise on damaged files, beside OSError with UnidentifiedImageError in it.
BROKEN = (SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)


class BadImage(Exception):
    """A file that cannot become a slice; the message is the reason, for `rejected` in prepare.json."""


@dataclass(frozen=True)
class Decoder:
    """How files become slices: the settings of a Pack that concern one image at a time.

    fit: what happens to non-square images: "pad" keeps proportions and fills with the dark end, "stretch" does not keep
    them, "crop" keeps the central square.  white: stored value that means white; None: 255 or 65535 by the file's type.
    """

    resolution: int
    channels: int
    bits: int
    fit: str
    intensity: Intensity
    white: float | None = None


@dataclass(frozen=True)
class Slice:
    """A decoded slice and what the file was like.

    pixels: quantised (c, h, w).  low, high: values that became -1 and 1.  digest: of the decoded pixels at full size.
    thumbnail: grey, THUMBNAIL squared, flattened.  peak: brightest value as a fraction of white.
    """

    pixels: UInt[ndarray, "c h w"]
    low: float
    high: float
    size: tuple[int, int]
    mode: str
    frames: int
    digest: str
    thumbnail: Float[ndarray, " p"]
    peak: float


@contextmanager
def strict_pillow() -> Iterator[None]:
    """While it lasts, images beyond Pillow's pixel limit fail instead of warning, and its other remarks are silent.

    Python's warning filters belong to the process, so this surrounds a whole pass, not a file of one thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(path: Path, decoder: Decoder) -> Slice:
    """Decode one file. Raises BadImage with the reason."""
    image, mode, size, frames = _open(path)
    values = _values(image, white=decoder.white)
    if not np.isfinite(values).all():
        raise BadImage("holds values that are not finite")
    digest = hashlib.blake2b(f"{values.shape}".encode() + values.tobytes(), digest_size=16).hexdigest()
    flat = grey(values) if values.ndim == 3 else values
    values = flat if decoder.channels == 1 else np.stack([flat] * 3, axis=-1) if values.ndim == 2 else values
    codec = decoder.intensity.fit(values)
    low, high = codec.range()
    return Slice(
        pixels=quantise(fitted(values, decoder, codec), bits=decoder.bits),
        low=low,
        high=high,
        size=size,
        mode=mode,
        frames=frames,
        digest=digest,
        thumbnail=resize(flat, (THUMBNAIL, THUMBNAIL)).ravel(),
        peak=float(values.max()),
    )


def _open(path: Path) -> tuple[Image.Image, str, tuple[int, int], int]:
    """The upright image with its stored mode, stored size (width, height) and number of frames."""
    try:
        with Image.open(path) as image:
            mode, size, frames = image.mode, image.size, getattr(image, "n_frames", 1)
            if min(size) < MIN_SIDE:
                raise BadImage(f"{size[0]}x{size[1]} pixels: shorter sides than {MIN_SIDE} hold no picture")
            image.load()
            upright = ImageOps.exif_transpose(image)
            sixteen = mode == "I" and image.format in ("PNG", "PPM")  # these formats hold no more than 16 bits
            return upright.convert("I;16") if sixteen else upright, mode, size, frames
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels: a decompression bomb or no slice") from error
    except Image.UnidentifiedImageError as error:
        raise BadImage("empty file" if path.stat().st_size == 0 else "not an image Pillow can read") from error
    except PermissionError as error:
        raise BadImage("no permission to read it") from error
    except MemoryError as error:
        raise BadImage("does not fit in memory") from error
    except (OSError, *BROKEN) as error:
        reason = " ".join((str(error) or type(error).__name__).replace(str(path), "the file").split())
        raise BadImage(f"truncated or damaged: {reason}") from error


def _values(image: Image.Image, *, white: float | None) -> Float[ndarray, "h w *rgb"]:
    """Pixels as a fraction of white, (h, w) or (h, w, 3). Transparent pixels are dark, as on a light box."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32) / np.float32(white or 65535)
    if image.mode in ("I", "F"):
        if white is None:
            raise BadImage(f"32-bit values (mode {image.mode}) do not say what white is; set data.white")
        return np.asarray(image).astype(np.float32) / np.float32(white)
    if image.mode == "1":
        return np.asarray(image.convert("L")).astype(np.float32) / np.float32(255)
    if image.mode == "L":
        return np.asarray(image).astype(np.float32) / np.float32(white or 255)
    transparent = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
    whole = np.asarray(image.convert("RGBA" if transparent else "RGB")).astype(np.float32) / np.float32(255)
    rgb = whole[..., :3] * whole[..., 3:] if transparent else whole
    single = image.mode in ("LA", "La") or bool((rgb[..., :1] == rgb).all())
    return rgb[..., 0] if single else rgb


def resize(values: Float[ndarray, "h w *rgb"], size: tuple[int, int]) -> Float[ndarray, "y x *rgb"]:
    """The one resize: antialiased bicubic in float (as Parmar et al. 2022, arXiv:2104.11222, ask for), size (y, x)."""
    if values.shape[:2] == size:
        return values
    planes = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
    height, width = size
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize((width, height), Image.Resampling.BICUBIC))
        for p in planes
    ]
    return resized[0] if values.ndim == 2 else np.stack(resized, axis=-1)


def fitted(values: Float[ndarray, "h w *rgb"], decoder: Decoder, codec: Intensity) -> Float[ndarray, "c r r"]:
    """Resize to the square as `fit` says and encode to [-1, 1]; padding is the dark end."""
    height, width = values.shape[:2]
    r = decoder.resolution
    if decoder.fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        values = values[top : top + side, left : left + side]
    longest = max(height, width)
    size = (max(1, round(r * height / longest)), max(1, round(r * width / longest))) if decoder.fit == "pad" else (r, r)
    encoded = codec.encode(resize(values, size))
    square = np.full((r, r, *values.shape[2:]), -1, dtype=np.float32)
    top, left = (r - size[0]) // 2, (r - size[1]) // 2
    square[top : top + size[0], left : left + size[1]] = encoded
    return np.moveaxis(square.reshape(r, r, -1), -1, 0)  # (c, r, r)


def quantise(image: Float[ndarray, "..."], *, bits: int) -> UInt[ndarray, "..."]:
    """[-1, 1] to the nearest of 2^bits levels: -1 is 0 and 1 the highest; error at most half a step."""
    half = (2**bits - 1) / 2
    return np.rint((image + 1) * half).astype(np.uint8 if bits == 8 else np.uint16)
