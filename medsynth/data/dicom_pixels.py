"""The stored values of one DICOM frame: read from the file, decompressed, unpacked.

imagecodecs decompresses: unlike the decoders that pydicom knows, its functions let other threads run meanwhile, and one
package reads all of JPEG (8 and 12 bits, lossless), JPEG-LS, JPEG 2000 and RLE.
"""

import struct
from dataclasses import replace

import numpy as np
from jaxtyping import Integer, Num
from numpy import ndarray
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medsynth.data.dicom import Stored
from medsynth.data.dicom_elements import BROKEN
from medsynth.data.picture import BadImage

JPEG2000 = (*JPEG2000TransferSyntaxes, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
# JPEG's start-of-frame markers; 0xFFF7 is JPEG-LS. They tell precision, rows, columns and components.
STARTS = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC})


def stored_values(stored: Stored, number: int, inflated: bytes | None = None) -> Num[ndarray, "h w *rgb"]:
    """The values of frame `number` as they are stored, bits that are not in use removed; colour as RGB.

    inflated: all frames of a deflated object. Raises BadImage.
    """
    try:
        if stored.encapsulated:
            return _decompressed(stored, number)
        return _native(stored, _frame_bytes(stored, number, inflated))
    except (*BROKEN, RuntimeError) as error:  # RuntimeError: those of imagecodecs
        raise BadImage(f"its pixels are damaged ({UID(stored.syntax).name}: {type(error).__name__})") from error
    except PermissionError as error:
        raise BadImage("no permission to read it") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or type(error).__name__}") from error
    except MemoryError as error:
        raise BadImage("does not fit in memory") from error


def _frame_bytes(stored: Stored, number: int, inflated: bytes | None) -> bytes:
    size = stored.frame_bytes
    if inflated is not None:
        return inflated[number * size : (number + 1) * size]
    with stored.path.open("rb") as stream:
        stream.seek(stored.offset + number * size)
        frame = stream.read(size)
    if len(frame) < size:
        raise BadImage(f"truncated: {len(frame):,} of {size:,} bytes of a frame")
    return frame


