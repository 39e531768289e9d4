"""The elements of DICOM headers that are read, and their values, whatever a header holds in their place."""

import math
import struct
import zlib
from typing import Any

from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag

# What pydicom raises on damaged objects, beside OSError.
BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, EOFError, OverflowError,
          RecursionError, InvalidDicomError, BytesLengthException, struct.error, zlib.error)  # fmt: skip
LUTS = (
    "ModalityLUTSequence", "VOILUTSequence", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
)  # fmt: skip
# Numbers that are stored as 16 bits; others are text.
BINARY = (
    "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
GROUPS = (
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PlanePositionSequence",
    "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence",
)  # fmt: skip
TAGS = {
    keyword: Tag(keyword)
    for keyword in (
        *LUTS, *BINARY, *GROUPS, "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID",
        "SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
        "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "PhotometricInterpretation", "NumberOfFrames",
        "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths", "DirectoryRecordSequence",
    )
}  # fmt: skip


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, if there is one."""
    sequence = dataset.get(keyword) if keyword in TAGS and TAGS[keyword] in dataset else None
    return sequence[0] if sequence else None


def text(dataset: Dataset, keyword: str) -> str:
    """The value of an element without the blanks around it, "" for none."""
    try:
        value = dataset.get(keyword) if TAGS[keyword] in dataset else None
    except BROKEN:
        return ""
    return "" if value is None else str(value).strip("\0 ")


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of an element; None for what is no finite number."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The first `count` values of an element; None when it has fewer, or some that are no finite numbers.

    Read from the bytes, which takes a quarter of the time that pydicom takes to make its own numbers of them.
    """
    if TAGS[keyword] not in dataset:
        return None
    try:
        value: Any = dataset.get_item(TAGS[keyword]).value
        if keyword in BINARY and isinstance(value, bytes):
            order = "<" if dataset.get_item(TAGS[keyword]).is_little_endian else ">"  # type: ignore[union-attr]
            values: Any = struct.unpack(f"{order}{len(value) // 2}H", value)
        elif isinstance(value, bytes):
            values = value.rstrip(b"\0").split(b"\\")
        else:
            values = [value] if isinstance(value, str | int | float) or value is None else list(value)
        found = tuple(float(v) for v in values[:count])
    except BROKEN:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
