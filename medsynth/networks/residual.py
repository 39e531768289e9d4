"""The residual generator and critic of spectrally normalised GANs (Miyato et al. 2018, arXiv:1802.05957, appendix B.4),
at any power of two."""

from collections.abc import Iterable
from itertools import pairwise
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalise_spectrally

from medsynth.errors import UserError
from medsynth.networks.conditioning import AttributeEmbedding, Covariates, Label, conditions
from medsynth.networks.convolutional import START, initialise, normalisation, stage_widths
from medsynth.networks.critic import Critic
from medsynth.networks.minibatch_stddev import MinibatchStddev

INITS = ("he", "dcgan", "fixup")


class AttributeNorm(nn.Module):
    """A norm, and where there are attributes a scale and a shift of each channel by label and covariates.

    With norm=batch it is the conditional batch norm of Miyato and Koyama 2018 (arXiv:1802.05637), but that classes
    share one scale and shift, from which theirs start N(0, 0.02) away, not at the same values: so a label counts from
    the first step.
    """

    def __init__(self, kind: str, channels: int, *, classes: int = 0, covariates: int = 0) -> None:
        super().__init__()
        self.norm = normalisation(kind, channels)
        self.scale = self.shift = None
        if classes or covariates:
            self.scale = AttributeEmbedding(classes=classes, covariates=covariates, dim=channels)
            self.shift = AttributeEmbedding(classes=classes, covariates=covariates, dim=channels)
            for embedding in (self.scale, self.shift):
                embedding.draw(lambda weight: nn.init.normal_(weight, 0.0, 0.02))

    def forward(
        self, features: Float[Tensor, "b c h w"], label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b c h w"]:
        normed = self.norm(features)
        if self.scale is None or self.shift is None:
            return normed
        scale, shift = (
            embedding(label, covariates).to(normed.dtype)[:, :, None, None]  # (b, c, 1, 1)
            for embedding in (self.scale, self.shift)
        )
        return normed * (1 + scale) + shift


class GeneratorBlock(nn.Module):
    """Doubles the side: norm, activation, interpolation (nearest), convolution, norm, activation, convolution; added to
    an interpolated 1x1 convolution."""

    def __init__(
        self, before: int, after: int, *, norm: str, leak: float, classes: int = 0, covariates: int = 0
    ) -> None:
        super().__init__()
        self.norm_first = AttributeNorm(norm, before, classes=classes, covariates=covariates)
        self.norm_last = AttributeNorm(norm, after, classes=classes, covariates=covariates)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.last = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.activation = nn.LeakyReLU(leak)

    def forward(
        self, features: Float[Tensor, "b c h w"], label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b d 2*h 2*w"]:
        hidden = self.enlarge(self.activation(self.norm_first(features, label, covariates)))
        hidden = self.activation(self.norm_last(self.first(hidden), label, covariates))
        return self.last(hidden) + self.enlarge(self.shortcut(features))


class CriticBlock(nn.Module):
    """Norm, activation, convolution, twice, and a mean over 2x2 pixels; added to the same of a 1x1 convolution.

    Args:
        entry: whether it begins with norm and activation; the first block, which sees the image, does not.
        halve: whether it halves the side.
    """

    def __init__(
        self, before: int, after: int, *, norm: str, leak: float, entry: bool = True, halve: bool = True
    ) -> None:
        super().__init__()
        enter = [normalisation(norm, before), nn.LeakyReLU(leak)] if entry else []
        self.enter = nn.Sequential(*enter)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.between = nn.Sequential(normalisation(norm, after), nn.LeakyReLU(leak))
        self.last = nn.Conv2d(after, after, 3, padding=1)
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        self.shortcut = nn.Conv2d(before, after, 1) if halve or before != after else nn.Identity()

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d hh ww"]:
        hidden = self.last(self.between(self.first(self.enter(features))))
        return self.pool(hidden) + self.shortcut(self.pool(features))  # a mean and a 1x1 convolution commute


class ResidualGenerator(nn.Module):
    """Latent -> 4x4 -> residual blocks that double the side -> image in [-1, 1].

    Args:
        resolution: side of the image, a power of two.
        channels: of the image.
        latent_dim: length of the latent.
        width: channels of the last block; doubled at each smaller one up to `max_width`.
        norm: batch (the paper), instance, group or none.
        leak: slope below zero of the activations; 0 is the paper's ReLU.
        classes, covariates: how many the norms are conditioned on, see AttributeNorm; 0 for an unconditional generator.
        init: he (the authors' where widths are equal, but for normal draws), dcgan or fixup, see `draw`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 128,
        width: int = 64,
        max_width: int = 1024,
        norm: str = "batch",
        leak: float = 0.0,
        classes: int = 0,
        covariates: int = 0,
        init: str = "he",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)
        self.needs = conditions(classes=classes, covariates=covariates)
        self.start = nn.Sequential(
            nn.Linear(latent_dim, widths[0] * START**2), nn.Unflatten(1, (widths[0], START, START))
        )
        self.blocks = nn.ModuleList(
            GeneratorBlock(before, after, norm=norm, leak=leak, classes=classes, covariates=covariates)
            for before, after in pairwise([widths[0], *widths])
        )
        self.to_image = nn.Sequential(
            normalisation(norm, widths[-1]),
            nn.LeakyReLU(leak),
            nn.Conv2d(widths[-1], channels, 3, padding=1),
            nn.Tanh(),
        )
        draw(self, init, leak=leak, linear=[self.start[0]])

    def forward(
        self, latent: Float[Tensor, "b d"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b c h w"]:
        hidden = self.start(latent)
        for block in self.blocks:
            hidden = block(hidden, label, covariates)
        return self.to_image(hidden)


class ResidualCritic(Critic):
    """Image -> residual blocks that halve the side -> one more block at 4x4 -> sum over places -> one logit.

    Args:
        width: channels of the first block; doubled at each smaller one up to `max_width`.
        norm: none (the paper), batch, instance or group.
        spectral_norm: divide every weight by its largest singular value, which one step of the power method follows
            at each forward pass of training (Algorithm 1). The network is then Lipschitz, its head included.
        leak: slope below zero of the activations; 0 is the paper's ReLU.
        minibatch_stddev: let the last block see how much the images of a batch differ.
        init: he (the authors' where widths are equal, but for normal draws), dcgan or, without spectral norm, fixup;
            see `draw`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        width: int = 64,
        max_width: int = 1024,
        norm: str = "none",
        spectral_norm: bool = True,
        leak: float = 0.0,
        minibatch_stddev: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        if spectral_norm and init == "fixup":
            raise UserError(
                "init=fixup starts from weights of 0, which have no spectral norm to divide by; "
                "choose init=he, or spectral_norm=false"
            )
        widths = stage_widths(resolution, width=width, max_width=max_width)[::-1]
        blocks: list[nn.Module] = [
            CriticBlock(before, after, norm=norm, leak=leak, entry=number > 0)
            for number, (before, after) in enumerate(pairwise([channels, *widths]))
        ]
        blocks += [MinibatchStddev()] if minibatch_stddev else []
        blocks += [CriticBlock(widths[-1] + minibatch_stddev, widths[-1], norm=norm, leak=leak, halve=False)]
        self.blocks = nn.Sequential(*blocks)
        self.activation = nn.LeakyReLU(leak)
        self.feature_count = widths[-1]
        self.head = nn.Linear(self.feature_count, 1)
        draw(self, init, leak=leak, linear=[])
        if init != "dcgan":
            with torch.no_grad():  # a feature is a sum of so many places
                self.head.weight /= START
        if spectral_norm:
            # After the draw: a normalised weight is computed, so drawing it would be lost.
            for layer in [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]:
                normalise_spectrally(layer)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.activation(self.blocks(image)).sum(dim=(2, 3))


def draw(network: nn.Module, scheme: str, *, leak: float, linear: Iterable[nn.Module]) -> None:
    """Draw the weights of a residual network.

    `dcgan`: see `initialise`. `he`: the same, but variance 1 / fan_in for shortcuts and `linear`, layers that no
    activation precedes. `fixup`: `he`, then each block's last convolution is 0 and the first is divided by the root of
    the number of blocks, L^(-1 / (2 m - 2)) for branches of m = 2 layers, which keeps updates in bounds without norms
    (Zhang et al. 2019, arXiv:1901.09321, section 3, as R3GAN, arXiv:2501.05441, adopts it). Its scalar biases and
    multipliers are left out, and the head is not 0, or the generator's first gradient were.
    """
    if scheme not in INITS:
        raise UserError(f"init={scheme} is unknown; choices: {', '.join(INITS)}")
    initialise(network, "dcgan" if scheme == "dcgan" else "he", leak=leak)
    if scheme == "dcgan":
        return
    blocks = [block for block in network.modules() if isinstance(block, GeneratorBlock | CriticBlock)]
    straight = [*linear, *(block.shortcut for block in blocks), *(b.first for b in blocks if _sees_image(b))]
    with torch.no_grad():
        for layer in straight:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight *= sqrt((1 + leak**2) / 2)
        if scheme == "fixup":
            for block in blocks:
                block.first.weight /= sqrt(len(blocks))
                block.last.weight.zero_()


def _sees_image(block: nn.Module) -> bool:
    return isinstance(block, CriticBlock) and not len(block.enter)
