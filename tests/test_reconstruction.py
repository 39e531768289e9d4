from math import log

import pytest
import torch

from medsynth.reconstruction import (
    absolute_error,
    divergence_from_prior,
    gaussian_error,
    pulling_away,
    reparametrise,
    root_mean_square_error,
)


def test_the_prior_does_not_diverge_from_itself():
    assert torch.equal(divergence_from_prior(torch.zeros(3, 5), torch.zeros(3, 5)), torch.zeros(3))


def test_a_shifted_or_widened_gaussian_diverges_by_the_closed_form():
    mean, variance = 1.5, 0.2
    found = divergence_from_prior(torch.full((2, 7), mean), torch.full((2, 7), log(variance)))
    assert found.tolist() == pytest.approx([7 * (mean**2 + variance - 1 - log(variance)) / 2] * 2)


def test_the_divergence_is_torchs_own():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence_from_prior(mean, log_variance), expected)


def test_a_sample_without_variance_is_the_mean():
    mean, noise = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(reparametrise(mean, torch.full((4, 6), -torch.inf), noise), mean)


def test_samples_have_the_mean_and_the_variance_asked_for():
    torch.manual_seed(0)
    sample = reparametrise(torch.full((1, 200_000), 3.0), torch.full((1, 200_000), log(4.0)), torch.randn(1, 200_000))
    assert sample.mean().item() == pytest.approx(3, abs=0.02)
    assert sample.std().item() == pytest.approx(2, abs=0.02)


def test_the_gaussian_error_is_the_log_density_without_its_constant():
    torch.manual_seed(0)
    image, other = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    density = torch.distributions.Normal(other, 0.3)
    lost = density.log_prob(other) - density.log_prob(image)
    torch.testing.assert_close(gaussian_error(image, other, deviation=0.3), lost.flatten(1).sum(1))


def test_errors_of_a_constant_offset_are_that_offset_at_any_resolution():
    for side in (16, 64):
        image = torch.rand(2, 1, side, side)
        assert absolute_error(image, image - 0.25).tolist() == pytest.approx([0.25] * 2, rel=1e-5)
        assert root_mean_square_error(image, image + 0.25).tolist() == pytest.approx([0.25] * 2, rel=1e-5)


def test_a_perfect_reconstruction_has_no_error_and_a_finite_gradient():
    image = torch.rand(2, 1, 4, 4, requires_grad=True)
    error = root_mean_square_error(image, image.detach())
    error.sum().backward()
    assert not error.any()
    assert image.grad is not None
    assert not image.grad.any()


def test_errors_of_half_precision_are_computed_in_float32():
    image = torch.rand(2, 1, 64, 64)
    half = image.to(torch.bfloat16)
    for error in (absolute_error, root_mean_square_error, gaussian_error):
        assert error(image, half).dtype == torch.float32


def test_pulling_away_is_nothing_between_orthogonal_codes_and_one_between_parallel_ones():
    assert pulling_away(torch.eye(5)).item() == 0
    assert pulling_away(torch.tensor([[1.0, 2.0], [-2.0, -4.0], [0.5, 1.0]])).item() == pytest.approx(1)


def test_pulling_away_of_two_codes_is_their_squared_cosine():
    angle = torch.tensor(0.7)
    codes = torch.stack([torch.tensor([2.0, 0.0]), 3 * torch.stack([angle.cos(), angle.sin()])])
    assert pulling_away(codes).item() == pytest.approx(angle.cos().item() ** 2)
    assert pulling_away(codes[:1]).item() == 0


def test_the_errors_grow_with_the_distance():
    image, near, far = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1), torch.full((1, 1, 2, 2), 0.2)
    assert gaussian_error(image, far).item() == pytest.approx(4 * gaussian_error(image, near).item())
    assert divergence_from_prior(far.flatten(1), near.flatten(1)) > divergence_from_prior(
        near.flatten(1), near.flatten(1)
    )
