import pytest
import torch

from medsynth.latent import Draws, latents
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
