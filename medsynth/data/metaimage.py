"""MetaImage headers (.mhd with a .raw or .zraw beside it, .mha), as SLIVER07 and ITK write them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from medsynth.data.picture import BadImage
from medsynth.data.voxels import GZIP, MAGIC, PLAIN, ZLIB, VolumeFile, reading

HEADER_AT_MOST = 2**16  # bytes
# itk.org/Wiki/ITK/MetaIO/Documentation: element types, and the names that older files give the same fields
TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4",
         "ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}  # fmt: skip
OLDER = {"Position": "Offset", "Origin": "Offset", "Orientation": "TransformMatrix", "Rotation": "TransformMatrix",
         "ElementSize": "ElementSpacing", "ElementByteOrderMSB": "BinaryDataByteOrderMSB"}  # fmt: skip


def read_metaimage(path: Path) -> VolumeFile:
    """The volume that a .mhd or .mha describes. Raises BadImage with the reason when it describes none."""
    with reading(), path.open("rb") as file:
        start = file.read(HEADER_AT_MOST)
    fields, end = _fields(start)
    try:
        size = tuple(int(n) for n in fields["DimSize"].split())
        kind = fields["ElementType"].upper().removeprefix("MET_")
        affine = _affine(fields)
        channels, header = int(fields.get("ElementNumberOfChannels", "1")), int(fields.get("HeaderSize", "0"))
    except (KeyError, ValueError) as error:
        raise BadImage(f"its MetaImage header is wrong: {error}") from error
    if len(size) != 3:
        raise BadImage(f"{len(size)}-D ({'x'.join(map(str, size))}): 3-D volumes are read")
    if channels != 1 or kind not in TYPES:
        raise BadImage(f"voxels of type {fields['ElementType']}: one number a voxel is read")
    dtype = np.dtype(TYPES[kind]).newbyteorder(">" if _is(fields, "BinaryDataByteOrderMSB") else "<")
    data = _data(path, fields["ElementDataFile"])
    begin = end if data == path else 0
    packing = _packing(data, begin) if _is(fields, "CompressedData") else PLAIN
    if header == -1 and packing == PLAIN:  # the voxels stand at the end
        with reading():
            begin = max(0, data.stat().st_size - int(np.prod(size)) * dtype.itemsize)
    return VolumeFile(
        path, data, begin + max(0, header), 0, (size[0], size[1], size[2]), affine, dtype, packing=packing
    )


def _fields(start: bytes) -> tuple[dict[str, str], int]:
    """The fields of the header and the byte behind it; ElementDataFile is the last."""
    fields: dict[str, str] = {}
    end = 0
    for line in start.splitlines(keepends=True):
        end += len(line)
        name, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            break
        fields[OLDER.get(name.strip(), name.strip())] = value.strip()
        if name.strip() == "ElementDataFile":
            return fields, end
    raise BadImage("no MetaImage header: it names no ElementDataFile")


def _is(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "False").lower() in ("true", "1")


def _affine(fields: dict[str, str]) -> Float[ndarray, "4 4"]:
    """Voxel indices to millimetres in RAS. The file says LPS: each row of its matrix is the direction of one axis."""
    unsaid = {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "ElementSpacing": "1 1 1", "Offset": "0 0 0"}
    numbers = {name: np.array(fields.get(name, text).split(), dtype=np.float64) for name, text in unsaid.items()}
    affine = np.eye(4)
    affine[:3, :3] = numbers["TransformMatrix"].reshape(3, 3).T * numbers["ElementSpacing"]
    affine[:3, 3] = numbers["Offset"]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _data(path: Path, name: str) -> Path:
    """The file of the voxels: this one, or one beside it."""
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name or (" " in name.strip() and not (path.parent / name).exists()):
        raise BadImage(f"its voxels lie in several files (ElementDataFile = {name}): one is read")
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise BadImage(f"ElementDataFile = {name}: must name a file beside the header")
    return path.parent / name


def _packing(data: Path, begin: int) -> int:
    """Which container a compressed stream is in: MetaIO has written both."""
    with reading(), data.open("rb") as file:
        file.seek(begin)
        return GZIP if file.read(2) == MAGIC else ZLIB
