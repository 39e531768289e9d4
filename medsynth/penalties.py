"""Gradient penalties on a critic: pure functions of logits and the inputs they were computed from.

Compute the logits with autocast off: half precision under- and overflows in the second derivative.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def interpolate(
    real: Float[Tensor, "b c h w"], fake: Float[Tensor, "b c h w"], epsilon: Float[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """epsilon * real + (1 - epsilon) * fake, one epsilon in [0, 1] a sample, as a leaf that records gradients."""
    return torch.lerp(fake, real, epsilon.view(-1, 1, 1, 1)).detach().requires_grad_()


def squared_gradients(logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Squared L2 norm of each logit's gradient by its own input, over all but the batch; differentiable."""
    return _gradients(logits, inputs).square().sum(dim=1)


def gradient_norms(logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """L2 norm of each logit's gradient by its own input, over all but the batch; differentiable."""
    return torch.linalg.vector_norm(_gradients(logits, inputs), dim=1)


def gradient_penalty(
    logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."], *, target: float = 1.0
) -> Float[Tensor, ""]:
    """E (|grad f(x)| - target)^2, two-sided (Eq. 3, Gulrajani et al. 2017, arXiv:1704.00028)."""
    return (gradient_norms(logits, inputs) - target).square().mean()


def zero_centred_penalty(logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, ""]:
    """1/2 E |grad f(x)|^2: R1 at real images and R2 at fake ones (Eq. 9, Mescheder et al. 2018, arXiv:1801.04406)."""
    return squared_gradients(logits, inputs).mean() / 2


def _gradients(logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
    (gradients,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return gradients.flatten(1)
