"""How far a reconstruction lies from its image and a Gaussian code from its prior: pure functions, one number a sample
where not said otherwise, all computed in float32."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def absolute_error(image: Float[Tensor, "b ..."], reconstruction: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Mean of |x - y| over pixels and channels (Eq. 1, Berthelot et al. 2017, arXiv:1703.10717, with eta = 1)."""
    return (image.float() - reconstruction.float()).abs().flatten(1).mean(dim=1)


def root_mean_square_error(
    image: Float[Tensor, "b ..."], reconstruction: Float[Tensor, "b ..."]
) -> Float[Tensor, " b"]:
    """|x - y| / sqrt(n) for n pixels and channels: the energy of Zhao et al. 2017 (arXiv:1609.03126, section 2.3), made
    independent of the resolution. Its gradient is 0 where both are equal."""
    apart = (image.float() - reconstruction.float()).flatten(1)
    return torch.linalg.vector_norm(apart, dim=1) / apart.shape[1] ** 0.5


def gaussian_error(
    image: Float[Tensor, "b ..."], reconstruction: Float[Tensor, "b ..."], *, deviation: float = 1.0
) -> Float[Tensor, " b"]:
    """-log N(x; y, deviation^2 I) in nats without its constant: the sum of (x - y)^2 / (2 deviation^2) (appendix C.2,
    Kingma & Welling 2014, arXiv:1312.6114)."""
    return (image.float() - reconstruction.float()).square().flatten(1).sum(dim=1) / (2 * deviation**2)


def divergence_from_prior(mean: Float[Tensor, "b d"], log_variance: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """KL(N(mean, variance) || N(0, I)) in nats (appendix B, Kingma & Welling 2014)."""
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


def reparametrise(
    mean: Float[Tensor, "b d"], log_variance: Float[Tensor, "b d"], noise: Float[Tensor, "b d"]
) -> Float[Tensor, "b d"]:
    """mean + deviation * noise: a sample of N(mean, variance) for standard normal noise (section 2.4, Kingma & Welling
    2014)."""
    return mean + (log_variance / 2).exp() * noise


def pulling_away(features: Float[Tensor, "b f"]) -> Float[Tensor, ""]:
    """Mean squared cosine between the features of different samples, in [0, 1] (section 2.4, Zhao et al. 2017).

    0 for one sample alone.
    """
    count = len(features)
    directions = normalize(features.float(), dim=1)
    squares = (directions @ directions.T).square()
    return (squares.sum() - squares.diagonal().sum()) / max(1, count * (count - 1))
