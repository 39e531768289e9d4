import pytest
import torch

from medsynth.errors import UserError
from medsynth.latent import Draws, Truncation, latents
from medsynth.seeds import fold


def test_fold_is_pinned_so_that_seeds_mean_the_same_on_every_machine():
    assert fold(0, "image", 7) == 7028957347625790407
    assert fold(0, "image", 7) != fold(0, "image", 8) != fold(1, "image", 8)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_ranks_and_micro_batches_draw_slices_of_the_same_numbers(kind: str):
    draws = Draws(seed=3, images_seen=640, batch_size=8)
    whole = getattr(draws, kind)("critic", torch.arange(8), 5)
    halves = [getattr(draws, kind)("critic", torch.arange(start, start + 4), 5) for start in (0, 4)]
    assert torch.equal(torch.cat(halves), whole)


def test_names_clocks_and_seeds_give_other_numbers():
    rows = torch.arange(4)
    one = Draws(0, 0, 4).normal("a", rows, 3)
    for other in (
        Draws(0, 0, 4).normal("b", rows, 3),
        Draws(0, 4, 4).normal("a", rows, 3),
        Draws(1, 0, 4).normal("a", rows, 3),
    ):
        assert not torch.equal(one, other)


def test_latent_k_depends_on_seed_and_k_alone():
    assert torch.equal(latents(5, 0, 10, 16)[7:], latents(5, 7, 3, 16))
    assert not torch.equal(latents(5, 0, 1, 16), latents(6, 0, 1, 16))


def test_integers_stay_below_their_bound():
    drawn = Draws(0, 0, 1000).integers("label", torch.arange(1000), below=3)
    assert set(drawn.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("mode", ["resample", "psi"])
def test_truncated_latent_k_depends_on_seed_and_k_alone(mode: str):
    truncation = Truncation(0.7, mode)
    assert torch.equal(latents(5, 0, 10, 16, truncation=truncation)[7:], latents(5, 7, 3, 16, truncation=truncation))


def test_resampled_latents_are_truncated_normal():
    z = latents(0, 0, 100, 200, truncation=Truncation(0.7)).double().flatten()
    assert z.abs().max() <= 0.7
    # Var = 1 - 2 t phi(t) / (2 Phi(t) - 1) for |z| <= t
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    t = torch.tensor(0.7).double()
    inside = 2 * normal.cdf(t) - 1
    variance = 1 - 2 * t * normal.log_prob(t).exp() / inside
    assert z.var().item() == pytest.approx(variance.item(), rel=0.03)
    # Kolmogorov's distance, whose 99.9 % point is 1.95 / sqrt(n)
    cdf = (normal.cdf(z.sort().values) - normal.cdf(-t)) / inside
    assert (cdf - torch.linspace(0, 1, len(z))).abs().max() < 1.95 / len(z) ** 0.5


def test_numbers_that_were_inside_stay_as_they_were():
    plain, cut = latents(0, 0, 20, 50), latents(0, 0, 20, 50, truncation=Truncation(1.0))
    inside = plain.abs() <= 1
    assert torch.equal(plain[inside], cut[inside])
    assert not torch.equal(plain, cut)


def test_psi_scales():
    torch.testing.assert_close(latents(3, 0, 4, 8, truncation=Truncation(0.5, "psi")), 0.5 * latents(3, 0, 4, 8))


@pytest.mark.parametrize(
    ("threshold", "mode", "message"),
    [
        (0.0, "resample", "truncation=0.0 must be a number of at least 0.01"),
        (1.5, "psi", "truncation=1.5 must be a factor from 0 to 1"),
        (True, "psi", "truncation=True must be"),
        (0.7, "clip", "truncation_mode=clip is unknown; choices: resample, psi"),
    ],
)
def test_impossible_truncations_are_refused(threshold: float, mode: str, message: str):
    with pytest.raises(UserError, match=message):
        Truncation(threshold, mode)
