"""Random rotation, zoom, shift, shear and flips of training images and all that is shown with them, on the device and
independent of ranks."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn.functional import grid_sample

from medsynth.latent import Draws

Views = dict[str, Tensor]
"""What there is of each sample, of one height and width: "image" (b, c, h, w) in [-1, 1], and perhaps "condition"
(b, d, h, w) in [-1, 1] and "mask" (b, 1, h, w), integer labels below 2^24."""


@dataclass(frozen=True)
class AffineParameters:
    """One transform per image. Its matrix takes a point of the result, from the image's centre, to the point of the
    input that is shown there, so that zoom < 1 enlarges.

    rotation, shear: degrees, counted from the x axis to the y axis (down).  zoom_x, zoom_y: factors.
    shift_x, shift_y: fractions of width and height.
    """

    rotation: Float[Tensor, " b"]
    zoom_x: Float[Tensor, " b"]
    zoom_y: Float[Tensor, " b"]
    shift_x: Float[Tensor, " b"]
    shift_y: Float[Tensor, " b"]
    shear: Float[Tensor, " b"]

    def matrix(self, *, width: int, height: int) -> Float[Tensor, "b 2 3"]:
        """Rotation @ shift @ shear @ zoom in pixels, the order of Keras' ImageDataGenerator.

        Shear is [[1, -sin s], [0, cos s]], as Keras means its degrees.
        """
        angle, shear = self.rotation * (math.pi / 180), self.shear * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        across, down = -shear.sin(), shear.cos()
        x, y = self.shift_x * width, self.shift_y * height
        first = [cos * self.zoom_x, (cos * across - sin * down) * self.zoom_y, cos * x - sin * y]
        second = [sin * self.zoom_x, (sin * across + cos * down) * self.zoom_y, sin * x + cos * y]
        return torch.stack([torch.stack(first, -1), torch.stack(second, -1)], -2)  # (b, 2, 3)


def affine(view: Num[Tensor, "b c h w"], matrix: Float[Tensor, "b 2 3"]) -> Num[Tensor, "b c h w"]:
    """Show at each pixel p (from the centre, in pixels) what the input shows at matrix @ (p, 1).

    Floats are interpolated bilinearly; of integers, which are labels, the nearest is taken. Outside the view its border
    pixels are repeated, so nothing darker than the image, and no label that is not there, appears.
    """
    return _sampled(view, sampling_grid(matrix, width=view.shape[-1], height=view.shape[-2]))


def sampling_grid(matrix: Float[Tensor, "b 2 3"], *, width: int, height: int) -> Float[Tensor, "b h w 2"]:
    """Where each pixel of the result looks, in grid_sample's units.

    Made element by element, because a batched matrix product may round differently in batches of other sizes; scaled
    before the rows and columns meet, so that few operations see every pixel; and with all x before all y in memory,
    where sums and grid_sample run along rows. Together that halves the time of a batch on a CPU.
    """
    x = torch.arange(width, device=matrix.device, dtype=matrix.dtype) - (width - 1) / 2
    y = torch.arange(height, device=matrix.device, dtype=matrix.dtype)[:, None] - (height - 1) / 2
    m = matrix[:, :, :, None, None]  # (b, 2, 3, 1, 1)
    grid = matrix.new_empty(2, len(matrix), height, width)
    for axis, side in enumerate((width, height)):
        across, down, shift = (m[:, axis, k] * (2 / side) for k in range(3))
        torch.add(across * x, down * y, out=grid[axis]).add_(shift)
    return grid.permute(1, 2, 3, 0)


def _sampled(view: Num[Tensor, "b c h w"], grid: Float[Tensor, "b h w 2"]) -> Num[Tensor, "b c h w"]:
    if view.is_floating_point():
        return grid_sample(view, grid.to(view), mode="bilinear", padding_mode="border", align_corners=False)
    labels = grid_sample(view.to(grid.dtype), grid, mode="nearest", padding_mode="border", align_corners=False)
    return labels.to(view.dtype)


@dataclass(frozen=True)
class Affine:
    """Draws an affine transform for each image of a batch.

    rotation: largest angle either way, degrees.  zoom: factors are drawn from [1 - zoom, 1 + zoom] for each axis.
    shift: largest shift either way, fraction of width and of height.  shear: largest angle either way, degrees.
    """

    rotation: float
    zoom: float
    shift: float
    shear: float

    def __call__(self, views: Views, draws: Draws, rows: Int[Tensor, " b"]) -> Views:
        """The views, those of a sample transformed alike; what sample i gets depends on `draws` and rows[i] alone."""
        height, width = views["image"].shape[-2:]
        # Sines and cosines of the whole global batch, then this rank's rows: vectorised functions may round the last
        # elements of a shorter tensor differently.
        matrix = self.parameters(draws).matrix(width=width, height=height)
        grid = sampling_grid(matrix.to(rows.device, non_blocking=True)[rows], width=width, height=height)
        return {name: _sampled(view, grid) for name, view in views.items()}

    def parameters(self, draws: Draws) -> AffineParameters:
        """Uniform parameters for every image of the global batch, on the CPU."""
        unit = draws.uniform("affine", torch.arange(draws.batch_size), 6) * 2 - 1  # (batch_size, 6) in [-1, 1)
        return AffineParameters(
            rotation=unit[:, 0] * self.rotation,
            zoom_x=1 + unit[:, 1] * self.zoom,
            zoom_y=1 + unit[:, 2] * self.zoom,
            shift_x=unit[:, 3] * self.shift,
            shift_y=unit[:, 4] * self.shift,
            shear=unit[:, 5] * self.shear,
        )


def flip(views: Views, draws: Draws, rows: Int[Tensor, " b"], *, kind: str) -> Views:
    """Mirror each sample, all views of it, with probability 1/2 along the axes that `kind` (one of FLIPS) names."""
    for axis in {"none": (), "horizontal": (-1,), "vertical": (-2,), "both": (-1, -2)}[kind]:
        chosen = draws.uniform(f"flip {axis}", rows)[:, None, None, None] < 0.5
        views = {name: torch.where(chosen, view.flip(axis), view) for name, view in views.items()}
    return views


def no_augment() -> None:
    """What `augment=none` builds: nothing acts on the images."""
