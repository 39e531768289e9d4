"""DICOM files that tests write: any encoding, with identifiers to be looked for."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless,
              HTJ2KLosslessRPCL]  # fmt: skip
NEAR = {JPEGBaseline8Bit: 4, JPEGExtended12Bit: 8, JPEGLSNearLossless: 2, JPEG2000: 8, HTJ2K: 8}
"""Encodings that lose something, with the most that a smooth picture may lose."""


def dicom(
    path: Path,
    pixels: np.ndarray,
    /,
    *,
    syntax: str = ExplicitVRLittleEndian,
    encode: Callable[[np.ndarray], bytes] | None = None,
    **elements: Any,
) -> Path:
    """Write (frames, rows, columns[, 3]) or (rows, columns) stored values; None as an element leaves it out.

    Elements default to those of a CT slice of 12 bits or more, signed where the pixels are. encode: what makes the
    codestream of a frame; None: imagecodecs, or pydicom for RLE.
    """
    pixels = pixels if (pixels.ndim > 2 and pixels.shape[-1] != 3) or pixels.ndim == 4 else pixels[None]
    dataset, bits = Dataset(), 8 * pixels.dtype.itemsize
    defaults = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"1.2.826.{zlib.crc32(str(path).encode())}", "Modality": "CT",
        "PatientID": "PAT-1", "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1", "InstanceNumber": 1,
        "Rows": pixels.shape[1], "Columns": pixels.shape[2], "SamplesPerPixel": 3 if pixels.ndim == 4 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 4 else "MONOCHROME2", "BitsAllocated": bits,
        "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1, "RescaleIntercept": 0, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [1, 1],
    }  # fmt: skip
    if pixels.ndim == 4:
        defaults["PlanarConfiguration"] = 0
    if len(pixels) > 1:
        defaults["NumberOfFrames"] = len(pixels)
    for keyword, value in (defaults | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2.3"
    if UID(syntax).is_encapsulated and syntax != RLELossless:
        dataset.PixelData = encapsulate([encode(f) if encode else _compressed(f, syntax) for f in pixels])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("><"[syntax != ExplicitVRBigEndian])).tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    if syntax == RLELossless:  # pydicom's own encoder
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _compressed(frame: np.ndarray, syntax: str) -> bytes:
    unsigned = np.ascontiguousarray(frame).view(f"u{frame.dtype.itemsize}")
    encoders = {
        JPEGBaseline8Bit: lambda: imagecodecs.jpeg8_encode(unsigned, level=95),
        JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(unsigned, level=95, bitspersample=12),
        JPEGLossless: lambda: imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=4),
        JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=1),
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(unsigned),
        JPEGLSNearLossless: lambda: imagecodecs.jpegls_encode(unsigned, level=2),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(unsigned, codecformat="j2k", reversible=True, level=0),
        JPEG2000: lambda: imagecodecs.jpeg2k_encode(unsigned, codecformat="j2k", reversible=False, level=95),
        HTJ2KLossless: lambda: imagecodecs.htj2k_encode(unsigned, reversible=True),
        HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(unsigned, reversible=True),
        HTJ2K: lambda: imagecodecs.htj2k_encode(unsigned, reversible=False),
    }
    return encoders[UID(syntax)]()


def series(
    folder: Path, *, slices: int = 4, seed: int = 0, side: int = 16, first: int = 0, **elements: Any
) -> list[Path]:
    """Consecutive axial CT slices of noise, 2 mm apart, in one series of the patient PAT-<seed>."""
    rng = np.random.default_rng(seed)
    return [
        dicom(
            folder / f"IM{first + k:04d}", rng.integers(-500, 500, (side, side)).astype(np.int16),
            **{
                "PatientID": f"PAT-{seed}", "StudyInstanceUID": f"1.2.3.{seed}", "SeriesInstanceUID": f"1.2.3.{seed}.1",
                "InstanceNumber": first + k, "ImagePositionPatient": [0, 0, 2.0 * (first + k)],
                "SOPInstanceUID": f"1.2.3.{seed}.1.{first + k}", **elements,
            },
        )
        for k in range(slices)
    ]  # fmt: skip
