"""Minibatch standard deviation: a channel that tells a critic how much the images of a batch differ."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.errors import UserError

EPSILON = 1e-8  # variance below which the root is flat; no normalisation, so it only keeps the gradient finite


class MinibatchStddev(nn.Module):
    """Append one channel: the deviation of each feature at each place over a group of samples, averaged over features
    and places (section 3 of Karras et al. 2018, ProGAN, arXiv:1710.10196).

    The paper takes the whole batch as the group; groups make it independent of the batch size. It ties the samples of
    a group together, so with a gradient penalty the penalty is no longer a sample's own; the paper trains so.

    Args:
        group: samples of a group. A batch that it does not divide is cut into groups of the largest divisor of the
            batch that is no larger; sample i stands with i + b / group, i + 2 b / group, …
    """

    def __init__(self, *, group: int = 4) -> None:
        super().__init__()
        if not isinstance(group, int) or group < 1:
            raise UserError(f"group={group} of a minibatch standard deviation must be a whole number of at least 1")
        self.group = group

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c+1 h w"]:
        batch, _, height, width = features.shape
        size = largest_divisor(batch, self.group)
        grouped = features.float().unflatten(0, (size, batch // size))  # (size, groups, c, h, w)
        deviation = (grouped.var(0, correction=0) + EPSILON).sqrt().mean((1, 2, 3))  # (groups,)
        plane = deviation.repeat(size).to(features.dtype)[:, None, None, None]  # (b, 1, 1, 1)
        return torch.cat([features, plane.expand(-1, 1, height, width)], 1)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)
