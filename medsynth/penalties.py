"""Gradient penalties on a critic: pure functions of logits and the inputs they were computed from."""

import torch
from jaxtyping import Float
from torch import Tensor


def interpolate(
    real: Float[Tensor, "b c h w"], fake: Float[Tensor, "b c h w"], epsilon: Float[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """epsilon * real + (1 - epsilon) * fake, one epsilon in [0, 1] a sample, as a leaf that records gradients."""
    return torch.lerp(fake, real, epsilon.view(-1, 1, 1, 1)).detach().requires_grad_()


def gradient_norms(logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """L2 norm of each logit's gradient by its own input, over all but the batch; differentiable."""
    (gradients,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return torch.linalg.vector_norm(gradients.flatten(1), dim=1)


def gradient_penalty(
    logits: Float[Tensor, " b"], inputs: Float[Tensor, "b ..."], *, target: float = 1.0
) -> Float[Tensor, ""]:
    """E (|grad f(x)| - target)^2, two-sided (Eq. 3, Gulrajani et al. 2017, arXiv:1704.00028).

    Compute `logits` with autocast off: half precision under- and overflows in the second derivative.
    """
    return (gradient_norms(logits, inputs) - target).square().mean()
