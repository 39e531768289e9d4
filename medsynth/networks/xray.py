"""The convolutional networks of the chest X-ray study: a generator that interpolates and convolves, and a critic of
strided 3x3 convolutions with dropout. Keras' batch norm momentum 0.8 is 0.2 in torch's convention."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.errors import UserError
from medsynth.networks import check_resolution
from medsynth.networks.convolutional import START, doubling, initialise, normalisation, stage_widths
from medsynth.networks.critic import Critic
from medsynth.networks.minibatch_stddev import MinibatchStddev


class UpsamplingGenerator(nn.Module):
    """Latent -> dense layer -> 4x4 -> nearest upsampling and a 3x3 convolution, until the side is reached -> image in
    [-1, 1].

    The study adds and removes blocks with the image's size. It says that their channels increase, and not from what
    to what; here they decrease towards the image as in the paper that it follows (Radford et al. 2016,
    arXiv:1511.06434), because wide layers at full size cost most and learn least.

    Args:
        resolution: side of the image, a power of two.
        channels: of the image.
        latent_dim: length of the latent.
        width: channels of the last hidden feature map; doubled at each smaller one up to `max_width`.
        norm_momentum, norm_eps: of batch norm in torch's convention.
        init: dcgan or he, see `initialise`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 100,
        width: int = 64,
        max_width: int = 512,
        norm_momentum: float = 0.2,
        norm_eps: float = 1e-3,
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width=width, max_width=max_width)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * START**2),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (widths[0], START, START)),
        ]
        for before, after in pairwise(widths):
            layers += [
                doubling("nearest", before, after, bias=False),
                nn.BatchNorm2d(after, eps=norm_eps, momentum=norm_momentum),
                nn.ReLU(inplace=True),
            ]
        layers += [doubling("nearest", widths[-1], channels, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise(self, init)

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        return self.layers(latent)


class DropoutCritic(Critic):
    """Image -> 3x3 convolutions of stride 2, each with LeakyReLU and dropout and all but the first with a norm -> one
    logit. Their number is the study's at every size, so the last layer sees side / 2^layers squared places.

    Args:
        widths: channels of the convolutions.
        norm: batch; none where a gradient penalty acts on single samples; instance or group.
        norm_momentum, norm_eps: of batch norm in torch's convention.
        leak: slope of LeakyReLU below zero.
        dropout: share of a feature map's values that training leaves out.
        minibatch_stddev: let the last layer see how much the images of a batch differ.
        init: dcgan or he, see `initialise`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        norm: str = "batch",
        norm_momentum: float = 0.2,
        norm_eps: float = 1e-3,
        leak: float = 0.2,
        dropout: float = 0.25,
        minibatch_stddev: bool = False,
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        power = check_resolution(resolution)
        if not widths:
            raise UserError("widths=[] of a critic must name the channels of at least one convolution, as in [16, 32]")
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            bare = not layers or norm == "none"
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=bare)]
            if norm == "batch" and not bare:
                layers += [nn.BatchNorm2d(after, eps=norm_eps, momentum=norm_momentum)]
            elif not bare:
                layers += [normalisation(norm, after)]
            layers += [nn.LeakyReLU(leak, inplace=True), nn.Dropout(dropout)]
        layers += [MinibatchStddev()] if minibatch_stddev else []
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.feature_count = (widths[-1] + minibatch_stddev) * 4 ** max(0, power - len(widths))
        self.head = nn.Linear(self.feature_count, 1)
        initialise(self, init, leak=leak)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.layers(image)
