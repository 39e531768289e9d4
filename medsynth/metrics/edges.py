"""Edges of images, by Sobel's filter and by Canny's detector: whether organs have the outlines that they should."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

DEVIATION = 1.0  # of the Gaussian before Canny's gradient, pixels
LOW, HIGH = 0.1, 0.2  # of the grey range a pixel: weaker edges are none, stronger ones always are


def sobel(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """The steepness of each pixel of the channels' mean, 0 to 1: the root mean square of both gradients.

    Sobel's kernels (Sobel and Feldman 1968) over 4, images as shares of the grey range, borders repeated. A full step
    from black to white has 0.71.
    """
    y, x = _gradients(_grey(images))
    return ((x.square() + y.square()) / 2).sqrt()


def canny(
    images: Float[Tensor, "b c h w"], *, deviation: float = DEVIATION, low: float = LOW, high: float = HIGH
) -> Bool[Tensor, "b 1 h w"]:
    """Edges one pixel wide (Canny 1986): smooth, keep where the gradient peaks across the edge, join weak to strong.

    Args:
        deviation: of the Gaussian, pixels.
        low, high: Sobel gradients, as shares of the grey range a pixel: an edge has one point above `high` and
            all above `low`, over neighbours on any of eight sides.
    """
    grey = _grey(images).double()
    smooth = ndimage.gaussian_filter(grey.numpy(), sigma=(0, 0, deviation, deviation), mode="nearest")
    y, x = _gradients(torch.from_numpy(smooth))
    size = (x.square() + y.square()).sqrt()
    peak = _is_peak(size, y, x)
    weak, strong = peak & (size >= low), peak & (size >= high)
    for side in (weak, strong):  # beyond the border nothing is known, so no edge lies on it
        side[..., [0, -1], :] = False
        side[..., [0, -1]] = False
    joined = [_joined(w.numpy(), s.numpy()) for w, s in zip(weak[:, 0], strong[:, 0], strict=True)]
    return torch.from_numpy(np.stack(joined))[:, None]


def _grey(images: Tensor) -> Float[Tensor, "b 1 h w"]:
    return (images.detach().cpu().float().clamp(-1, 1).mean(dim=1, keepdim=True) + 1) / 2


def _gradients(grey: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
    """Down and to the right, in grey range a pixel."""
    kernel = torch.tensor([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]], dtype=grey.dtype) / 4
    found = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])
    return found[:, :1], found[:, 1:]


def _is_peak(size: Tensor, y: Tensor, x: Tensor) -> Bool[Tensor, "b 1 h w"]:
    """Is the gradient at least as large as its neighbours' one pixel uphill and downhill, interpolated between two?"""
    padded = F.pad(size, (1, 1, 1, 1))
    h, w = size.shape[-2:]

    def at(down: Tensor, right: Tensor) -> Tensor:
        """The size at a neighbour, whose steps of -1, 0 or 1 differ from pixel to pixel."""
        rows = torch.arange(h)[:, None] + 1 + down
        columns = torch.arange(w) + 1 + right
        return padded.flatten(2).gather(2, (rows * (w + 2) + columns).flatten(2)).unflatten(2, (h, w))

    down, right = y.sign().long(), x.sign().long()
    is_steep = y.abs() >= x.abs()  # the neighbour straight ahead lies up or down, otherwise left or right
    part = torch.minimum(y.abs(), x.abs()) / torch.maximum(y.abs(), x.abs()).clamp(min=1e-12)
    straight_down, straight_right = torch.where(is_steep, down, 0), torch.where(is_steep, 0, right)
    ahead = (1 - part) * at(straight_down, straight_right) + part * at(down, right)
    behind = (1 - part) * at(-straight_down, -straight_right) + part * at(-down, -right)
    return (size >= ahead) & (size >= behind) & (size > 0)


def _joined(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    names = np.empty(weak.shape, dtype=np.int32)
    ndimage.label(weak, structure=np.ones((3, 3)), output=names)
    kept = np.unique(names[strong])
    return np.isin(names, kept[kept > 0])
