"""What the header of one DICOM object says about its pixels, read without decoding them."""

import os
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medsynth.data.decode import MIN_SIDE
from medsynth.data.dicom_elements import BROKEN, LUTS, TAGS, item, number, numbers, text
from medsynth.data.picture import BadImage

Stream = BufferedReader | BytesIO
LARGEST = 2**31  # bytes of decoded pixels in one object; the standard's element lengths end at 2^32
DEFLATED = 1032  # times; nothing is smaller when deflated (zlib's technical notes)
HEADER = 2**26  # bytes that a deflated header may expand to
PIXELS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
CLASSES = {"CT": "CT", "MR": "MR", "Positron": "PT", "PET": "PT", "Nuclear": "NM", "Computed Radiography": "CR",
           "Digital X-Ray": "DX", "Mammography": "MG", "Ultrasound": "US", "X-Ray Angiographic": "XA",
           "Secondary Capture": "OT"}  # fmt: skip  # how the names of storage classes begin, also after a first word


@dataclass(frozen=True)
class Identity:
    """Identifiers of a header, "" where it has none. They stay inside the source and are never printed."""

    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)
    instance: str = field(default="", repr=False)


@dataclass(frozen=True)
class Stored:
    """How an object stores its pixels: enough to decode a frame without reading the header again.

    offset: of the pixels in the file (native), of the first item (encapsulated), or in what the file deflates to.
    kind: type character of numpy, "i", "u" or "f".  padding: lowest and highest stored value that mean no pixel.
    length: of the pixels in bytes, as the header announces it.  swapped: two and two bytes are in reverse order.
    luts: the tables of LUTS that the header holds.  offsets: of the frames and their lengths, where it has them.
    """

    path: Path
    syntax: str
    offset: int
    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    planar: bool
    kind: str
    allocated: int
    stored: int
    padding: tuple[int, int] | None
    swapped: bool
    length: int
    luts: Dataset | None = None
    offsets: tuple[bytes, bytes] | None = None

    @property
    def frame_bytes(self) -> int:
        """Of one uncompressed frame. YBR_FULL_422 stores two samples a pixel instead of three."""
        samples = 2 if self.photometric == "YBR_FULL_422" and not self.encapsulated else self.samples
        return self.rows * self.columns * samples * self.allocated // 8

    @property
    def encapsulated(self) -> bool:
        """Whether frames are compressed one by one."""
        return UID(self.syntax).is_encapsulated

    @property
    def deflated(self) -> bool:
        """Whether the whole object is compressed."""
        return self.syntax == DeflatedExplicitVRLittleEndian

    @property
    def mode(self) -> str:
        """The pixel type, as in "uint16" or "RGB"."""
        names = {"u": "uint", "i": "int", "f": "float"}
        return f"{names[self.kind]}{self.allocated}" if self.samples == 1 else "RGB"


@dataclass(frozen=True)
class Frame:
    """What the header says of one frame.

    slope, intercept: from stored values to HU or signal.  window: center and width, of those.
    position: of the first pixel, in mm, LPS.  orientation: direction of rows, then of columns, LPS.
    spacing: mm from row to row and column to column.  thickness: mm to the next slice, as far as one object knows.
    """

    number: int
    slope: float = 1.0
    intercept: float = 0.0
    window: tuple[float, float] | None = None
    function: str = "LINEAR"
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    thickness: float | None = None


@dataclass(frozen=True)
class Header:
    """One object. modality: "" when it does not say.  number: InstanceNumber."""

    path: Path
    identity: Identity
    modality: str
    number: int
    stored: Stored
    frames: tuple[Frame, ...]


