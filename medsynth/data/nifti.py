"""NIfTI-1 and NIfTI-2 headers (.nii, .nii.gz, .hdr with .img), and Analyze 7.5 headers, which say no orientation."""

from pathlib import Path
from typing import Any

import numpy as np

from medsynth.data.picture import BadImage
from medsynth.data.voxels import GZIP, PLAIN, Inflated, VolumeFile, reading

SIZES = {348: slice(344, 347), 540: slice(4, 7)}  # a header's bytes, which its first number says, to its magic's place
NO_ORIENTATION = "says no orientation: taken to lie as LAS"


def read_nifti(path: Path) -> VolumeFile:
    """The volume that a header describes. Raises BadImage with the reason when it describes none.

    As NIfTI allows, an unset qfac is 1 and spacings are taken without their sign; nothing else is mended.
    """
    from nibabel.spatialimages import HeaderDataError

    header, magic = _header(path)
    data = path if magic in (b"n+1", b"n+2") else _pair(path)
    packing = GZIP if data.name.lower().endswith(".gz") else PLAIN
    try:
        _mend(header)
        shape = _three(tuple(int(n) for n in header.get_data_shape()))
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        offset = int(header.get_data_offset())
    except (HeaderDataError, ValueError, OverflowError, KeyError) as error:
        raise BadImage(f"its header is wrong: {' '.join(str(error).split())}") from error
    if offset < (header.sizeof_hdr if data == path else 0):
        raise BadImage(f"its header says that the voxels begin at byte {offset}")
    oriented = magic and (header["qform_code"] > 0 or header["sform_code"] > 0)
    return VolumeFile(
        path,
        data,
        begin=offset if packing == PLAIN else 0,
        skip=0 if packing == PLAIN else offset,
        shape=shape,
        affine=affine,
        dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        packing=packing,
        notes=() if oriented else (NO_ORIENTATION,),
    )


def _header(path: Path) -> tuple[Any, bytes]:
    """nibabel's header, unchecked, and the first three bytes of its magic, none for Analyze."""
    from nibabel.analyze import AnalyzeHeader
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader

    with reading(), path.open("rb", buffering=0) as file:
        packed = path.name.lower().endswith(".gz")
        block = Inflated(file, GZIP).read(max(SIZES)) if packed else file.read(max(SIZES))
    size = next((n for n in SIZES if n in (int.from_bytes(block[:4], order) for order in ("little", "big"))), 0)
    if not size or len(block) < size:
        raise BadImage("empty file" if not block else "no NIfTI header")
    magic = block[SIZES[size]]
    kinds = {b"n+1": Nifti1Header, b"ni1": Nifti1PairHeader, b"n+2": Nifti2Header, b"ni2": Nifti2PairHeader}
    is_pair = path.suffix.lower() == ".hdr"
    if magic not in kinds:
        if not is_pair:
            raise BadImage("no NIfTI header")
        return AnalyzeHeader(block[:348], check=False), b""
    if is_pair != magic.startswith(b"ni"):
        raise BadImage("a NIfTI pair's header must end in .hdr, and only that")
    return kinds[magic](block[:size], check=False), magic


def _pair(path: Path) -> Path:
    """The voxels' file of a .hdr."""
    names = {file.name.lower(): file for file in path.parent.iterdir()}
    found = next(
        (names[name] for name in (f"{path.stem}.img".lower(), f"{path.stem}.img.gz".lower()) if name in names), None
    )
    if found is None:
        raise BadImage(f"no {path.stem}.img beside it")
    return found


def _mend(header: Any) -> None:
    pixdim = header["pixdim"]
    pixdim[1:4] = np.abs(pixdim[1:4])
    if "qform_code" in header.keys() and pixdim[0] not in (-1, 1):  # noqa: SIM118
        pixdim[0] = 1


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A shape without last axes of 1. Raises BadImage for more than three axes."""
    x, y, z, *more = (*shape, *(1,) * (3 - len(shape)))
    if any(n > 1 for n in more):
        raise BadImage(f"{len(shape)}-D with {int(np.prod(more))} volumes: 3-D volumes are read")
    return x, y, z
