"""The network behind `encoder`: a small residual one whose features come from every depth."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SIZE = 64
WIDTHS = (16, 32, 64, 32)
LAYOUT = 2  # the last stage keeps its means in 2 x 2 quarters of the image, so that where things lie counts too
DEEP = LAYOUT**2 * WIDTHS[-1]
DIMENSION = sum(WIDTHS[:-1]) + DEEP


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (Fig. 2 of He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o p q"]:
        y = self.first_norm(self.first(x)).relu()
        return (self.second_norm(self.second(y)) + self.shortcut(x)).relu()


class EncoderNetwork(nn.Module):
    """Images (b, c, 64, 64) -> four maps of 32, 16, 8 and 4 pixels a side, their means, and class logits.

    Features are standardised: over the training images each has mean 0 and deviation 1, so that none outweighs the
    others in a Fréchet distance. Early stages answer to texture, late ones to anatomy.

    Args:
        channels: of the images.
        classes: how many the linear classifier tells apart; 0 for none.
    """

    mean: Tensor
    deviation: Tensor
    class_weight: Tensor
    class_bias: Tensor

    def __init__(self, channels: int, *, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, WIDTHS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            Block(inputs, outputs, stride=1 if place == 0 else 2)
            for place, (inputs, outputs) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False))
        )
        self.register_buffer("mean", torch.zeros(DIMENSION))
        self.register_buffer("deviation", torch.ones(DIMENSION))
        self.register_buffer("class_weight", torch.zeros(classes, DIMENSION))
        self.register_buffer("class_bias", torch.zeros(classes))

    def maps(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _o _p _q"]]:
        """The output of each stage, finest first."""
        x = self.stem(images)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Standardised features (b, 240)."""
        maps = self.maps(images)
        pooled = [found.mean(dim=(2, 3)) for found in maps[:-1]]
        return (torch.cat([*pooled, deep(maps)], dim=1) - self.mean) / self.deviation

    def logits(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Class logits of standardised features."""
        return F.linear(features, self.class_weight, self.class_bias)


def deep(maps: list[Tensor]) -> Float[Tensor, "b d"]:
    """The last stage's means in each quarter of the image, (b, 128): what training acts on."""
    return F.adaptive_avg_pool2d(maps[-1], LAYOUT).flatten(1)
