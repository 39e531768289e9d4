"""One object: its header, its stored values, and the values of its pictures. Pixels are compared with pydicom's."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import COMPRESSED, NATIVE, NEAR, dicom
from PIL import Image
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medsynth.data.dicom import inflate, read_header
from medsynth.data.dicom_picture import values
from medsynth.data.dicom_pixels import JPEG2000 as ALL_JPEG2000
from medsynth.data.dicom_pixels import stored_values
from medsynth.data.picture import BadImage

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 4096, (3, 20, 24)).astype(np.uint16)
SIGNED = RNG.integers(-2000, 2000, (20, 24)).astype(np.int16)
SECRET = "SECRET-7731"


def stored(path: Path, frame: int = 0) -> np.ndarray:
    header = read_header(path)
    return stored_values(header.stored, frame, inflate(header.stored) if header.stored.deflated else None)


def shown(path: Path, frame: int = 0) -> np.ndarray:
    header = read_header(path)
    return values(header.stored, header.frames[frame], header.modality)


def reason_of(read: Callable[[], object]) -> str:
    """Why it was refused; "" when it was not."""
    try:
        read()
    except BadImage as reason:
        return str(reason)
    return ""


# --------------------------------------------------------------------------------------------------- stored values


@pytest.mark.parametrize("syntax", NATIVE + COMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize("pixels", [TWELVE, SIGNED], ids=["three frames", "signed"])
def test_every_encoding_gives_the_values_that_were_written(syntax: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", pixels, syntax=syntax)
    frames = pixels if pixels.ndim == 3 else pixels[None]
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(stored(path, number), frame)


def smooth(top: int, *shape: int) -> np.ndarray:
    """Waves between 0 and `top`, shifted from channel to channel."""
    row, column, *channel = np.indices(shape)
    return (top / 2 * (1 + np.sin(row / 5 + sum(channel)) * np.cos(column / 4))).astype("u1" if top < 256 else "u2")


@pytest.mark.parametrize("syntax", NEAR, ids=lambda uid: uid.name)
def test_every_lossy_encoding_gives_nearly_the_values_that_were_written(syntax: UID, tmp_path: Path) -> None:
    pixels = smooth(255 if syntax == JPEGBaseline8Bit else 4000, 20, 24)
    found = stored(dicom(tmp_path / "a", pixels, syntax=syntax, BitsStored=8 * pixels.itemsize))
    assert np.abs(found.astype(int) - pixels).max() <= NEAR[syntax]


def test_no_encoding_is_read_that_is_not_compared() -> None:
    read = {RLELossless, *JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *ALL_JPEG2000}
    parts_of_jpeg_2000 = {uid for uid in read if "Part 2" in uid.name}  # several components, as one-component files
    assert read - parts_of_jpeg_2000 == {*COMPRESSED, *NEAR}


def by_pillow(kind: str, **settings: Any) -> Callable[[np.ndarray], bytes]:
    """An encoder that shares no code with our decoder."""

    def encode(frame: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, format=kind, **settings)
        return stream.getvalue()

    return encode


@pytest.mark.parametrize(
    ("syntax", "photometric", "encode", "loss"),
    [
        (RLELossless, "RGB", None, 0),
        (JPEGBaseline8Bit, "YBR_FULL", by_pillow("JPEG", quality=95, subsampling=0), 8),
        (JPEGBaseline8Bit, "YBR_FULL_422", by_pillow("JPEG", quality=95, subsampling=1), 16),
        (JPEGBaseline8Bit, "RGB", by_pillow("JPEG", quality=95, keep_rgb=True), 8),
        (JPEGLossless, "RGB", None, 0),
        (JPEGLosslessSV1, "RGB", None, 0),
        (JPEGLSLossless, "RGB", None, 0),
        (JPEG2000Lossless, "YBR_RCT", by_pillow("JPEG2000", no_jp2=True, mct=1), 0),
        (JPEG2000Lossless, "RGB", by_pillow("JPEG2000", no_jp2=True, mct=0), 0),
        (JPEG2000, "YBR_ICT", by_pillow("JPEG2000", no_jp2=True, mct=1, irreversible=True), 3),
    ],
)
def test_colour_is_rgb_in_every_encoding(
    syntax: str, photometric: str, encode: Callable[[np.ndarray], bytes] | None, loss: int, tmp_path: Path
) -> None:
    pixels = smooth(255, 20, 24, 3)
    path = dicom(tmp_path / "a", pixels, syntax=syntax, encode=encode, PhotometricInterpretation=photometric)
    assert np.abs(stored(path).astype(int) - pixels).max() <= loss


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless])
def test_bits_above_those_in_use_are_no_part_of_a_value(syntax: str, tmp_path: Path) -> None:
    overlaid = (SIGNED & 0x0FFF).astype(np.uint16) | (0xA000 if syntax == ExplicitVRLittleEndian else 0)
    path = dicom(
        tmp_path / "a", overlaid.view(np.int16), syntax=syntax, BitsStored=12, HighBit=11, PixelRepresentation=1
    )
    if syntax == ExplicitVRLittleEndian:
        np.testing.assert_array_equal(stored(path), SIGNED)
    else:  # the codestream's own precision, 16 bits, counts
        np.testing.assert_array_equal(stored(path), SIGNED & 0x0FFF)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm",
     "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit.dcm", "J2K_pixelrep_mismatch.dcm",
     "SC_ybr_full_422_uncompressed.dcm", "rtdose.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "examples_palette.dcm",
     "693_J2KI.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cr.dcm"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_the_files_that_come_with_pydicom_are_read_as_pydicom_reads_them(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None
    # pydicom itself decodes no JPEG-LS: there is the same slice without it.
    original = path.replace("_jpeg_ls_lossless", "")
    dataset = pydicom.dcmread(original, force=True)
    expected = pydicom.pixels.pixel_array(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        expected = pydicom.pixels.processing.apply_color_lut(expected, dataset)
    expected = expected if int(dataset.get("NumberOfFrames", 1)) > 1 else expected[None]
    found = np.stack([stored(Path(path), number) for number in range(len(expected))])
    np.testing.assert_array_equal(found, expected)


def test_an_object_without_preamble_or_extension_is_read(tmp_path: Path) -> None:
    whole = dicom(tmp_path / "whole", SIGNED, syntax="1.2.840.10008.1.2").read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    (tmp_path / "bare").write_bytes(whole[start:])
    np.testing.assert_array_equal(stored(tmp_path / "bare"), SIGNED)


# ---------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("pixels", [SIGNED, TWELVE[0]], ids=["signed", "unsigned"])
def test_ct_is_in_hounsfield_units(pixels: np.ndarray, tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", pixels, RescaleSlope=2, RescaleIntercept=-1024)
    expected = apply_modality_lut(pixels, pydicom.dcmread(path))
    np.testing.assert_array_equal(shown(path), expected.astype(np.float32))


def test_a_look_up_table_of_the_modality_counts_before_the_rescaling(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
    item.LUTData = np.arange(4096, dtype="<u2")[::-1].tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    path = dicom(tmp_path / "a", TWELVE[0], Modality="MR", RescaleSlope=5, ModalityLUTSequence=[item])
    np.testing.assert_array_equal(shown(path), 4095 - TWELVE[0])


def test_padding_becomes_the_lowest_value_of_the_rest(tmp_path: Path) -> None:
    pixels = SIGNED.copy()
    pixels[:3] = -2000
    plain = dicom(tmp_path / "one", pixels, PixelPaddingValue=-2000)
    found = shown(plain)
    assert (found[:3] == SIGNED[3:][SIGNED[3:] > -2000].min()).all()
    pixels[0] = -1990
    ranged = shown(dicom(tmp_path / "range", pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1985))
    assert ranged[:3].min() == ranged[:3].max() == ranged[3:].min()
    np.testing.assert_array_equal(found[3:][SIGNED[3:] > -1985], SIGNED[3:][SIGNED[3:] > -1985])


@pytest.mark.parametrize("modality", ["CR", "MR", "CT", "PT"])
def test_monochrome1_is_turned_round_unless_values_are_physical(modality: str, tmp_path: Path) -> None:
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    path = dicom(tmp_path / "a", pixels, Modality=modality, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    found = shown(path)
    assert (found[0, 0] > found[-1, -1]) == (modality in ("CR", "MR"))


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"WindowCenter": 2048, "WindowWidth": 4096}, lambda v: (v - 2047.5) / 4095 + 0.5),
        ({"WindowCenter": [1000, 5], "WindowWidth": [1001, 7]}, lambda v: (v - 999.5) / 1000 + 0.5),
        (
            {"WindowCenter": 1000, "WindowWidth": 500, "VOILUTFunction": "LINEAR_EXACT"},
            lambda v: (v - 1000) / 500 + 0.5,
        ),
        (
            {"WindowCenter": 1000, "WindowWidth": 500, "VOILUTFunction": "SIGMOID"},
            lambda v: 1 / (1 + np.exp(-4 * (v - 1000) / 500)),
        ),
        ({"RescaleIntercept": -100, "WindowCenter": 0, "WindowWidth": 201}, lambda v: (v - 100 + 0.5) / 200 + 0.5),
    ],
)
def test_radiographs_are_shown_by_the_first_window_of_the_file(
    elements: dict[str, Any], expected: Any, tmp_path: Path
) -> None:
    path = dicom(tmp_path / "a", TWELVE[0], Modality="DX", BitsStored=12, **elements)
    np.testing.assert_allclose(shown(path), np.clip(expected(TWELVE[0].astype(float)), 0, 1), atol=1e-5)


def test_a_look_up_table_of_the_display_counts_before_a_window(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = np.arange(4096, dtype="<u2")[::-1].tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    path = dicom(tmp_path / "a", TWELVE[0], Modality="CR", WindowCenter=5, WindowWidth=5, VOILUTSequence=[item])
    np.testing.assert_allclose(shown(path), 1 - TWELVE[0] / 4095, atol=1e-6)


def test_without_a_window_eight_bits_are_shown_whole_and_more_by_percentiles(tmp_path: Path) -> None:
    eight = (TWELVE[0] // 32).astype(np.uint8)
    np.testing.assert_allclose(shown(dicom(tmp_path / "a", eight, Modality="US")), eight / 255, atol=1e-6)
    sixteen = shown(dicom(tmp_path / "b", TWELVE[0], Modality="US"))
    low, high = np.percentile(TWELVE[0], (0.5, 99.5))
    np.testing.assert_allclose(sixteen, np.clip((TWELVE[0] - low) / (high - low), 0, 1), atol=1e-5)


def test_colour_lies_between_0_and_1(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    np.testing.assert_allclose(shown(dicom(tmp_path / "a", pixels, Modality="XC")), pixels / 255, atol=1e-6)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(20, 24, 3)
    path = dicom(tmp_path / "b", planes, Modality="XC", PlanarConfiguration=1)
    np.testing.assert_allclose(shown(path), pixels / 255, atol=1e-6)


def test_frames_have_their_own_rescaling_and_place(tmp_path: Path) -> None:
    def of_frame(number: int) -> Dataset:
        item, transform, position = Dataset(), Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = number + 1, -number, "US"
        position.ImagePositionPatient = [0, 0, 3 * number]
        item.PixelValueTransformationSequence, item.PlanePositionSequence = [transform], [position]
        return item

    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 3
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    path = dicom(
        tmp_path / "a", TWELVE, Modality="MR", PixelSpacing=None, ImagePositionPatient=None,
        ImageOrientationPatient=None, RescaleSlope=None, RescaleIntercept=None,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[of_frame(number) for number in range(3)],
    )  # fmt: skip
    frames = read_header(path).frames
    assert [frame.position for frame in frames] == [(0, 0, 0), (0, 0, 3), (0, 0, 6)]
    assert {frame.spacing for frame in frames} == {(0.5, 0.75)}
    for number in range(3):
        np.testing.assert_allclose(shown(path, number), TWELVE[number] * (number + 1.0) - number)


# -------------------------------------------------------------------------------------------------- what is no image


def _bytes(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_truncated_files_are_refused_by_their_header(tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, JPEGLSLossless):
        path = dicom(tmp_path / "a", TWELVE, syntax=syntax, PatientID=SECRET)
        with pytest.raises(BadImage, match=r"^truncated: [\d,]+ of [\d,]+ bytes") as error:
            read_header(_bytes(path, path.stat().st_size - 700))
        assert SECRET not in str(error.value)


def test_a_header_that_asks_for_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", SIGNED)
    with pytest.raises(BadImage, match="truncated"):
        read_header(dicom(tmp_path / "b", SIGNED, Rows=4000, Columns=4000))
    with pytest.raises(BadImage, match="a bomb, or damaged"):
        read_header(dicom(tmp_path / "c", SIGNED, Rows=65535, Columns=65535))
    with pytest.raises(BadImage, match="a bomb, or damaged"):
        read_header(dicom(tmp_path / "d", SIGNED, NumberOfFrames=2**31 - 1))
    path.write_bytes(path.read_bytes() + bytes(100_000))
    (tmp_path / "e").write_bytes(dicom(tmp_path / "e", SIGNED, Rows=100, Columns=100).read_bytes() + bytes(100_000))
    with pytest.raises(BadImage, match="announces"):
        read_header(tmp_path / "e")


def test_a_deflated_object_expands_to_its_frames_and_no_further(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", SIGNED, syntax=DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    plain = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = (bytes(2**20) for _ in range(256))  # a quarter of a gigabyte behind the pixels
    path.write_bytes(whole[:start] + b"".join(map(packer.compress, [plain, *zeros])) + packer.flush())
    header = read_header(path)
    assert len(inflate(header.stored)) == header.stored.frame_bytes == 2 * SIGNED.size
    np.testing.assert_array_equal(stored(path), SIGNED)
    path.write_bytes(whole[: start + 300])
    with pytest.raises(BadImage, match=r"truncated|no image"):
        inflate(read_header(path).stored)


def test_a_deflated_header_cannot_ask_for_more_than_its_bytes_can_hold(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="a bomb, or damaged"):
        read_header(dicom(tmp_path / "a", SIGNED, syntax=DeflatedExplicitVRLittleEndian, Rows=30000, Columns=30000))


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a", SIGNED, syntax=JPEG2000Lossless)
    content = path.read_bytes()
    place = content.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(content[:place] + struct.pack(">LL", 60000, 60000) + content[place + 8 :])
    with pytest.raises(BadImage, match="60000x60000 with 1 samples a pixel, its header says 24x20"):
        stored(path)


def test_damaged_compressed_pixels_are_refused(tmp_path: Path) -> None:
    for syntax in COMPRESSED:
        path = dicom(tmp_path / "a", SIGNED, syntax=syntax)
        content = bytearray(path.read_bytes())
        content[-500:-20] = bytes(480)
        path.write_bytes(content)
        found = reason_of(lambda path=path: stored(path))  # a decoder may go on with what it got
        assert found == "" or "damaged" in found or "compressed p" in found


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "SEG"}, "a segmentation"),
        ({"BitsAllocated": 8, "BitsStored": 12}, "12 of 8 bits a pixel"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "1 of 1 bits a pixel"),
        ({"SamplesPerPixel": 4}, "4 samples a pixel"),
        ({"Rows": 2}, "24x2 pixels"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(elements: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=reason):
        read_header(dicom(tmp_path / "a", SIGNED, **elements))


def test_objects_without_pixels_are_named_by_their_class(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(dicom(tmp_path / "a", SIGNED))
    del dataset.PixelData
    dataset.SOPClassUID = pydicom.uid.RTStructureSetStorage
    dataset.save_as(tmp_path / "rt")
    with pytest.raises(BadImage, match="no image: RT Structure Set Storage"):
        read_header(tmp_path / "rt")


def test_other_files_are_no_dicom(tmp_path: Path) -> None:
    for name, content, reason in (
        ("empty", b"", "empty file"),
        ("text", b"SECRET words" * 50, "no DICOM"),
        ("noise", b"\x08\x00" + RNG.bytes(4000), "no image|damaged header|no DICOM"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadImage, match=reason):
            read_header(tmp_path / name)
    with pytest.raises(BadImage, match="cannot be read"):
        read_header(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadImage, match="no regular file"):
        read_header(tmp_path / "pipe")


@pytest.mark.filterwarnings("ignore")
def test_any_damage_to_a_header_is_a_refusal_or_nothing(tmp_path: Path) -> None:
    whole = dicom(tmp_path / "a", SIGNED, PatientID=SECRET, WindowCenter=1, WindowWidth=2).read_bytes()
    for trial in range(300):
        rng = np.random.default_rng(trial)
        content = bytearray(whole)
        for place in rng.integers(132, len(whole) - 2 * SIGNED.size, 6):
            content[place] = rng.integers(256)
        (tmp_path / "b").write_bytes(content)
        assert SECRET not in reason_of(lambda: shown(tmp_path / "b"))
