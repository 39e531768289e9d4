"""What travels from the DataModule to a model's losses, and what images are generated from."""

from typing import NotRequired, TypedDict, cast

from jaxtyping import Float, Int, UInt8
from torch import Tensor


class Batch(TypedDict):
    """This rank's share of one global training batch.

    image: float32 in [-1, 1]; -1 is the dark end of the intensity codec.
    row: place of each sample in the *global* batch, 0 <= row < batch_size. All randomness of training is drawn
        for the global batch and sliced by row, which makes it independent of ranks and micro-batches.
    label: class index into the pack's `class_names`, where the dataset provides labels.
    covariates: continuous conditions such as age or slice position, in [-1, 1], in the order of `data.covariates`.
    mask: labels of each pixel, where the dataset provides them.
    condition: what an image is to be made from, in [-1, 1]; of an unpaired dataset, an image of the other set.
    """

    image: Float[Tensor, "b c h w"]
    row: Int[Tensor, " b"]
    label: NotRequired[Int[Tensor, " b"]]
    covariates: NotRequired[Float[Tensor, "b k"]]
    mask: NotRequired[UInt8[Tensor, "b 1 h w"]]
    condition: NotRequired[Float[Tensor, "b d h w"]]


class Request(TypedDict):
    """What a model generates images from: latents, and what it was conditioned on."""

    latent: Float[Tensor, "b d"]
    label: NotRequired[Int[Tensor, " b"]]
    covariates: NotRequired[Float[Tensor, "b k"]]


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into `count` equal parts, in order; `count` must divide its size."""
    if len(batch["row"]) % count:
        raise ValueError(f"{len(batch['row'])} samples do not make {count} equal parts")
    chunks = {key: cast(Tensor, value).chunk(count) for key, value in batch.items()}
    return [cast(Batch, {key: parts[i] for key, parts in chunks.items()}) for i in range(count)]
