"""Wordings: every metric of a judgement has words of its own, whatever the extractor."""

import pytest

from medsynth.metrics.comparison import SCORES, names_of
from medsynth.report.wordings import HIGHER, LOWER, NAMES, wording

OTHERS = [
    "swd",
    "spectrum",
    "ms_ssim",
    "nearest_train",
    "duplicates",
    "authenticity",
    *SCORES.values(),
    "membership",
    "usable",
    "ppl_perceptual_random",
    "ppl_lpips_alex",
    "diversity_features_inception",
    "diversity_lpips_alex",
    "pair_mae",
    "pair_psnr",
    "pair_ssim",
    "pair_ms_ssim",
    "pair_dice_1",
    "pair_dice_2",
]


@pytest.mark.parametrize("name", [*OTHERS, *(name for extractor in NAMES for name in names_of(extractor).values())])
def test_every_metric_has_a_title_what_it_tells_and_a_direction(name):
    words = wording(name)
    assert words.title[0].isupper()
    assert "_" not in words.title
    assert words.tells.endswith((".", "?"))
    assert words.better


def test_titles_differ():
    names = [*OTHERS, *(name for extractor in NAMES for name in names_of(extractor).values())]
    assert len({wording(name).title for name in names}) == len(names)


def test_distances_and_shares_have_opposite_directions():
    assert wording("fid").better == wording("kid_own").better == LOWER
    assert wording("recall_encoder").better == wording("density_inception").better == HIGHER


def test_the_published_distances_keep_their_names():
    assert wording("fid").title == "Fréchet inception distance (FID)"
    assert wording("kid").title == "Kernel inception distance (KID)"
    assert wording("frechet_inception").title != wording("fid").title


def test_metrics_are_ranked_by_what_their_words_say():
    assert wording("fid").toward == wording("ppl_lpips_alex").toward == wording("membership").toward == "low"
    assert wording("coverage_own").toward == wording("pair_dice_3").toward == wording("usable").toward == "high"
    assert wording("ms_ssim").toward == wording("diversity_perceptual_random").toward == "real"
    assert wording("nearest_train").toward is wording("of_tomorrow").toward is None


def test_a_metric_of_tomorrow_is_called_by_its_name():
    assert wording("lpips").title == "lpips"
    assert wording("frechet_dino").title == "Fréchet distance, dino features"
