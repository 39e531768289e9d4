"""Pairs of equal names: closed forms in the unit of the files, masks, groups, and what is left out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import series
from folder_files import exported, nifti, noise, png, pngs, volumes

from medsynth.errors import UserError
from medsynth.folders import pair_findings, pairs
from medsynth.metrics.bootstrap import widening


def findings(tmp_path: Path, **changes):
    return pair_findings(tmp_path / "real", tmp_path / "fake", **{"window": None, **changes})


def test_an_offset_in_hounsfield_units_is_the_mean_absolute_error(tmp_path: Path):
    for number in range(3):
        values = np.clip(noise(16, 16, 5, seed=number), -300, 300).astype(np.float32)
        nifti(tmp_path / "real" / f"p/{number}.nii.gz", values)
        nifti(tmp_path / "fake" / f"p/{number}.nii", values + 10 * (number + 1))
    made, _ = findings(tmp_path, window=(-400, 400))
    mae = made["pair_mae"]
    assert mae.value == pytest.approx(20, abs=0.02)
    assert mae.extra == {"pairs": 15, "unit": "values as stored", "window": [-400, 400]}
    reach = 10 * widening(torch.arange(3))  # volumes are drawn, of which all slices are alike, and are few
    assert mae.interval == pytest.approx((max(0, 20 - reach), 20 + reach), abs=0.5)
    assert mae.counts == (15, 15)
    psnr = np.mean([20 * math.log10(800 / offset) for offset in (10, 20, 30)])
    assert made["pair_psnr"].value == pytest.approx(psnr, abs=0.02)
    assert made["pair_psnr"].extra["unit"] == "dB"
    assert list(made) == ["pair_mae", "pair_psnr", "pair_ssim", "pair_ms_ssim"]


def test_grey_levels_are_the_unit_of_image_files(tmp_path: Path):
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 200, (16, 16)).astype(np.uint8)
        png(tmp_path / "real" / f"{number}.png", pixels)
        png(tmp_path / "fake" / f"{number}.bmp", pixels + 5)
    made, notes = findings(tmp_path)
    assert made["pair_mae"].value == pytest.approx(5, abs=1e-4)
    assert made["pair_mae"].extra["unit"] == "grey levels of 255"
    assert made["pair_ssim"].value == pytest.approx(1, abs=0.02)
    assert not notes


def test_equal_folders_are_perfect(tmp_path: Path):
    pngs(tmp_path / "real", 3)
    pngs(tmp_path / "fake", 3)
    made, _ = findings(tmp_path)
    values = {name: finding.value for name, finding in made.items()}
    assert values == pytest.approx({"pair_mae": 0, "pair_psnr": 120, "pair_ssim": 1, "pair_ms_ssim": 1}, abs=1e-6)


def test_pairs_of_dicom_series_go_by_file(tmp_path: Path):
    series(tmp_path / "real" / "p", seed=1)
    series(tmp_path / "fake" / "p", seed=1)
    made, _ = findings(tmp_path, window=(-500, 500))
    assert made["pair_mae"].value == 0
    assert made["pair_mae"].extra == {"pairs": 4, "unit": "HU", "window": [-500, 500]}
    assert made["pair_mae"].interval is None  # one series says nothing of others


def masks(tmp_path: Path, kind: str) -> None:
    """Three images a side with masks that overlap by a half, by all, and not at all of label 2."""
    real, fake = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    real[:, :4], fake[:, 2:6] = 1, 1
    both = {"0": (real, fake), "1": (real, real), "2": (np.where(real, real, np.uint8(2)), real)}
    for name, sides in both.items():
        for side, mask in zip(("real", "fake"), sides, strict=True):
            if kind == "png":
                png(tmp_path / side / f"{name}.png", noise(16, 16).astype(np.uint8))
                png(tmp_path / side / f"{name}_mask.png", mask * np.uint8(255 if mask.max() == 1 else 1))
            else:
                nifti(tmp_path / side / f"{name}.nii.gz", noise(16, 16).astype(np.int16))
                nifti(tmp_path / side / f"{name}_mask.nii.gz", mask)


@pytest.mark.parametrize("kind", ["png", "nifti"])
def test_dice_is_that_of_the_masks_beside_pairs(kind: str, tmp_path: Path):
    masks(tmp_path, kind)
    made, _ = findings(tmp_path)
    assert made["pair_dice_1"].value == pytest.approx((0.5 + 1 + 1) / 3)
    assert made["pair_dice_1"].extra == {"pairs": 3}
    assert made["pair_dice_2"].value == 0
    assert made["pair_dice_2"].extra == {"pairs": 1}


def test_a_label_of_the_synthetic_masks_alone_is_not_named(tmp_path: Path):
    for side in ("real", "fake"):
        pngs(tmp_path / side, 2)
        for number in range(2):
            png(tmp_path / side / f"slice ({number})_mask.png", np.full((16, 16), 1 if side == "real" else 3, np.uint8))
    made, _ = findings(tmp_path)
    assert made["pair_dice_1"].value == 0
    assert "pair_dice_3" not in made


@pytest.mark.parametrize("format", ["png", "nifti", "dicom"])
def test_exports_with_masks_are_pairs_of_themselves(format: str, tmp_path: Path):
    images = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for side in ("real", "fake"):
        exported(tmp_path / side, images, format=format, ranges=[[-160.0, 240.0]])
    made, _ = findings(tmp_path)
    assert made["pair_mae"].value == 0
    assert made["pair_dice_1"].value == 1
    assert made["pair_dice_1"].extra["pairs"] == 3


def test_images_without_a_counterpart_are_counted(tmp_path: Path):
    pngs(tmp_path / "real", 5)
    pngs(tmp_path / "fake", 3)
    made, notes = findings(tmp_path)
    assert made["pair_mae"].extra["pairs"] == 3
    assert notes == ["real: 2 images without a counterpart of their name are in no pair"]


def test_more_pairs_than_are_compared_are_drawn_at_random(tmp_path: Path, monkeypatch):
    pngs(tmp_path / "real", 9)
    pngs(tmp_path / "fake", 9)
    monkeypatch.setattr(pairs, "MOST_PAIRS", 4)
    made, notes = findings(tmp_path)
    assert made["pair_mae"].extra["pairs"] == 4
    assert notes == ["4 of 9 pairs, drawn at random, are compared"]


def test_no_pair_is_one_line_with_examples(tmp_path: Path):
    volumes(tmp_path / "real", 2)
    volumes(tmp_path / "fake", 2, slices=4)
    with pytest.raises(UserError, match=r"pairs=true: no image of real=.* \(v0, 5 slices; v0, 4 slices\)"):
        findings(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    pngs(tmp_path / "real", 2)
    pngs(tmp_path / "fake", 2)
    png(tmp_path / "fake" / "slice (1).bmp", np.zeros((16, 16), np.uint8))
    with pytest.raises(UserError, match=r"fake=.*: slice \(1\).bmp and slice \(1\).png have one name"):
        findings(tmp_path)


def test_a_mask_of_another_size_is_named(tmp_path: Path):
    for side in ("real", "fake"):
        pngs(tmp_path / side, 2)
        png(tmp_path / side / "slice (1)_mask.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"pairs=true: .*slice \(1\).png: its mask is 8x8 and not of its size"):
        findings(tmp_path)
