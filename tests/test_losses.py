import pytest
import torch

from medsynth.losses import (
    NonSaturating,
    minimax_critic,
    non_saturating_generator,
    wasserstein_critic,
    wasserstein_generator,
)

REAL, FAKE = torch.tensor([1.3, 2.9, 8.4, 6.3]), torch.tensor([4.8, 1.2, -3.5, 5.9])


def test_wasserstein_losses_on_a_hand_checked_vector():
    assert wasserstein_critic(REAL, FAKE).item() == pytest.approx(-2.625)
    assert wasserstein_generator(FAKE).item() == pytest.approx(-2.1)


def test_minimax_losses_are_binary_cross_entropy():
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, torch.ones(4)) + bce(FAKE, torch.zeros(4))
    assert torch.allclose(minimax_critic(REAL, FAKE), expected)
    assert torch.allclose(non_saturating_generator(FAKE), bce(FAKE, torch.ones(4)))


def test_an_undecided_critic_pays_two_log_two():
    zeros = torch.zeros(5)
    assert NonSaturating().critic(zeros, zeros).item() == pytest.approx(1.3862944)


def test_huge_logits_stay_finite():
    assert torch.isfinite(minimax_critic(torch.tensor([-1e4]), torch.tensor([1e4])))


@pytest.mark.parametrize("loss", [NonSaturating()])
def test_wrong_answers_cost_more(loss: NonSaturating):
    right, wrong = loss.critic(REAL, -REAL), loss.critic(-REAL, REAL)
    assert right < wrong
    assert loss.generator(REAL) < loss.generator(-REAL)
