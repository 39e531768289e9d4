"""Dense generator and critic, as in the original GAN (Goodfellow et al. 2014, arXiv:1406.2661)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.networks import check_resolution
from medsynth.networks.critic import Critic
from medsynth.networks.minibatch_stddev import MinibatchStddev


def dense_image(
    latent_dim: int, widths: Sequence[int], shape: tuple[int, int, int], *, after: Callable[[int], list[nn.Module]]
) -> nn.Sequential:
    """Latent -> dense layers of so many units, each with what `after` makes for it -> image of `shape` in [-1, 1]."""
    hidden: list[nn.Module] = []
    for before, units in pairwise([latent_dim, *widths]):
        hidden += [nn.Linear(before, units), *after(units)]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], prod(shape)), nn.Tanh(), nn.Unflatten(1, shape))


class DenseGenerator(nn.Module):
    """Latent -> dense layers, each with LeakyReLU and batch norm -> image in [-1, 1].

    What batch norm gives has a mean of zero over the batch until its shifts have grown. Where it comes last, as in the
    chest X-ray study, the mean of a pixel before tanh is only its bias till then, which RMSProp and Adam move by
    about one learning rate a step, and a dark background comes late: pixels are white as often as black.

    Args:
        widths: units of the hidden layers.
        leak: slope of LeakyReLU below zero.
        norm_momentum, norm_eps: of batch norm in torch's convention; Keras' momentum 0.8 is 0.2 here.
        norm_first: batch norm before LeakyReLU (Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2), not after it.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        latent_dim: int = 100,
        widths: Sequence[int] = (256, 512, 1024),
        leak: float = 0.3,
        norm_momentum: float = 0.2,
        norm_eps: float = 1e-3,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        check_resolution(resolution)

        def after(units: int) -> list[nn.Module]:
            norm = nn.BatchNorm1d(units, eps=norm_eps, momentum=norm_momentum)
            activation = nn.LeakyReLU(leak, inplace=True)
            return [norm, activation] if norm_first else [activation, norm]

        self.layers = dense_image(latent_dim, widths, (channels, resolution, resolution), after=after)

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        return self.layers(latent)


class DenseCritic(Critic):
    """Image -> dense layers with LeakyReLU -> one logit.

    Args:
        resolution: side of the image; any, so that it also judges the coarsest level of a Laplacian pyramid.
        widths: units of the hidden layers.
        leak: slope of LeakyReLU below zero.
        dropout: share of hidden units that training leaves out.
        minibatch_stddev: let the last layer see how much the images of a batch differ.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int = 1,
        widths: Sequence[int] = (512, 256),
        leak: float = 0.2,
        dropout: float = 0.0,
        minibatch_stddev: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, units in pairwise([channels * resolution**2, *widths]):
            layers += [nn.Linear(before, units), nn.LeakyReLU(leak, inplace=True)]
            layers += [nn.Dropout(dropout)] if dropout else []
        if minibatch_stddev:
            layers += [nn.Unflatten(1, (widths[-1], 1, 1)), MinibatchStddev(), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.feature_count = widths[-1] + minibatch_stddev
        self.head = nn.Linear(self.feature_count, 1)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.layers(image)