def _native(stored: Stored, frame: bytes) -> Num[ndarray, "h w *rgb"]:
    order = ">" if stored.syntax == ExplicitVRBigEndian else "<"
    flat = np.frombuffer(frame, f"{order}{stored.kind}{stored.allocated // 8}")
    if stored.swapped:
        flat = flat[: flat.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    halved = stored.photometric == "YBR_FULL_422" and not stored.encapsulated
    flat = _all_samples(flat) if halved else flat
    shape = (stored.rows, stored.columns)
    if stored.samples == 1:
        return _in_bits(flat.reshape(shape), stored, stored.stored)
    values = flat.reshape(3, *shape).transpose(1, 2, 0) if stored.planar and not halved else flat.reshape(*shape, 3)
    return _rgb(values, stored.photometric)


def _all_samples(flat: Integer[ndarray, " n"]) -> Integer[ndarray, " m"]:
    """Y Y Cb Cr, which two pixels share, to Y Cb Cr of each."""
    first, second, blue, red = flat.reshape(-1, 4).T
    return np.stack([first, blue, red, second, blue, red], axis=1).ravel()


def _in_bits(values: Num[ndarray, "h w *one"], stored: Stored, bits: int) -> Num[ndarray, "h w *rgb"]:
    """Values of the lower `bits`, with the sign that the header says; what lies above them is no part of them."""
    values = values.reshape(stored.rows, stored.columns)
    if stored.kind != "f":
        values = values.view(np.dtype(f"{values.dtype.byteorder}{stored.kind}{values.itemsize}"))
        if (spare := 8 * values.itemsize - bits) > 0:
            values = np.right_shift(np.left_shift(values, spare), spare)
    if stored.photometric != "PALETTE COLOR":
        return values
    if stored.luts is None:
        raise BadImage("its palette is missing")
    return apply_color_lut(values, stored.luts)


def _rgb(values: Num[ndarray, "h w *rgb"], photometric: str) -> Num[ndarray, "h w *rgb"]:
    """Undo YBR_FULL, which PS3.3 C.7.6.3.1.2 defines for 8 bits; YBR_RCT and YBR_ICT are undone while decoding."""
    if photometric not in ("YBR_FULL", "YBR_FULL_422") or values.dtype != np.uint8:
        return values
    return convert_color_space(values, "YBR_FULL", "RGB")


def _decompressed(stored: Stored, number: int) -> Num[ndarray, "h w *rgb"]:
    with stored.path.open("rb") as stream:
        stream.seek(stored.offset)
        frame = get_frame(stream, number, number_of_frames=stored.frames, extended_offsets=stored.offsets)
    syntax = UID(stored.syntax)
    if syntax == RLELossless:
        return _rle(frame, stored)
    if syntax in JPEG2000:
        bits, rows, columns, samples = _announced_2000(frame)
    elif syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        bits, rows, columns, samples = _announced(frame)
    else:
        raise BadImage(
            f"compressed as {syntax.name if syntax.name != syntax else 'nobody knows'}, which is not read here"
        )
    # Checked before anything is decoded: a codestream may ask for any amount of memory.
    if (rows, columns, samples) != (stored.rows, stored.columns, stored.samples):
        raise BadImage(
            f"its compressed picture is {columns}x{rows} with {samples} samples a pixel, its header says "
            f"{stored.columns}x{stored.rows} with {stored.samples}"
        )
    values = _jpeg(frame, syntax, stored.photometric)
    return _in_bits(values, stored, bits) if samples == 1 else values


def _rle(frame: bytes, stored: Stored) -> Num[ndarray, "h w *rgb"]:
    import imagecodecs

    raw = imagecodecs.dicomrle_decode(frame, f"<{stored.kind}{stored.allocated // 8}", out=stored.frame_bytes)
    return _native(replace(stored, planar=True, swapped=False), bytes(raw))


def _jpeg(frame: bytes, syntax: UID, photometric: str) -> Num[ndarray, "h w *rgb"]:
    """A decoded codestream, colour as RGB."""
    import imagecodecs

    if syntax in JPEG2000:
        return _rgb(imagecodecs.jpeg2k_decode(frame), photometric)
    if syntax in JPEGLSTransferSyntaxes:
        return _rgb(imagecodecs.jpegls_decode(frame), photometric)
    if syntax in (JPEGLossless, JPEGLosslessSV1) and photometric in ("RGB", "YBR_FULL"):
        return _rgb(imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB"), photometric)
    if photometric == "RGB" or photometric.startswith("YBR"):  # the header knows better than the codestream's markers
        colours = "RGB" if photometric == "RGB" else "YCbCr"
        return imagecodecs.jpeg8_decode(frame, colorspace=colours, outcolorspace="RGB")
    return imagecodecs.jpeg8_decode(frame)


def _announced(frame: bytes) -> tuple[int, int, int, int]:
    """Bits, rows, columns and samples of a JPEG or JPEG-LS codestream, from its start-of-frame segment."""
    place = 2
    while place + 10 <= len(frame):
        if frame[place] != 0xFF or frame[place + 1] == 0xFF:  # fill bytes
            place += 1
            continue
        marker, length = struct.unpack(">HH", frame[place : place + 4])
        if marker in STARTS:
            bits, rows, columns, samples = struct.unpack(">BHHB", frame[place + 4 : place + 10])
            return bits, rows, columns, samples
        place += 2 + length
    raise BadImage("its compressed pixels have no start of frame")


def _announced_2000(frame: bytes) -> tuple[int, int, int, int]:
    """Bits, rows, columns and samples of a JPEG 2000 codestream, from its SIZ segment."""
    place = frame.find(b"\xff\x4f\xff\x51")
    if place < 0 or len(frame) < place + 43:
        raise BadImage("its compressed pixels have no size segment")
    right, bottom, left, top = struct.unpack(">4L", frame[place + 8 : place + 24])
    samples, depth = struct.unpack(">HB", frame[place + 40 : place + 43])
    return (depth & 0x7F) + 1, bottom - top, right - left, samples
