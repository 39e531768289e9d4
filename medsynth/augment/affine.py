"""Random rotation, zoom, shift, shear and flips of training images, on the device and independent of ranks."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from medsynth.latent import Draws

FLIPS = ("none", "horizontal", "vertical", "both")


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


def affine(image: Float[Tensor, "b c h w"], matrix: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b c h w"]:
    """Show at each pixel p (from the centre, in pixels) the bilinear value of the input at matrix @ (p, 1).

    Outside the image the nearest border pixel is repeated, so nothing darker than the image appears. The grid is made
    element by element, because a batched matrix product may round differently in batches of other sizes.
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, device=image.device, dtype=image.dtype) - (width - 1) / 2
    y = torch.arange(height, device=image.device, dtype=image.dtype)[:, None] - (height - 1) / 2
    m = matrix.to(image)[:, :, :, None, None]  # (b, 2, 3, 1, 1)
    from_x = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) * (2 / width)
    from_y = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) * (2 / height)
    grid = torch.stack([from_x, from_y], -1)  # (b, h, w, 2)
    return grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


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

    def __call__(
        self, image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """The images transformed; what image i gets depends on `draws` and rows[i] alone."""
        height, width = image.shape[-2:]
        # Sines and cosines of the whole global batch, then this rank's rows: vectorised functions may round the last
        # elements of a shorter tensor differently.
        matrix = self.parameters(draws).matrix(width=width, height=height)
        return affine(image, matrix.to(rows.device, non_blocking=True)[rows])

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


def flip(
    image: Float[Tensor, "b c h w"], draws: Draws, rows: Int[Tensor, " b"], *, kind: str
) -> Float[Tensor, "b c h w"]:
    """Mirror each image with probability 1/2 along the axes that `kind` (one of FLIPS) names."""
    axes = {"none": (), "horizontal": (-1,), "vertical": (-2,), "both": (-1, -2)}[kind]
    for axis in axes:
        chosen = draws.uniform(f"flip {axis}", rows)[:, None, None, None] < 0.5
        image = torch.where(chosen, image.flip(axis), image)
    return image


def no_augment() -> None:
    """What `augment=none` builds: nothing acts on the images."""