def read_header(path: Path) -> Header:
    """The header of one object. Raises BadImage, whose reason holds nothing of what the header says about a person."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadImage("no regular file")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            begin = stream.read(2048)
            _check_begin(begin)
            stream.seek(0)
            deflated = str(DeflatedExplicitVRLittleEndian).encode() in begin
            return _read(path, _inflated_header(stream) if deflated else stream, size, deflated=deflated)
    except BROKEN as error:
        raise BadImage(f"damaged header ({type(error).__name__})") from error
    except PermissionError as error:
        raise BadImage("no permission to read it") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or type(error).__name__}") from error
    except MemoryError as error:
        raise BadImage("does not fit in memory") from error


def _check_begin(begin: bytes) -> None:
    if not begin:
        raise BadImage("empty file")
    # Files of before 1993, and cut ones, have no preamble: they begin with group 2 or 8, in either byte order.
    if begin[128:132] != b"DICM" and begin[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        raise BadImage("no DICOM file")


def _inflated_header(stream: Stream) -> Stream:
    """A deflated object as if it were not, up to HEADER bytes, so that no header can fill the memory."""
    start = _deflated_start(stream)
    meta = stream.read(start).replace(str(DeflatedExplicitVRLittleEndian).encode(), b"1.2.840.10008.1.2.1\0\0\0")
    return BytesIO(meta + zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), HEADER))


def _deflated_start(stream: Stream) -> int:
    """Where the deflated bytes begin: behind the file meta information, which tells its length first."""
    stream.seek(132)
    element = stream.read(12)
    stream.seek(0)
    if element[:4] != b"\x02\x00\x00\x00":
        raise BadImage("damaged header (no length of the file meta information)")
    return 144 + int.from_bytes(element[8:], "little")


def inflate(stored: Stored) -> bytes:
    """All frames of a deflated object; nothing beyond them is expanded. Raises BadImage for a truncated one."""
    need = stored.frames * stored.frame_bytes
    with stored.path.open("rb") as stream:
        start = _deflated_start(stream)
        stream.seek(start)
        skipped = stored.offset - start
        try:
            pixels = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), skipped + need)[skipped:]
        except zlib.error as error:
            raise BadImage("damaged: it does not inflate") from error
    if len(pixels) < need:
        raise BadImage(f"truncated: {len(pixels):,} of {need:,} bytes of pixels")
    return pixels


def _read(path: Path, stream: Stream, size: int, *, deflated: bool) -> Header:
    """Parse up to the pixels. size: of the file in bytes."""
    dataset = dcmread(stream, stop_before_pixels=True, specific_tags=list(TAGS.values()), force=True)
    name = _class_name(dataset)
    if "DirectoryRecordSequence" in dataset:
        raise BadImage("no image: a DICOMDIR index")
    if not dataset.preamble and not any(key in dataset for key in ("SOPClassUID", "Modality", "Rows")):
        raise BadImage("no DICOM file")
    modality = text(dataset, "Modality").upper() or next(
        (short for begin, short in CLASSES.items() if name.removeprefix("Enhanced ").startswith(begin)), ""
    )
    if modality == "SEG" or name.startswith("Segmentation"):
        raise BadImage("no image: a segmentation")
    stored = _stored(path, dataset, stream, name, deflated=deflated)
    _check(stored, size)
    if not deflated:
        _check_length(stored, stream, size)
    frames = _frames(dataset, stored.frames)
    identity = Identity(*(text(dataset, key) for key in
                          ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")))  # fmt: skip
    return Header(path, identity, modality, int(number(dataset, "InstanceNumber") or 0), stored, frames)


def _class_name(dataset: Dataset) -> str:
    """The storage class in the standard's words, "" for one that it does not know."""
    uid = UID(text(dataset, "SOPClassUID"))
    return uid.name if uid.name != str(uid) else ""


def _stored(path: Path, dataset: Dataset, stream: Stream, name: str, *, deflated: bool) -> Stored:
    implicit, little = dataset.original_encoding
    keyword, vr, length = _pixel_element(stream, implicit=bool(implicit), little=bool(little))
    if not keyword or "Rows" not in dataset:
        raise BadImage(f"no image: {name or 'it has no pixel data'}")
    syntax = _syntax(dataset, deflated=deflated)
    rows, columns, samples, frames = (
        int(value) if (value := number(dataset, key)) is not None else 1
        for key in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
    )
    allocated = {"PixelData": int(number(dataset, "BitsAllocated") or 16), "FloatPixelData": 32}.get(keyword, 64)
    kind = "f" if keyword != "PixelData" else "i" if number(dataset, "PixelRepresentation") == 1 else "u"
    tables = Dataset()
    tables.set_original_encoding(implicit, little, None)
    tables.update({TAGS[key]: dataset[key] for key in LUTS if key in dataset})
    extended = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    return Stored(
        path=path, syntax=syntax, offset=stream.tell(), rows=rows, columns=columns, samples=samples,
        frames=max(1, frames), photometric=text(dataset, "PhotometricInterpretation").upper() or "MONOCHROME2",
        planar=number(dataset, "PlanarConfiguration") == 1, kind=kind, allocated=allocated,
        stored=int(number(dataset, "BitsStored") or allocated), padding=_padding(dataset, signed=kind == "i"),
        swapped=allocated == 8 and vr == b"OW" and syntax == ExplicitVRBigEndian,
        luts=tables if len(tables) else None, offsets=extended if all(extended) else None,
        length=length,
    )  # fmt: skip


def _syntax(dataset: Dataset, *, deflated: bool) -> str:
    """The transfer syntax, or what the elements look like in a file that does not name it."""
    named = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    implicit, little = dataset.original_encoding
    guessed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return str(DeflatedExplicitVRLittleEndian if deflated else named or guessed)


