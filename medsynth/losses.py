"""Adversarial losses: pure functions of logits, and the pairs of them that a model takes as one argument."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from medsynth.errors import UserError

Logits = Float[Tensor, " b"]
Scalar = Float[Tensor, ""]


def wasserstein_critic(real: Logits, fake: Logits) -> Scalar:
    """E f(fake) - E f(real): minus the critic's estimate of the Wasserstein-1 distance (Eq. 2, Arjovsky et al. 2017,
    arXiv:1701.07875)."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Logits) -> Scalar:
    """-E f(fake)."""
    return -fake.mean()


def minimax_critic(real: Logits, fake: Logits, *, real_target: float = 1.0) -> Scalar:
    """-E [t log D(real) + (1 - t) log(1 - D(real))] - E log(1 - D(fake)) with D = sigmoid(logit), computed stably
    (Algorithm 1, Goodfellow et al. 2014, arXiv:1406.2661).

    real_target: t; 1 is the paper's, 0.9 one-sided label smoothing (section 3.4, Salimans et al. 2016,
    arXiv:1606.03498).
    """
    return (softplus(-real) + (1 - real_target) * real).mean() + softplus(fake).mean()


def non_saturating_generator(fake: Logits) -> Scalar:
    """-E log D(fake): the generator's loss that section 3 of Goodfellow et al. 2014 recommends."""
    return softplus(-fake).mean()


def least_squares_critic(real: Logits, fake: Logits, *, real_target: float = 1.0) -> Scalar:
    """1/2 E (D(real) - t)^2 + 1/2 E D(fake)^2 (Eq. 9, Mao et al. 2017, arXiv:1611.04076)."""
    return ((real - real_target).square().mean() + fake.square().mean()) / 2


def least_squares_generator(fake: Logits) -> Scalar:
    """1/2 E (D(fake) - 1)^2."""
    return (fake - 1).square().mean() / 2


def hinge_critic(real: Logits, fake: Logits) -> Scalar:
    """E max(0, 1 - D(real)) + E max(0, 1 + D(fake)) (Eq. 16, Miyato et al. 2018, arXiv:1802.05957)."""
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


def relativistic_critic(real: Logits, fake: Logits) -> Scalar:
    """E log(1 + exp(-(D(real) - D(fake)))), each real image paired with a fake one (Eq. 2, Huang et al. 2024,
    arXiv:2501.05441)."""
    return softplus(fake - real).mean()


def relativistic_generator(real: Logits, fake: Logits) -> Scalar:
    """The same with the sides changed."""
    return softplus(real - fake).mean()


def multi_class_hinge(logits: Float[Tensor, "b k"], target: Int[Tensor, " b"]) -> Scalar:
    """E max(0, 1 - C_t + max over k != t of C_k) (Crammer and Singer 2001), the loss of both players of Kavalerov et
    al. 2019 (arXiv:1912.04216) with targets that differ."""
    own = logits.gather(1, target[:, None])  # (b, 1)
    others = logits.scatter(1, target[:, None], float("-inf")).amax(dim=1)
    return (1 - own.squeeze(1) + others).relu().mean()


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
    """The original GAN's losses with the non-saturating generator.

    real_target: what the critic is to say of real images; below 1 is one-sided label smoothing.
    """

    real_target: float = 1.0

    def __post_init__(self) -> None:
        _check_target(self.real_target)

    def critic(self, real: Logits, fake: Logits) -> Scalar:
        return minimax_critic(real, fake, real_target=self.real_target)

    def generator(self, fake: Logits) -> Scalar:
        return non_saturating_generator(fake)


@dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """LSGAN's losses with targets 0 and 1; real_target as in NonSaturating."""

    real_target: float = 1.0

    def __post_init__(self) -> None:
        _check_target(self.real_target)

    def critic(self, real: Logits, fake: Logits) -> Scalar:
        return least_squares_critic(real, fake, real_target=self.real_target)

    def generator(self, fake: Logits) -> Scalar:
        return least_squares_generator(fake)


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """The hinge losses of spectrally normalised GANs; the generator's is linear (Eq. 17, Miyato et al. 2018)."""

    def critic(self, real: Logits, fake: Logits) -> Scalar:
        return hinge_critic(real, fake)

    def generator(self, fake: Logits) -> Scalar:
        return wasserstein_generator(fake)


def _check_target(target: float) -> None:
    if not isinstance(target, int | float) or not 0.5 < target <= 1:
        raise UserError(f"model.loss.real_target={target} must be above 0.5 and at most 1; 0.9 smooths labels")
