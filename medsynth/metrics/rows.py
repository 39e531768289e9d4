"""Rows that come in parts and are read as one tensor."""

import torch
from jaxtyping import Shaped
from torch import Tensor


class Rows:
    """One tensor with room for more rows, which doubles when it is full.

    A list of parts would hold everything twice while it is joined, and leave holes in the process's memory.
    """

    def __init__(self, *parts: Shaped[Tensor, "_n ..."]) -> None:
        self._kept = torch.empty(0)
        self.count = 0
        for part in parts:
            self.append(part)

    def append(self, rows: Shaped[Tensor, "_n ..."]) -> None:
        """Add rows below the others, of the shape and type of the first ones."""
        needed = self.count + len(rows)
        if not self.count:
            self._kept = rows.clone()
        else:
            assert (rows.shape[1:], rows.dtype) == (self._kept.shape[1:], self._kept.dtype)
            if needed > len(self._kept):
                grown = rows.new_empty(max(needed, 2 * len(self._kept)), *rows.shape[1:])
                grown[: self.count] = self.all()
                self._kept = grown
            self._kept[self.count : needed] = rows
        self.count = needed

    def all(self) -> Shaped[Tensor, "_n ..."]:
        """All rows, as a view that must not be written to."""
        return self._kept[: self.count]

    def __getstate__(self) -> dict[str, object]:
        """What travels between ranks: the rows without the room."""
        return {"_kept": self.all().clone(), "count": self.count}