def _pixel_element(stream: Stream, *, implicit: bool, little: bool) -> tuple[str, bytes, int]:
    """Keyword, VR and length of the element at the stream's place, which is left behind it. "" for none."""
    order = "<" if little else ">"
    begin = stream.read(8)
    if len(begin) < 8:
        return "", b"", 0
    group, element = struct.unpack(f"{order}HH", begin[:4])
    keyword = PIXELS.get(group << 16 | element, "")
    if implicit:
        return keyword, b"", struct.unpack(f"{order}L", begin[4:])[0]
    vr = begin[4:6]
    long = vr in (b"OB", b"OW", b"OF", b"OD", b"OV", b"UN")
    length = stream.read(4) if long else begin[6:]
    return keyword, vr, struct.unpack(f"{order}{'L' if long else 'H'}", length)[0]


def _check(stored: Stored, size: int) -> None:
    """Refuse pixels that no file of `size` bytes can hold, and such as are no image. Raises BadImage."""
    if min(stored.rows, stored.columns) < MIN_SIDE:
        raise BadImage(f"{stored.columns}x{stored.rows} pixels: shorter sides than {MIN_SIDE} hold no picture")
    if stored.allocated not in (8, 16, 32, 64) or not 0 < stored.stored <= stored.allocated:
        raise BadImage(f"{stored.stored} of {stored.allocated} bits a pixel: no image that can be read")
    if stored.samples not in (1, 3):
        raise BadImage(f"{stored.samples} samples a pixel: neither grey nor colour")
    need = stored.frames * stored.frame_bytes
    if need > (min(LARGEST, DEFLATED * size) if stored.deflated else LARGEST) or stored.frames > size:
        raise BadImage(f"its header asks for {need:,} bytes of pixels: a bomb, or damaged")


def _check_length(stored: Stored, stream: Stream, size: int) -> None:
    """Compare the pixels with what lies in the file, where `stream` stands at them. Raises BadImage."""
    if stored.encapsulated:
        return _check_fragments(stream, size)
    need, left = stored.frames * stored.frame_bytes, size - stored.offset
    if left < need:
        raise BadImage(f"truncated: {left:,} of {need:,} bytes of pixels")
    if stored.length < need:
        raise BadImage(f"its header asks for {need:,} bytes of pixels and announces {stored.length:,}")
    return None


def _check_fragments(stream: Stream, size: int) -> None:
    """Raise BadImage when a compressed fragment goes on behind the end of the file."""
    while len(item := stream.read(8)) == 8 and item[:4] == b"\xfe\xff\x00\xe0":
        left = size - stream.tell()
        if (length := int.from_bytes(item[4:], "little")) > left:
            raise BadImage(f"truncated: {left:,} of {length:,} bytes of compressed pixels")
        stream.seek(length, os.SEEK_CUR)


def _frames(dataset: Dataset, count: int) -> tuple[Frame, ...]:
    """What functional groups say of each frame, and the object itself of all."""
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not each:
        only = _frame(0, [shared, dataset])
        return tuple(replace(only, number=number) for number in range(count))
    return tuple(
        _frame(number, [each[number], shared, dataset] if number < len(each) else [shared, dataset])
        for number in range(count)
    )


def _frame(number: int, places: Sequence[Dataset | None]) -> Frame:
    """One frame. places: the groups that describe it, the nearest first."""

    def find(group: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for place in places:
            for dataset in (place and item(place, group), place):
                if dataset is not None and (found := numbers(dataset, keyword, count)):
                    return found
        return None

    transform, voi, measures = "PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"
    slope, intercept = find(transform, "RescaleSlope", 1), find(transform, "RescaleIntercept", 1)
    center, width = find(voi, "WindowCenter", 1), find(voi, "WindowWidth", 1)
    between = find(measures, "SpacingBetweenSlices", 1) or find(measures, "SliceThickness", 1)
    spacing = find(measures, "PixelSpacing", 2) or find("", "ImagerPixelSpacing", 2)
    position = find("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    return Frame(
        number,
        slope=slope[0] if slope and slope[0] != 0 else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        window=(center[0], width[0]) if center and width and width[0] > 0 else None,
        function=text(places[-1], "VOILUTFunction").upper() or "LINEAR" if places[-1] is not None else "LINEAR",
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=orientation if orientation and _is_orthonormal(orientation) else None,
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness=between[0] if between and between[0] > 0 else None,
    )


def _is_orthonormal(orientation: tuple[float, ...]) -> bool:
    x, y = np.array(orientation).reshape(2, 3)
    return bool(abs(np.dot(x, y)) < 0.01 and abs(np.dot(x, x) - 1) < 0.01 and abs(np.dot(y, y) - 1) < 0.01)


def _padding(dataset: Dataset, *, signed: bool) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean no pixel."""
    first, last = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return None
    # Read as US where the header says signed only afterwards.
    ends = [int(v) - 2**16 if signed and v >= 2**15 else int(v) for v in (first, first if last is None else last)]
    return min(ends), max(ends)
