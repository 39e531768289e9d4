"""MS-SSIM: torchmetrics' figures, its weights below 161 pixels, and diversity of a set."""

import pytest
import torch
import torch.nn.functional as F

from medsynth.metrics.chain import Chain
from medsynth.metrics.ms_ssim import BETAS, betas_for, ms_ssim


def images(count, side, *, seed=0, channels=1):
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    fine = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed + 1))
    return (F.interpolate(coarse, size=(side, side), mode="bilinear") + 0.1 * fine).clamp(-1, 1)


def theirs(first, second, betas):
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    return multiscale_structural_similarity_index_measure(
        (first + 1) / 2, (second + 1) / 2, data_range=1.0, betas=betas, reduction="none"
    )


@pytest.mark.parametrize(("side", "channels"), [(176, 1), (192, 3), (64, 1), (128, 1), (32, 1)])
def test_figures_equal_torchmetrics(side, channels):
    first, second = images(3, side, seed=0, channels=channels), images(3, side, seed=7, channels=channels)
    second[0] = (first[0] + 0.2 * second[0]).clamp(-1, 1)
    betas = BETAS if side >= 176 else betas_for(side)
    torch.testing.assert_close(ms_ssim(first, second, betas=betas), theirs(first, second, betas), rtol=2e-4, atol=2e-5)


def test_published_weights_hold_from_161_pixels_on():
    assert betas_for(161) == pytest.approx(BETAS, rel=1e-3)
    assert [len(betas_for(side)) for side in (16, 21, 32, 41, 64, 81, 128, 160, 161, 256)] == [
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        4,
        5,
        5,
    ]


@pytest.mark.parametrize("side", [16, 17, 32, 64, 100, 161])
def test_every_size_gives_numbers_between_zero_and_one(side):
    values = ms_ssim(images(4, side), -images(4, side))
    assert bool(((values >= 0) & (values <= 1)).all())
    assert sum(betas_for(side)) == pytest.approx(1)


def test_equal_images_give_one():
    torch.testing.assert_close(ms_ssim(images(2, 64), images(2, 64)), torch.ones(2))


def test_pairs_do_not_depend_on_how_the_set_was_cut():
    whole, parts = Chain(ms_ssim), Chain(ms_ssim)
    whole.update(images(9, 32))
    for part in images(9, 32).split([1, 5, 3]):
        parts.update(part)
    assert len(parts.values()) == len(whole.values()) == 8
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_a_collapsed_set_is_more_alike_than_a_varied_one():
    varied, collapsed = Chain(ms_ssim), Chain(ms_ssim)
    varied.update(images(20, 32))
    collapsed.update(images(1, 32).expand(20, -1, -1, -1))
    assert collapsed.compute() == pytest.approx(1, abs=1e-5)
    assert varied.compute() < 0.6
