"""How far the sliced Wasserstein distance of a pyramid level moves with other patients."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from medsynth.latent import generator
from medsynth.metrics.bootstrap import Resample, mean_deviations
from medsynth.metrics.sliced_wasserstein import UNIT, normalise

DIRECTIONS = 64  # of the 512 that the distance itself takes: its spread over patients needs fewer


def sliced_deviations(
    first: Float[Tensor, "n c p"], second: Float[Tensor, "m c p"], drawn_first: Resample, drawn_second: Resample
) -> Float[Tensor, " rounds"]:
    """How far one level's `pyramid_distance` moves, in thousandths, as `medsynth.metrics.bootstrap.interval` takes it.

    To first order in how often each image is drawn, as in `medsynth.metrics.frechet`: an image moves the distance along
    a direction by the mean of the Kantorovich potential over its patches, whose slope is 1 where the values of its set
    lie above the other's and -1 where below (Santambrogio 2015, section 7.2). That the means and deviations by which
    patches are normalised move too is taken into account. Between sets that hardly differ the spread comes out up to
    twice too large.

    Args:
        first, second: patches in the order of the images, equally many from each image.
    """
    sets = [
        _Projected(normalise(patches).unflatten(1, patches.shape[1:]), images=drawn.weights.shape[1])
        for patches, drawn in ((first, drawn_first), (second, drawn_second))
    ]
    stream = generator(0, "sliced bootstrap")
    directions = F.normalize(torch.randn(DIRECTIONS, first[0].numel(), generator=stream), dim=1)
    for direction in directions.unflatten(1, first.shape[1:]):
        parts = [one.parts(direction) for one in sets]
        potentials, slopes = _potential(*(part.sum(dim=1) for part in parts))
        for one, part, potential, slope in zip(sets, parts, potentials, slopes, strict=True):
            one.add(direction, part, potential, slope)
    x, y = (UNIT * one.moved / DIRECTIONS for one in sets)
    return mean_deviations(x, drawn_first) + mean_deviations(y, drawn_second)


class _Projected:
    """Normalised patches (n, c, p) of a set, and how much each image moves the distance."""

    def __init__(self, patches: Tensor, *, images: int) -> None:
        self.patches = patches
        each = patches.unflatten(0, (images, -1)).double()  # (images, each, c, p)
        self.shift, self.widening = each.mean(dim=(1, 3)), (each.square().mean(dim=(1, 3)) - 1) / 2  # (images, c)
        self.moved = torch.zeros(images, dtype=torch.float64)

    def parts(self, direction: Tensor) -> Tensor:
        """The projection on a direction (c, p), channel by channel (n, c)."""
        return torch.einsum("ncp,cp->nc", self.patches, direction)

    def add(self, direction: Tensor, parts: Tensor, potential: Tensor, slope: Tensor) -> None:
        """Add one direction: the potential of an image's patches, less what its own mean and deviation take back."""
        by_shift = slope.mean() * direction.sum(dim=1).double()  # (c,)
        by_widening = slope @ parts.double() / len(parts)
        self.moved += potential.view(len(self.moved), -1).mean(dim=1)
        self.moved -= self.shift @ by_shift + self.widening @ by_widening


def _potential(x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The potential at each value of both sets, and its slope there: for x the sign of G - F, for y of F - G, where F
    and G are the distribution functions of x and y."""
    values, order = torch.cat((x, y)).sort()
    share = torch.where(order < len(x), -1 / len(x), 1 / len(y)).double().cumsum(dim=0)
    slope = torch.where(share.abs() < 1e-9, 0.0, share.sign())
    potential = F.pad((slope[:-1] * values.diff()).cumsum(dim=0), (1, 0))
    at = [torch.empty_like(found).scatter_(0, order, found) for found in (potential, slope)]
    return (at[0][: len(x)], -at[0][len(x) :]), (at[1][: len(x)], -at[1][len(x) :])
