import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from medsynth.penalties import gradient_norms, gradient_penalty, interpolate, squared_gradients, zero_centred_penalty


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_its_slope_minus_one_squared(slope: float):
    direction = torch.randn(1, 4, 4)
    direction *= slope / direction.norm()
    inputs = torch.randn(6, 1, 4, 4, requires_grad=True)
    logits = (inputs * direction).flatten(1).sum(1)
    assert gradient_penalty(logits, inputs).item() == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_norms_flatten_all_but_the_batch():
    inputs = torch.randn(3, 2, 4, 4, requires_grad=True)
    logits = inputs.square().flatten(1).sum(1) / 2  # gradient: the input itself
    assert torch.allclose(gradient_norms(logits, inputs), inputs.flatten(1).norm(dim=1))


def test_the_penalty_reaches_the_critics_weights():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = torch.randn(5, 1, 2, 2, requires_grad=True)
    gradient_penalty(critic(inputs).flatten(), inputs).backward()
    assert critic[1].weight.grad.abs().sum() > 0


def test_interpolates_lie_between_their_own_real_and_fake():
    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    epsilon = torch.tensor([0.0, 0.25, 1.0])
    mixed = interpolate(real, fake, epsilon)
    assert torch.equal(mixed[:, 0, 0, 0], epsilon)
    assert mixed.is_leaf
    assert mixed.requires_grad


def test_shapes_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError):
        gradient_norms(torch.zeros(3, 1), torch.zeros(3, 4, requires_grad=True))


def test_r1_of_a_linear_critic_is_half_its_squared_slope():
    direction = torch.randn(1, 4, 4)
    inputs = torch.randn(6, 1, 4, 4, requires_grad=True)
    logits = (inputs * direction).flatten(1).sum(1)
    assert zero_centred_penalty(logits, inputs).item() == pytest.approx(direction.square().sum().item() / 2, rel=1e-5)


def test_squared_gradients_flatten_all_but_the_batch():
    inputs = torch.randn(3, 2, 4, 4, requires_grad=True)
    logits = inputs.square().flatten(1).sum(1) / 2
    assert torch.allclose(squared_gradients(logits, inputs), inputs.flatten(1).square().sum(dim=1))
