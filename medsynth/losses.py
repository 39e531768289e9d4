"""Adversarial losses: pure functions of logits, and the pairs of them that a model takes as one argument."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

Logits = Float[Tensor, " b"]
Scalar = Float[Tensor, ""]


def wasserstein_critic(real: Logits, fake: Logits) -> Scalar:
    """E f(fake) - E f(real): minus the critic's estimate of the Wasserstein-1 distance (Eq. 2, Arjovsky et al. 2017,
    arXiv:1701.07875)."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Logits) -> Scalar:
    """-E f(fake)."""
    return -fake.mean()


def minimax_critic(real: Logits, fake: Logits) -> Scalar:
    """-E log D(real) - E log(1 - D(fake)) with D = sigmoid(logit), computed stably (Algorithm 1, Goodfellow et al.
    2014, arXiv:1406.2661)."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_generator(fake: Logits) -> Scalar:
    """-E log D(fake): the generator's loss that section 3 of Goodfellow et al. 2014 recommends."""
    return softplus(-fake).mean()


class AdversarialLoss(ABC):
    """What the critic and the generator minimise, given the critic's logits."""

    @abstractmethod
    def critic(self, real: Logits, fake: Logits) -> Scalar:
        """The critic's loss."""

    @abstractmethod
    def generator(self, fake: Logits) -> Scalar:
        """The generator's loss."""


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """The original GAN's losses with the non-saturating generator."""

    def critic(self, real: Logits, fake: Logits) -> Scalar:
        return minimax_critic(real, fake)

    def generator(self, fake: Logits) -> Scalar:
        return non_saturating_generator(fake)
