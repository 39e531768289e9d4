"""A threshold that a known share of new real values falls under: where a score of real images becomes unusual."""

from dataclasses import dataclass
from math import floor

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Tail:
    """The low end of real values.

    threshold: values at or below it count as unusual.
    expected: the share of new values, exchangeable with those it was taken from, that fall there.
    """

    threshold: float
    expected: float

    def share(self, values: Float[Tensor, " n"]) -> float:
        """How much of `values` is at or below the threshold, 0 to 1; n >= 1."""
        return self.holds(values).double().mean().item()

    def holds(self, values: Float[Tensor, " n"]) -> Tensor:
        """Which values are at or below the threshold, bool (n,)."""
        return values.double() <= self.threshold


def low_tail(values: Float[Tensor, " m"], share: float) -> Tail:
    """The k-th smallest of m values, k = floor(share (m + 1)) but at least 1: a new one falls there k / (m + 1) often.

    That share is exact whatever the distribution, when the new value and the old ones could change places (Vovk,
    Gammerman and Shafer 2005, section 2.2); slices of one patient could not quite, so it holds for means over many
    patients. With fewer than 1 / share - 1 values `expected` is larger than `share`. m >= 1, 0 < share < 1.
    """
    assert len(values)
    assert 0 < share < 1
    k = max(1, floor(share * (len(values) + 1)))
    return Tail(torch.sort(values.double()).values[k - 1].item(), k / (len(values) + 1))
