"""A .npy file that grows slice by slice and can be cut back, so that nothing is held in memory."""

import hashlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy import ndarray

START = 128  # bytes of the header: NumPy pads it so that any number of slices fits
BUFFER = 2**20  # bytes


class ArrayFile:
    """Writes slices of one shape and type; (n, *shape) in the end.

    shape: of a slice; None: that of the first one.  missing: fills slices that are None. While all of those that are
    kept are None there is no file, and with `missing` None no slice may be.
    """

    def __init__(
        self, path: Path, dtype: np.dtype, shape: tuple[int, ...] | None, *, missing: int | None = None
    ) -> None:
        self.path, self.dtype, self.shape, self.missing = path, dtype, shape, missing
        self.digests: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._wanted, self._first = shape, 0  # number of the first slice that is not None

    def append(self, value: ndarray | None) -> None:
        """One more slice."""
        if value is None:
            if self._file is None or self.shape is None:
                self.digests.append(b"")
                return
            value = self._blank()
        if self._file is None:
            self._begin(value.shape)
        self._write(value)

    def cut(self, count: int) -> None:
        """Keep the first `count` slices alone."""
        del self.digests[count:]
        if self._file is None:
            return
        if count <= self._first:
            self._drop()
        else:
            self._file.seek(self._end(count))
            self._file.truncate()

    def read(self, indices: ndarray) -> ndarray | None:
        """Slices that were written; None where there is no file."""
        if self._file is None:
            return None
        self._file.flush()
        mapped = np.memmap(self.path, self.dtype, "r", START, (len(self.digests), *(self.shape or ())))
        return np.asarray(mapped[indices])

    def finish(self) -> str:
        """Write the header for the number of slices there are; returns the digest of all of them."""
        if self._file is not None:
            self._header(len(self.digests))
            self._file.flush()
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    def close(self) -> None:
        """Let go of the file, finished or not."""
        if self._file is not None:
            self._file.close()

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.shape = shape if self.shape is None else self.shape
        self._file = self.path.open("w+b", buffering=BUFFER)
        self._header(len(self.digests))
        self._first, self.digests = len(self.digests), []
        for _ in range(self._first):
            self._write(self._blank())

    def _drop(self) -> None:
        """As before the first slice that is not None."""
        self.close()
        self.path.unlink()
        self._file, self.shape, self.digests = None, self._wanted, [b""] * len(self.digests)

    def _blank(self) -> ndarray:
        assert self.missing is not None, f"{self.path.name} takes no missing slice"
        return np.full(self.shape or (), self.missing, self.dtype)

    def _write(self, value: ndarray) -> None:
        if value.shape != self.shape or value.dtype != self.dtype:
            raise ValueError(f"{self.path.name} takes {self.dtype} {self.shape}, not {value.dtype} {value.shape}")
        raw = np.ascontiguousarray(value).data
        self.digests.append(hashlib.sha256(raw).digest())
        assert self._file is not None
        self._file.write(raw)

    def _end(self, count: int) -> int:
        return START + count * self.dtype.itemsize * int(np.prod(self.shape or ()))

    def _header(self, count: int) -> None:
        assert self._file is not None
        self._file.seek(0)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        shape = (count, *(self.shape or ()))
        np.lib.format.write_array_header_1_0(self._file, {"descr": descr, "fortran_order": False, "shape": shape})
        if self._file.tell() != START:
            raise OSError(f"the header of {self.path.name} has {self._file.tell()} bytes, not {START}")
