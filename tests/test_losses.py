import pytest
import torch

from medsynth.errors import UserError
from medsynth.losses import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    NonSaturating,
    hinge_critic,
    least_squares_critic,
    least_squares_generator,
    minimax_critic,
    multi_class_hinge,
    non_saturating_generator,
    relativistic_critic,
    relativistic_generator,
    wasserstein_critic,
    wasserstein_generator,
)

REAL, FAKE = torch.tensor([1.3, 2.9, 8.4, 6.3]), torch.tensor([4.8, 1.2, -3.5, 5.9])


def test_wasserstein_losses_on_a_hand_checked_vector():
    assert wasserstein_critic(REAL, FAKE).item() == pytest.approx(-2.625)
    assert wasserstein_generator(FAKE).item() == pytest.approx(-2.1)


def test_least_squares_losses_on_a_hand_checked_vector():
    assert least_squares_critic(REAL, FAKE).item() == pytest.approx(19.76125)
    assert least_squares_generator(FAKE).item() == pytest.approx(7.3425)


def test_minimax_losses_are_binary_cross_entropy():
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, torch.ones(4)) + bce(FAKE, torch.zeros(4))
    assert torch.allclose(minimax_critic(REAL, FAKE), expected)
    assert torch.allclose(non_saturating_generator(FAKE), bce(FAKE, torch.ones(4)))


def test_one_sided_smoothing_changes_the_target_of_real_images_alone():
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, torch.full((4,), 0.9)) + bce(FAKE, torch.zeros(4))
    assert torch.allclose(NonSaturating(real_target=0.9).critic(REAL, FAKE), expected)
    assert torch.equal(NonSaturating(real_target=0.9).generator(FAKE), NonSaturating().generator(FAKE))
    smooth = LeastSquares(real_target=0.9)
    assert smooth.critic(torch.full((3,), 0.9), torch.zeros(3)).item() == 0


@pytest.mark.parametrize("loss", [NonSaturating, LeastSquares])
@pytest.mark.parametrize("target", [0.5, 1.1])
def test_a_target_that_smooths_nothing_is_refused(loss: type, target: float):
    with pytest.raises(UserError, match=f"real_target={target} must be above 0.5"):
        loss(real_target=target)


def test_the_hinge_asks_for_a_margin_of_one_and_no_more():
    assert hinge_critic(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -7.0])).item() == 0
    assert hinge_critic(torch.zeros(2), torch.zeros(2)).item() == 2
    assert hinge_critic(REAL, FAKE).item() == pytest.approx((5.8 + 2.2 + 0 + 6.9) / 4)
    assert Hinge().generator(FAKE).item() == pytest.approx(-2.1)


def test_relativistic_losses_see_differences_of_pairs_alone():
    assert torch.allclose(relativistic_critic(REAL, FAKE), relativistic_critic(REAL + 3, FAKE + 3))
    assert torch.equal(relativistic_generator(REAL, FAKE), relativistic_critic(FAKE, REAL))
    assert relativistic_critic(REAL, REAL).item() == pytest.approx(0.6931472)
    assert relativistic_critic(torch.tensor([2.0]), torch.tensor([0.0])).item() == pytest.approx(0.126928)


def test_the_multi_class_hinge_compares_a_class_with_its_strongest_rival():
    logits = torch.tensor([[3.0, 1.0, 0.5], [0.0, 2.0, 1.5]])
    assert multi_class_hinge(logits, torch.tensor([0, 1])).item() == pytest.approx((0 + 0.5) / 2)
    assert multi_class_hinge(logits, torch.tensor([2, 0])).item() == pytest.approx((3.5 + 3) / 2)


def test_the_multi_class_hinge_of_two_classes_is_that_of_their_difference():
    logits = torch.randn(16, 2)
    difference = logits[:, 0] - logits[:, 1]
    zeros, ones = torch.zeros(16).long(), torch.ones(16).long()
    assert torch.allclose(
        multi_class_hinge(logits, zeros) + multi_class_hinge(logits, ones), hinge_critic(difference, difference)
    )


def test_an_undecided_critic_pays_two_log_two():
    zeros = torch.zeros(5)
    assert NonSaturating().critic(zeros, zeros).item() == pytest.approx(1.3862944)


def test_huge_logits_stay_finite():
    assert torch.isfinite(minimax_critic(torch.tensor([-1e4]), torch.tensor([1e4])))
    assert torch.isfinite(relativistic_critic(torch.tensor([-1e4]), torch.tensor([1e4])))


@pytest.mark.parametrize("loss", [NonSaturating(), NonSaturating(real_target=0.9), Hinge()])
def test_wrong_answers_cost_more(loss: AdversarialLoss):
    right, wrong = loss.critic(REAL, -REAL), loss.critic(-REAL, REAL)
    assert right < wrong
    assert loss.generator(REAL) < loss.generator(-REAL)
