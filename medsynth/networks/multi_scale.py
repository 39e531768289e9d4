"""The generator and critic of MSG-GAN, which meet at every scale from 4x4 up (Karnewar and Wang 2020,
arXiv:1903.06048)."""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, linear

from medsynth.networks.convolutional import stage_widths
from medsynth.networks.critic import Critic
from medsynth.networks.minibatch_stddev import MinibatchStddev

START = 4  # side of the coarsest image
LEAK = 0.2
HE = sqrt(2.0)  # gain of a layer that a rectifier follows

Image = Float[Tensor, "b c _ _"]  # of any side
Scales = tuple[Image, ...]  # the same images at 4x4, 8x8, … resolution: coarse to fine


def scales(image: Image) -> Scales:
    """The image at 4x4, 8x8, … and its own side, each pixel the mean of 2x2 of the next scale; differentiable."""
    found = [image]
    while found[-1].shape[-1] > START:
        found.append(avg_pool2d(found[-1], 2))
    return tuple(reversed(found))


def pixel_norm(features: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
    """Divide by the root mean square over channels, at each place (section 4.2, Karras et al. 2018,
    arXiv:1710.10196)."""
    features = features.float()
    return features * (features.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class PixelNorm(nn.Module):
    """`pixel_norm` as a layer."""

    def forward(self, features: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        return pixel_norm(features)


class EqualConv2d(nn.Conv2d):
    """A convolution that keeps the side, its N(0, 1) weights scaled by He's constant at run time, so that one learning
    rate suits all layers (section 4.1, Karras et al. 2018).

    Args:
        gain: sqrt(2) before a rectifier, 1 where none follows.
    """

    def __init__(self, before: int, after: int, kernel: int, *, gain: float = HE) -> None:
        super().__init__(before, after, kernel, padding=kernel // 2)
        self.scale = gain / sqrt(before * kernel**2)
        _standard_normal(self)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return conv2d(input, self.weight * self.scale, self.bias, padding=self.padding)


class EqualLinear(nn.Linear):
    """A dense layer scaled as EqualConv2d is."""

    def __init__(self, before: int, after: int, *, gain: float = HE) -> None:
        super().__init__(before, after)
        self.scale = gain / sqrt(before)
        _standard_normal(self)

    def forward(self, input: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        return linear(input, self.weight * self.scale, self.bias)


def _standard_normal(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _normed(layer: nn.Module) -> list[nn.Module]:
    return [layer, nn.LeakyReLU(LEAK), PixelNorm()]


class MultiScaleGenerator(nn.Module):
    """Latent -> 4x4 -> blocks that double the side; a 1x1 convolution reads an image in [-1, 1] off each of them.

    ProGAN's generator without growing. The latent is divided by its root mean square, as in the paper, so only its
    direction counts and shrinking it by a psi below 1 changes nothing. Images end in tanh, as everywhere here.

    Args:
        width: channels of the feature map at `resolution`; doubled at each smaller one up to `max_width`.
    """

    normalises_latents = True  # a shorter latent gives the same image
    scales = staticmethod(scales)  # for a critic of its images, the real ones too

    def __init__(
        self, *, resolution: int, channels: int = 1, latent_dim: int = 512, width: int = 32, max_width: int = 512
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width, full=True)
        first = [EqualLinear(latent_dim, widths[0] * START**2), nn.Unflatten(1, (widths[0], START, START))]
        self.blocks = nn.ModuleList()
        for before, after in zip([None, *widths], widths, strict=False):
            start = first if before is None else [nn.Upsample(scale_factor=2), EqualConv2d(before, after, 3)]
            self.blocks.append(nn.Sequential(*_normed(nn.Sequential(*start)), *_normed(EqualConv2d(after, after, 3))))
        self.to_image = nn.ModuleList(
            nn.Sequential(EqualConv2d(after, channels, 1, gain=1.0), nn.Tanh()) for after in widths
        )

    def forward(self, latent: Float[Tensor, "b d"]) -> Image | Scales:
        """Images at all scales, coarse to fine, in training mode; in eval mode the finest alone."""
        hidden = pixel_norm(latent)
        images = []
        for block, to_image in zip(self.blocks, self.to_image, strict=True):
            hidden = block(hidden)
            if self.training:
                images.append(to_image(hidden))
        return tuple(images) if self.training else self.to_image[-1](hidden)


class MultiScaleCritic(Critic):
    """Images at all scales -> one logit: blocks that halve the side, each of which sees the images of its own scale.

    Images join the features by concatenation (phi_simple), the paper's choice for networks of ProGAN's kind.
    Every block begins with a minibatch standard deviation. Given one image, the critic makes the scales itself. R1 is
    by the finest image, through them all; the paper's averages one gradient a scale.
    """

    def __init__(self, *, resolution: int, channels: int = 1, width: int = 32, max_width: int = 512) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width, full=True)
        self.from_image = nn.Sequential(EqualConv2d(channels, widths[-1], 1), nn.LeakyReLU(LEAK))
        self.blocks = nn.ModuleList()  # fine to coarse
        for scale in reversed(range(len(widths))):
            joined = 0 if scale == len(widths) - 1 else channels  # the finest images come by from_image
            layers = [MinibatchStddev(), EqualConv2d(widths[scale] + joined + 1, widths[scale], 3), nn.LeakyReLU(LEAK)]
            if scale > 0:
                layers += [EqualConv2d(widths[scale], widths[scale - 1], 3), nn.LeakyReLU(LEAK), nn.AvgPool2d(2)]
            else:  # the paper's 4x4 convolution without padding
                layers += [nn.Flatten(), EqualLinear(widths[0] * START**2, widths[0]), nn.LeakyReLU(LEAK)]
            self.blocks.append(nn.Sequential(*layers))
        self.feature_count = widths[0]
        self.head = EqualLinear(widths[0], 1, gain=1.0)

    def features(self, image: Image | Scales) -> Float[Tensor, "b f"]:
        coarse_to_fine = scales(image) if isinstance(image, Tensor) else image
        if len(coarse_to_fine) != len(self.blocks):
            raise ValueError(f"images at {len(coarse_to_fine)} scales for a critic of {len(self.blocks)}")
        finest, *coarser = reversed(coarse_to_fine)
        hidden = self.blocks[0](self.from_image(finest))
        for block, here in zip(self.blocks[1:], coarser, strict=True):
            hidden = block(torch.cat([hidden, here], dim=1))
        return hidden

    def forward(self, image: Image | Scales) -> Float[Tensor, " b"]:
        return self.head(self.features(image)).squeeze(1)  # (b, 1) -> (b,)
