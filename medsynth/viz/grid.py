"""Images side by side."""

from math import ceil, sqrt

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

SMALLEST_TILE = 64  # pixels; smaller images are enlarged by whole factors, so that a person can look at them


def to_bytes(images: Float[Tensor, "*b c h w"]) -> UInt8[Tensor, "*b c h w"]:
    """[-1, 1] -> 0 ... 255, rounded to the nearest level."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def side_by_side(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h cw"]:
    """Channels that are no colours (modalities) beside each other in one grey picture; grey and colour as they are."""
    if images.shape[1] in (1, 3):
        return images
    return images.permute(0, 2, 1, 3).flatten(2)[:, None]  # (b, 1, h, c * w)


def grid(images: Float[Tensor, "b c h w"], *, columns: int | None = None) -> Image.Image:
    """One picture of all images, row by row, as square as it goes."""
    factor = ceil(SMALLEST_TILE / images.shape[-1])
    tiles = to_bytes(side_by_side(images.detach().cpu())).repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    sheet = make_grid(tiles, nrow=columns or ceil(sqrt(len(tiles))), padding=2, pad_value=32)  # (3, H, W)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())
