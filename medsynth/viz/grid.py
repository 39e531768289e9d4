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


def beside_masks(images: Float[Tensor, "b c h w"], masks: int) -> Float[Tensor, "b d h cw"]:
    """The last `masks` channels, which are masks in [-1, 1], to the right of the picture of the others.

    They are shown as they are and not binarised, so that one sees how sure a model is of them.
    """
    if not masks:
        return side_by_side(images)
    picture, shown = side_by_side(images[:, :-masks]), images[:, -masks:]
    panels = [panel.expand(-1, picture.shape[1], -1, -1) for panel in shown.split(1, dim=1)]
    return torch.cat([picture, *panels], dim=-1)


def grid(images: Float[Tensor, "b c h w"], *, columns: int | None = None, masks: int = 0) -> Image.Image:
    """One picture of all images, row by row, as square as it goes; masks: how many of the last channels are masks."""
    factor = ceil(SMALLEST_TILE / images.shape[-1])
    tiles = to_bytes(beside_masks(images.detach().cpu(), masks))
    tiles = tiles.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    sheet = make_grid(tiles, nrow=columns or ceil(sqrt(len(tiles))), padding=2, pad_value=32)  # (3, H, W)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())
