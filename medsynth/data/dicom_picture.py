"""Stored values of a DICOM frame to those of a picture: Hounsfield units, signal, or fractions of white."""

import numpy as np
from jaxtyping import Bool, Float, Num
from numpy import ndarray
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from medsynth.data.dicom import Frame, Stored
from medsynth.data.dicom_elements import BROKEN
from medsynth.data.dicom_pixels import stored_values
from medsynth.data.intensity import modality_unit
from medsynth.data.picture import BadImage

PHYSICAL = ("CT", "PT")  # their values are HU or activity, whatever the display is to show as white
EDGES = (0.5, 99.5)  # percentiles of a radiograph that says nothing of how it is to be shown


def values(stored: Stored, frame: Frame, modality: str, inflated: bytes | None = None) -> Float[ndarray, "h w *rgb"]:
    """The picture of a frame as it lies in the file, float32.

    CT: HU.  MR, PT, NM: signal.  Others: 0 to 1 by the file's first look-up table or window; without one, the range of
    the stored bits up to 8 of them, and from the 0.5 to the 99.5 percentile of the picture above that.  Colour: 0 to 1.
    MONOCHROME1 is turned round, so that what is meant to be bright is high, save for physical values. Padding becomes
    the lowest value of the picture. inflated: all frames of a deflated object. Raises BadImage.
    """
    raw = stored_values(stored, frame.number, inflated)
    if raw.ndim == 3:
        bits = stored.stored if raw.dtype.itemsize * 8 == stored.allocated else 8 * raw.dtype.itemsize
        return raw.astype(np.float32) / np.float32(2**bits - 1)
    try:
        return _grey_values(raw, stored, frame, modality)
    except BROKEN as error:
        raise BadImage(f"its look-up table or rescaling is damaged ({type(error).__name__})") from error


def _grey_values(raw: Num[ndarray, "h w"], stored: Stored, frame: Frame, modality: str) -> Float[ndarray, "h w"]:
    found = _rescaled(raw, stored, frame)
    padding = _padding(raw, stored)
    if modality_unit(modality) == "grey":
        found = _shown(found, stored, frame, padding)
    if stored.photometric == "MONOCHROME1" and modality not in PHYSICAL:
        found = _mirrored(found, stored, frame) if modality_unit(modality) == "signal" else 1 - found
    if padding is not None and not padding.all():
        np.copyto(found, np.min(found, where=~padding, initial=np.inf), where=padding)
    return found


def _rescaled(raw: Num[ndarray, "h w"], stored: Stored, frame: Frame) -> Float[ndarray, "h w"]:
    """The modality transformation, PS3.3 C.11.1."""
    if stored.luts is not None and "ModalityLUTSequence" in stored.luts:
        return apply_modality_lut(raw, stored.luts).astype(np.float32)
    if raw.dtype.itemsize > 2:  # float32 has 24 bits
        return (raw.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
    found = raw.astype(np.float32)
    if frame.slope != 1:
        found *= np.float32(frame.slope)
    if frame.intercept != 0:
        found += np.float32(frame.intercept)
    return found


def _padding(raw: Num[ndarray, "h w"], stored: Stored) -> Bool[ndarray, "h w"] | None:
    if stored.padding is None:
        return None
    low, high = stored.padding
    found = raw == low if low == high else (raw >= low) & (raw <= high)
    return found if found.any() else None


def _shown(
    found: Float[ndarray, "h w"], stored: Stored, frame: Frame, padding: Bool[ndarray, "h w"] | None
) -> Float[ndarray, "h w"]:
    """0 to 1 as the file asks to be shown, PS3.3 C.11.2."""
    if stored.luts is not None and "VOILUTSequence" in stored.luts:
        bits = int(stored.luts.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi(np.rint(found).astype(np.int32), stored.luts).astype(np.float32) / np.float32(2**bits - 1)
    if frame.window is not None:
        return _windowed(found, *frame.window, function=frame.function)
    if stored.stored <= 8:
        low, high = sorted(_ends(stored, frame))
    else:
        seen = found if padding is None or padding.all() else found[~padding]
        low, high = np.percentile(seen, EDGES)
    return np.clip((found - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def _windowed(found: Float[ndarray, "h w"], center: float, width: float, *, function: str) -> Float[ndarray, "h w"]:
    """C.11.2.1.2 and C.11.2.1.3: LINEAR, LINEAR_EXACT and SIGMOID."""
    if function == "SIGMOID":
        return (1 / (1 + np.exp(np.clip(-4 * (found - center) / width, -80, 80)))).astype(np.float32)
    if function == "LINEAR_EXACT":
        return np.clip((found - center) / width + 0.5, 0, 1).astype(np.float32)
    return np.clip((found - (center - 0.5)) / max(width - 1, 1e-6) + 0.5, 0, 1).astype(np.float32)


def _mirrored(found: Float[ndarray, "h w"], stored: Stored, frame: Frame) -> Float[ndarray, "h w"]:
    return np.float32(sum(_ends(stored, frame))) - found


def _ends(stored: Stored, frame: Frame) -> tuple[float, float]:
    """What the lowest and the highest stored value are rescaled to."""
    low, high = (
        (-(2 ** (stored.stored - 1)), 2 ** (stored.stored - 1) - 1) if stored.kind == "i" else (0, 2**stored.stored - 1)
    )
    return low * frame.slope + frame.intercept, high * frame.slope + frame.intercept
