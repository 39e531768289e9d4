"""DICOM files that tests write: any encoding, with identifiers to be looked for."""

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless]


def dicom(path: Path, pixels: np.ndarray, /, *, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """Write (frames, rows, columns[, 3]) or (rows, columns) stored values; None as an element leaves it out.

    Elements default to those of a CT slice of 12 bits or more, signed where the pixels are.
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
    if syntax in COMPRESSED and syntax != RLELossless:
        dataset.PixelData = encapsulate([_compressed(frame, syntax) for frame in pixels])
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
    if syntax == JPEGLSLossless:
        return imagecodecs.jpegls_encode(unsigned)
    if syntax == JPEGLosslessSV1:
        return imagecodecs.jpeg8_encode(unsigned, lossless=True)
    if syntax == HTJ2KLossless:
        return imagecodecs.htj2k_encode(unsigned, reversible=True)
    return imagecodecs.jpeg2k_encode(unsigned, codecformat="j2k", reversible=True, level=0)


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
