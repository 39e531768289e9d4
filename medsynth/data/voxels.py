"""Voxels on disk: one volume's file as its header describes it, read slab by slab and never whole."""

import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from isal import igzip_lib, isal_zlib
from jaxtyping import Float, Shaped
from numpy import ndarray

from medsynth.data.picture import BadImage

BYTES_AT_MOST = 2**33  # a header that asks for more lies: the largest CT of a whole body has a quarter of it
PLANE_AT_MOST = 2**26  # voxels of a slice: 8192x8192
CHUNK = 2**18  # bytes of a compressed file read at once
GZIP, ZLIB = 31, 15  # window bits, as zlib counts them, that tell the two containers
PLAIN = 0
MAGIC = b"\x1f\x8b"  # a gzip member begins so


@dataclass(frozen=True)
class VolumeFile:
    """A 3-D volume as its header describes it; the first axis runs fastest.

    path: the file that was named.  data: the file of the voxels, which a header of its own may name.
    begin: the byte of `data` where voxels or their compressed stream begin.  skip: bytes of the stream before them.
    affine: voxel indices to millimetres in RAS.  slope, inter: value = slope * stored + inter.
    packing: PLAIN, GZIP or ZLIB.  notes: what a person should know about the header.
    """

    path: Path
    data: Path
    begin: int
    skip: int
    shape: tuple[int, int, int]
    affine: Float[ndarray, "4 4"]
    dtype: np.dtype
    slope: float = 1.0
    inter: float = 0.0
    packing: int = PLAIN
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from voxel to voxel along the stored axes."""
        x, y, z = (float(np.linalg.norm(self.affine[:3, axis])) for axis in range(3))
        return x, y, z

    @property
    def axcodes(self) -> str:
        """Where the stored axes point, as in "LPS"."""
        from nibabel.orientations import aff2axcodes

        return "".join(code or "?" for code in aff2axcodes(self.affine))

    @property
    def bytes(self) -> int:
        """Of all voxels as stored, uncompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self) -> "VolumeFile":
        """Itself. Raises BadImage for a header that cannot be true."""
        if min(self.shape) < 1:
            raise BadImage(f"its header says {by(self.shape)} voxels")
        if self.dtype.kind not in "iuf":
            kind = "colour (RGB)" if self.dtype.names else str(self.dtype)
            raise BadImage(f"voxels of type {kind}: one number a voxel is read")
        if sorted(self.shape)[1] * max(self.shape) > PLANE_AT_MOST:
            raise BadImage(f"its header says {by(self.shape)} voxels: slices of that size are a bomb or no slices")
        if self.bytes > BYTES_AT_MOST:
            raise BadImage(
                f"its header says {by(self.shape)} voxels, {self.bytes / 1e9:,.0f} GB: no such volume is read"
            )
        if not np.isfinite(self.affine).all() or not (self.slope and math.isfinite(self.slope * self.inter)):
            raise BadImage("its header holds numbers that are not finite")
        if np.abs(np.linalg.det(self.affine[:3, :3])) <= 1e-4 * np.prod(self.spacing):
            spacing = " x ".join(f"{s:g}" for s in self.spacing)
            raise BadImage(f"its affine is singular (spacing {spacing} mm): no slice has a place")
        if self.packing == PLAIN:
            with reading():
                size = self.data.stat().st_size - self.begin
            if size < self.bytes:
                raise BadImage(f"too short: {size:,} of the {self.bytes:,} bytes that its header says")
            if size > self.bytes:
                raise BadImage(f"{size:,} bytes of voxels where its header says {self.bytes:,}")
        return self

    def slabs(self, wanted: Container[int]) -> Iterator[tuple[int, Shaped[ndarray, "x y"]]]:
        """The wanted planes across the third axis, as stored, with their numbers, in stored order.

        A compressed file is always read to its end, so that damage anywhere in it is found. Raises BadImage.
        """
        size = self.bytes // self.shape[2]
        with reading(), self.data.open("rb", buffering=0) as file:
            file.seek(self.begin)
            stream = Plain(file) if self.packing == PLAIN else Inflated(file, self.packing)
            stream.leave_out(self.skip)
            for number in range(self.shape[2]):
                if number not in wanted:
                    stream.leave_out(size)
                    continue
                raw = stream.read(size)
                if len(raw) < size:
                    raise BadImage(f"ends in plane {number} of the {self.shape[2]} that its header says")
                yield number, np.frombuffer(raw, self.dtype).reshape(self.shape[:2], order="F")
            stream.finish()

    def values(self, stored: Shaped[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """Stored numbers in the file's unit, float32 in C order; exact where float32 can be."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.slope == 1 and (self.inter == 0 or (self.dtype.itemsize <= 2 and self.inter.is_integer())):
                plain = np.array(stored, dtype=np.float32, order="C")
                return plain + np.float32(self.inter) if self.inter else plain
            return np.ascontiguousarray(stored.astype(np.float64) * self.slope + self.inter, dtype=np.float32)


def by(shape: tuple[int, ...]) -> str:
    """A shape for people, as in 512x512x75."""
    return "x".join(map(str, shape))


@contextmanager
def reading() -> Iterator[None]:
    """What goes wrong with a file while it is read, as BadImage."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadImage(f"no such file: {Path(error.filename).name}") from error
    except PermissionError as error:
        raise BadImage("no permission to read it") from error
    except IsADirectoryError as error:
        raise BadImage("a folder and no file") from error
    except igzip_lib.IsalError as error:  # type: ignore[misc]
        reason = "its checksum is wrong" if "checksum" in str(error) else f"not what compression writes ({error})"
        raise BadImage(f"truncated or damaged: {reason}") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise BadImage("does not fit in memory") from error


class Stream(ABC):
    """The bytes of a file in order."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""

    @abstractmethod
    def leave_out(self, size: int) -> None:
        """Go on behind the next `size` bytes."""

    @abstractmethod
    def finish(self) -> None:
        """Raises BadImage unless the end was reached and is as it should be."""


class Plain(Stream):
    """Bytes as they lie on disk; the file's size was compared with the header before."""

    def __init__(self, file: FileIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        """The next bytes."""
        raw = self.file.read(size)
        while len(raw) < size and (more := self.file.read(size - len(raw))):
            raw += more
        return raw

    def leave_out(self, size: int) -> None:
        """Seek."""
        self.file.seek(size, 1)

    def finish(self) -> None:
        """Nothing is left to check."""


class Inflated(Stream):
    """What a gzip or zlib stream holds, by igzip (twice as fast as zlib on CT); gzip members may follow each other."""

    def __init__(self, file: FileIO, packing: int) -> None:
        self.file, self.packing = file, packing
        self.inflate = isal_zlib.decompressobj(packing)
        self.rest = file.read(CHUNK)  # compressed bytes that were read and not used
        if packing == GZIP and not self.rest.startswith(MAGIC[: len(self.rest)]):
            raise BadImage("not compressed, although its name ends in .gz: rename it, or fetch it again")

    def read(self, size: int) -> bytes:
        """The next bytes. Raises BadImage for a stream that is cut off."""
        parts, missing = [], size
        while missing and (part := self._some(min(missing, 2**24))):
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def leave_out(self, size: int) -> None:
        """Decompress and forget."""
        while size and (part := self._some(min(size, CHUNK))):
            size -= len(part)

    def finish(self) -> None:
        """Raises BadImage when bytes are left, or when the end with its checksum is missing."""
        if self._some(1):
            raise BadImage("holds more voxels than its header says")

    def _some(self, most: int) -> bytes:
        """One to `most` bytes, or none at the end of the last member."""
        while True:
            if self.inflate.eof and not self._next_member():
                return b""
            part = self.inflate.decompress(self.rest, most)
            self.rest = self.inflate.unconsumed_tail
            if part:
                return part
            if not self.rest and not self.inflate.eof:
                self.rest = self.file.read(CHUNK)
                if not self.rest:
                    raise BadImage("truncated: its compressed stream has no end")

    def _next_member(self) -> bool:
        """Whether another gzip member follows, past bytes of zero, which may fill up a file."""
        left = self.inflate.unused_data
        while self.packing == GZIP and not (left := left.lstrip(b"\0")):
            if not (left := self.file.read(CHUNK)):
                return False
        if self.packing == ZLIB:
            return False
        if not left.startswith(MAGIC[: len(left)]):
            raise BadImage("truncated or damaged: other bytes stand behind the end of its compressed stream")
        self.inflate, self.rest = isal_zlib.decompressobj(self.packing), left
        return True
