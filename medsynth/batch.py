"""What travels from the DataModule to a model's losses."""

from typing import TypedDict

from jaxtyping import Float, Int
from torch import Tensor


class Batch(TypedDict, total=False):
    """This rank's share of one global batch. `image` and `row` are always there; the rest as the dataset provides.

    image: float32 in [-1, 1], -1 is the dark end of the intensity codec.
    label: class index into the pack's `class_names`.
    row: place of each sample in the *global* batch, 0 <= row < batch_size. All randomness of training is drawn
        for the global batch and sliced by row, which makes it independent of ranks and micro-batches.
    """

    image: Float[Tensor, "b c h w"]
    label: Int[Tensor, " b"]
    row: Int[Tensor, " b"]


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into `count` equal parts, in order; `count` must divide its size."""
    if count == 1:
        return [batch]
    parts = {key: value.chunk(count) for key, value in batch.items()}  # type: ignore[union-attr]
    return [Batch(**{key: chunks[i] for key, chunks in parts.items()}) for i in range(count)]
