"""Scores of paired images: closed forms, torchmetrics and scikit-image, and mistakes in words."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medsynth.errors import UserError
from medsynth.metrics.bootstrap import widening
from medsynth.metrics.paired import dice, mean_and_interval, merge_pairs, pair_scores, ssim


def images(count, height, width, *, seed=0, channels=1):
    stream = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 8, 8, generator=stream)
    fine = torch.randn(count, channels, height, width, generator=stream)
    return (F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.1 * fine).clamp(0, 1)


def test_a_constant_offset_is_known_exactly_in_hounsfield_units():
    x = torch.full((2, 1, 16, 16), 40.0)
    found = pair_scores(x, x + 20, bounds=(-160.0, 240.0))
    torch.testing.assert_close(found.mae, torch.full((2,), 20.0).double())
    torch.testing.assert_close(found.psnr, torch.full((2,), 20 * math.log10(400 / 20)).double())
    a, b = 200 / 400, 220 / 400  # constant images differ in luminance alone
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    torch.testing.assert_close(found.ssim, torch.full((2,), expected).double())


def test_equal_images_score_one_and_the_greatest_psnr():
    x = images(3, 32, 32)
    found = pair_scores(x, x).means()
    assert found == pytest.approx({"mae": 0, "psnr": 120, "ssim": 1, "ms_ssim": 1}, abs=1e-6)


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 1), (40, 24, 1), (24, 48, 3)])
def test_ssim_equals_torchmetrics_and_scikit_image(height, width, channels):
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = (images(3, height, width, seed=seed, channels=channels) for seed in (0, 1))
    y = 0.7 * x + 0.3 * y
    options = {"data_range": 1.0, "reduction": "none", "return_full_image": True}
    _, places = structural_similarity_index_measure(x.double(), y.double(), **options)
    whole = places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # its mean also counts windows over mirrored borders
    torch.testing.assert_close(ssim(x, y), whole, rtol=1e-9, atol=1e-9)
    skimages = [
        structural_similarity(
            a.double().numpy(),
            b.double().numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y), skimages, rtol=1e-7)


def test_psnr_and_mae_equal_scikit_image_and_numpy():
    from skimage.metrics import peak_signal_noise_ratio

    x, y = (images(4, 20, 20, seed=seed).double() for seed in (0, 1))
    found = pair_scores(x, y, bounds=(0.0, 1.0))
    pairs = list(zip(x.numpy(), y.numpy(), strict=True))
    np.testing.assert_allclose(found.psnr, [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs])
    np.testing.assert_allclose(found.mae, [np.abs(a - b).mean() for a, b in pairs])


def test_ms_ssim_equals_torchmetrics_in_the_range_of_the_data():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    x, y = images(2, 176, 176, seed=0), images(2, 176, 176, seed=1)
    y = 0.7 * x + 0.3 * y
    theirs = multiscale_structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
    found = pair_scores(400 * x - 160, 400 * y - 160, bounds=(-160.0, 240.0)).ms_ssim
    torch.testing.assert_close(found, theirs.double(), rtol=2e-4, atol=2e-5)


def test_every_score_is_worse_for_more_noise():
    x, noise = images(4, 32, 32), torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    found = [pair_scores(x, x + level * noise, bounds=(0.0, 1.0)).means() for level in (0.01, 0.05, 0.2)]
    for name, sign in (("mae", 1), ("psnr", -1), ("ssim", -1), ("ms_ssim", -1)):
        values = [sign * one[name] for one in found]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_scores_do_not_depend_on_how_the_set_was_cut():
    x, y = images(7, 16, 16), images(7, 16, 16, seed=1)
    parts = merge_pairs(pair_scores(a, b) for a, b in zip(x.split([1, 4, 2]), y.split([1, 4, 2]), strict=True))
    assert parts.means() == pytest.approx(pair_scores(x, y).means(), rel=1e-6)


def test_overlap_of_half_of_two_equal_masks_is_a_half():
    first, second = torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4, dtype=torch.long)
    first[:, :, :2], second[:, :, 1:3] = 1, 1
    assert dice(first, second, labels=[1]).item() == 0.5


def test_a_label_that_nobody_has_is_left_out_and_one_that_one_side_has_is_zero():
    first, second = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    first[0], second[0], first[1] = 1, 1, 1
    values = dice(first, second, labels=[1, 2])
    assert values[:2, 0].tolist() == [1, 0]
    assert bool(values[2, 0].isnan())
    assert bool(values[:, 1].isnan().all())


def test_an_interval_draws_all_pairs_of_a_patient_together():
    values = torch.arange(10, dtype=torch.float64).repeat_interleave(20)
    mean, together = mean_and_interval(values, np.repeat(np.arange(10), 20))
    _, singly = mean_and_interval(values, np.arange(200))
    assert mean == 4.5
    assert together is not None
    assert singly is not None
    deviation = values.std(correction=0).item()
    for (low, high), groups in ((together, 10), (singly, 200)):
        expected = 2 * 1.96 * deviation / groups**0.5 * widening(torch.arange(groups))
        assert high - low == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("patients", [2, 3, 5, 8])
def test_an_interval_of_few_patients_holds_the_mean_as_often_as_it_says(patients):
    stream, inside, trials = torch.Generator().manual_seed(0), 0, 200
    groups = np.repeat(np.arange(patients), 5)
    for _ in range(trials):
        own = torch.randn(patients, 1, generator=stream, dtype=torch.float64)
        _, found = mean_and_interval((own + 0.3 * torch.randn(patients, 5, generator=stream)).flatten(), groups)
        assert found is not None
        inside += found[0] < 0 < found[1]
    assert inside / trials >= 0.9


def test_pairs_that_say_nothing_are_left_out_and_one_patient_gives_no_interval():
    values = torch.tensor([1.0, torch.nan, 3.0], dtype=torch.float64)
    assert mean_and_interval(values, np.array(["a", "b", "a"])) == (2, None)
    mean, found = mean_and_interval(values, np.array(["a", "b", "c"]), least=1.5, most=2.5)
    assert (mean, found) == (2, (1.5, 2.5))


@pytest.mark.parametrize(
    ("first", "second", "bounds", "words"),
    [
        (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 20), (-1.0, 1.0), "must have one size: 1x16x16 and 1x16x20"),
        (torch.zeros(1, 1, 8, 16), torch.zeros(1, 1, 8, 16), (-1.0, 1.0), "pairs are 1x8x16; SSIM needs 11x11 or more"),
        (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), (1.0, 1.0), r"bounds=\[1.0, 1.0\] must be the least"),
        (torch.full((2, 1, 16, 16), torch.nan), torch.zeros(2, 1, 16, 16), (-1.0, 1.0), "2 of 2 pairs hold NaN"),
    ],
)
def test_mistakes_are_answered_in_words(first, second, bounds, words):
    from medsynth.metrics import paired

    with pytest.raises(UserError, match=words):
        paired._check(first, second, bounds)
