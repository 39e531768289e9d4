import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medsynth.data.degrade import Degradation, LowDose, LowResolution, shape
from medsynth.errors import UserError
from medsynth.latent import Draws

CONF = Path(__file__).parents[2] / "conf" / "degrade"
WIDTH_HU = 4000.0  # wide enough that no noise is clipped


def noise_of(dose: float, *, size: int = 64, count: int = 64, **changes: float) -> torch.Tensor:
    """What LowDose adds to empty images, in HU."""
    degrade = LowDose(dose=dose, **changes)
    image, rows = torch.zeros(count, 1, size, size), torch.arange(count)
    return degrade(image, Draws(0, 0, count), rows, width=torch.full((count,), WIDTH_HU)) * WIDTH_HU / 2


@pytest.mark.parametrize(("dose", "std"), [(0.25, 12 * math.sqrt(3)), (0.5, 12.0), (0.1, 36.0)])
def test_the_noise_has_the_standard_deviation_of_quantum_statistics(dose: float, std: float) -> None:
    assert noise_of(dose).std().item() == pytest.approx(std, rel=0.01)


def test_more_noise_in_the_image_means_more_noise_added() -> None:
    assert noise_of(0.5, noise_hu=20.0).std().item() == pytest.approx(20.0, rel=0.01)


def test_the_spectrum_is_the_ramp_times_the_hann_window_squared() -> None:
    power = torch.fft.fft2(noise_of(0.5, size=128).squeeze(1)).abs().square().mean(0)
    frequencies = torch.fft.fftfreq(128)
    radius = (frequencies[:, None] ** 2 + frequencies**2).sqrt()
    measured, expected = [], []
    for low in (0.02, 0.08, 0.14, 0.2, 0.26, 0.32, 0.38, 0.44):
        ring = (radius >= low) & (radius < low + 0.06)
        f = radius[ring]
        measured.append(power[ring].mean())
        expected.append((f * (0.5 + 0.5 * torch.cos(2 * math.pi * f)) ** 2).mean())
    measured, expected = torch.stack(measured), torch.stack(expected)
    torch.testing.assert_close(measured / measured.sum(), expected / expected.sum(), rtol=0.05, atol=1e-3)
    assert power[0, 0] == pytest.approx(0, abs=1e-3)  # the mean of an image keeps its HU
    assert power[radius > 0.5].max() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (33, 31)])
def test_the_filter_keeps_the_variance_of_white_noise(height: int, width: int) -> None:
    white = torch.randn(400, height, width, generator=torch.Generator().manual_seed(0))
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * shape(height, width), s=(height, width))
    assert noise.std().item() == pytest.approx(1, rel=0.02)


def test_a_narrow_window_shows_the_same_noise_larger_and_each_image_has_its_own() -> None:
    degrade, image, draws = LowDose(dose=0.5, noise_hu=5.0), torch.zeros(2, 1, 64, 64), Draws(0, 0, 2)
    result = degrade(image, draws, torch.arange(2), width=torch.tensor([400.0, 200.0]))
    assert result[0].std().item() * 200 == pytest.approx(5, rel=0.05)
    assert result[1].std().item() * 100 == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("degrade", [LowDose(), LowResolution()])
def test_ranks_together_make_what_one_makes_bit_for_bit(degrade: Degradation) -> None:
    image, width = torch.rand(13, 1, 32, 32) * 2 - 1, torch.linspace(100, 4000, 13)
    draws = Draws(3, 130, 13)
    whole = degrade(image, draws, torch.arange(13), width=width)
    for rows in (torch.arange(5), torch.arange(5, 13), torch.tensor([11])):
        assert torch.equal(degrade(image[rows], draws, rows, width=width[rows]), whole[rows])


def test_an_image_gets_other_noise_each_time_it_is_seen() -> None:
    image, rows, width = torch.zeros(4, 1, 16, 16), torch.arange(4), torch.full((4,), 400.0)
    first, again, later = (LowDose()(image, Draws(0, seen, 4), rows, width=width) for seen in (0, 0, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first[0], first[1])


def test_all_channels_of_a_grey_image_get_the_same_noise() -> None:
    grey = torch.rand(2, 1, 16, 16).expand(2, 3, 16, 16)
    result = LowDose()(grey, Draws(0, 0, 2), torch.arange(2), width=torch.full((2,), 400.0))
    assert torch.equal(result[:, 0], result[:, 2])


def test_noise_is_clipped_to_the_window() -> None:
    result = LowDose(dose=0.01)(torch.ones(1, 1, 32, 32), Draws(0, 0, 1), torch.arange(1), width=torch.tensor([80.0]))
    assert result.abs().max() <= 1


def low_resolution(image: torch.Tensor, factor: int) -> torch.Tensor:
    count = len(image)
    return LowResolution(factor)(image, Draws(0, 0, count), torch.arange(count), width=torch.ones(count))


def test_low_resolution_takes_detail_and_leaves_the_rest() -> None:
    x = torch.arange(64) * 2 * math.pi
    coarse = torch.sin(x / 32).expand(1, 1, 64, 64) * 0.5
    fine = torch.sin(x / 3).expand(1, 1, 64, 64) * 0.5
    inside = slice(8, -8)
    assert (low_resolution(coarse, 4) - coarse)[..., inside, inside].abs().max() < 0.05
    assert low_resolution(fine, 4)[..., inside, inside].abs().max() < 0.1  # antialiased: it does not come back coarser
    assert low_resolution(torch.full((1, 2, 16, 16), 0.3), 4).sub(0.3).abs().max() < 1e-6


def test_a_larger_factor_takes_more() -> None:
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    errors = [(low_resolution(image, factor) - image).square().mean().item() for factor in (2, 4, 8)]
    assert errors == sorted(errors)
    assert low_resolution(image, 2).shape == image.shape


@pytest.mark.parametrize("factor", [1, 0, 3, -2])
def test_a_factor_that_changes_nothing_or_does_not_divide_is_refused(factor: int) -> None:
    with pytest.raises(UserError, match=rf"degrade.factor={factor} must be a power of two"):
        LowResolution(factor)


def test_a_factor_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"degrade.factor=16 leaves nothing of 16x16 pixels"):
        low_resolution(torch.zeros(1, 1, 16, 16), 16)


@pytest.mark.parametrize(("changes", "message"), [({"dose": 1.0}, "dose=1.0"), ({"dose": 0.0}, "dose=0.0"),
                                                  ({"noise_hu": 0.0}, "noise_hu=0.0")])  # fmt: skip
def test_full_dose_and_no_noise_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=f"degrade.{message}"):
        LowDose(**changes)


@pytest.mark.parametrize(
    ("name", "expected"), [("low_dose", LowDose(0.25, 12.0)), ("low_resolution", LowResolution(4))]
)
def test_the_yaml_files_build_them(name: str, expected: Degradation) -> None:
    assert instantiate(OmegaConf.load(CONF / f"{name}.yaml")) == expected


def test_none_builds_nothing() -> None:
    assert OmegaConf.load(CONF / "none.yaml") == {}
