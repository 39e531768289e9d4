"""One image file (PNG, JPEG, TIFF, ...) to one Picture: decode, stand upright, scale to fractions of white."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageOps

from medsynth.data.picture import BadImage, Picture

MIN_SIDE = 4  # shorter sides carry no picture
# What Pillow's decoders raise on damaged files, beside OSError with UnidentifiedImageError in it.
BROKEN = (SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)


@contextmanager
def strict_pillow() -> Iterator[None]:
    """While it lasts, images beyond Pillow's pixel limit fail instead of warning, and its other remarks are silent.

    Python's warning filters belong to the process, so this surrounds a whole pass, not a file of one thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_image(path: Path, *, white: float | None = None) -> Picture:
    """Read one file. white: stored value that means white; None: 255 or 65535 by the file's type. Raises BadImage."""
    image, mode, size, frames = _open(path)
    values = _values(image, white=white)
    return Picture(values, mode=mode, size=size, is_colour=values.ndim == 3, frames=frames)


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
