"""MetaImage: SLIVER07's kind of header, LPS, byte orders, compression, and what is refused."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from medsynth.data.picture import BadImage
from medsynth.data.volume import open_volume
from medsynth.data.voxels import VolumeFile

RAMP = np.arange(2 * 3 * 4).reshape(2, 3, 4)  # x, y, z
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = {compressed}
TransformMatrix = {matrix}
Offset = 10 -20 30
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.7 0.8 2.5
DimSize = {size}
ElementType = {kind}
{extra}ElementDataFile = {data}
"""


def write(
    path: Path, *, raw: bytes | None = None, data: str = "a.raw", matrix: str = "1 0 0 0 1 0 0 0 1", msb: bool = False,
    compressed: bool = False, size: str = "2 3 4", kind: str = "MET_SHORT", extra: str = "",
) -> Path:  # fmt: skip
    raw = RAMP.astype("<i2").tobytes(order="F") if raw is None else raw
    header = HEADER.format(msb=msb, compressed=compressed, matrix=matrix, size=size, kind=kind, data=data, extra=extra)
    local = data == "LOCAL"
    path.write_bytes(header.encode() + (raw if local else b""))
    if not local and data == "a.raw":
        (path.parent / data).write_bytes(raw)
    return path


def stored(volume: VolumeFile) -> np.ndarray:
    return np.stack([slab for _, slab in volume.slabs(range(volume.shape[2]))], axis=-1)


def test_a_header_with_its_voxels_beside_it_is_read(tmp_path: Path) -> None:
    volume = open_volume(write(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(stored(volume), RAMP)
    assert volume.axcodes == "LPS"
    np.testing.assert_allclose(volume.affine @ [1, 1, 1, 1], [-10.7, 19.2, 32.5, 1])


def test_rows_of_the_matrix_are_the_directions_of_the_axes(tmp_path: Path) -> None:
    volume = open_volume(write(tmp_path / "a.mhd", matrix="0 1 0 0 0 -1 1 0 0"))
    assert volume.axcodes == "PIL"  # the first axis runs along y of LPS, the second along -z, the third along x
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5))


@pytest.mark.parametrize(
    ("packing", "data"),
    [(None, "LOCAL"), (zlib.compress, "LOCAL"), (zlib.compress, "a.raw"), (gzip.compress, "a.raw")],
)
def test_voxels_may_stand_in_the_same_file_and_be_compressed(packing, data: str, tmp_path: Path) -> None:
    raw = RAMP.astype(">u2").tobytes(order="F")
    path = write(tmp_path / "a.mha", raw=packing(raw) if packing else raw, data=data, msb=True, kind="MET_USHORT",
                 compressed=packing is not None)  # fmt: skip
    np.testing.assert_array_equal(stored(open_volume(path)), RAMP)


@pytest.mark.parametrize("extra", ["HeaderSize = 5\n", "HeaderSize = -1\n"])
def test_bytes_before_the_voxels_are_left_out(extra: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd", raw=b"12345" + RAMP.astype("<i2").tobytes(order="F"), extra=extra)
    np.testing.assert_array_equal(stored(open_volume(path)), RAMP)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"raw": bytes(40)}, "too short: 40 of the 48 bytes"),
        ({"raw": bytes(50)}, "50 bytes of voxels where its header says 48"),
        ({"raw": zlib.compress(bytes(40)), "compressed": True}, "ends in plane 3 of the 4"),
        ({"raw": zlib.compress(bytes(60)), "compressed": True}, "holds more voxels"),
        ({"raw": zlib.compress(bytes(48))[:-2], "compressed": True}, "truncated"),
        ({"data": "../../etc/passwd"}, "must name a file beside the header"),
        ({"data": "slice%03d.raw 1 4 1"}, "several files"),
        ({"data": "gone.raw"}, "no such file: gone.raw"),
        ({"size": "2 3"}, "2-D .2x3.: 3-D volumes are read"),
        ({"size": "2 3 x"}, "its MetaImage header is wrong"),
        ({"size": "30000 30000 30000"}, "slices of that size are a bomb"),
        ({"size": "4000 4000 8000"}, "no such volume is read"),
        ({"extra": "HeaderSize = abc\n"}, "its MetaImage header is wrong"),
        ({"kind": "MET_OTHER"}, "voxels of type MET_OTHER"),
        ({"extra": "ElementNumberOfChannels = 3\n"}, "one number a voxel is read"),
        ({"matrix": "1 0 0 1 0 0 0 0 1"}, "singular"),
        ({"matrix": "1 0 0"}, "its MetaImage header is wrong"),
    ],
)
def test_damage_is_named(changes: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=reason):
        stored(open_volume(write(tmp_path / "a.mhd", **changes)))


def test_other_text_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("hello\nNDims = 3\n")
    with pytest.raises(BadImage, match="no MetaImage header"):
        open_volume(tmp_path / "a.mhd")
