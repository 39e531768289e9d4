"""One window for both folders: chosen by the user, by the training, or by the real images, and said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from folder_files import exported, nifti, png, pngs, volumes

from medsynth.errors import UserError
from medsynth.folders.views import find
from medsynth.folders.window import check_window, choose_scale


def scale(tmp_path: Path, *, window=None, modality="MR"):
    real, fake = (find(key, tmp_path / key) for key in ("real", "fake"))
    return choose_scale(real, fake, window=window, modality=modality)


def test_eight_bits_are_seen_whole(tmp_path: Path):
    pngs(tmp_path / "real", 2)
    pngs(tmp_path / "fake", 2)
    found, notes = scale(tmp_path)
    assert (found.window, found.unit, found.bits) == ((0, 255), "grey levels of 255", 8)
    assert not notes


def test_sixteen_bits_are_kept_and_dark_ones_are_seen_through_their_own_range(tmp_path: Path):
    pngs(tmp_path / "real", 2, bits=16)
    pngs(tmp_path / "fake", 2, bits=16)
    found, notes = scale(tmp_path)
    assert (found.window, found.unit, found.bits) == ((0, 65535), "grey levels of 65535", 16)
    assert not notes
    for number in range(2):
        png(tmp_path / "real" / f"slice ({number}).png", np.full((16, 16), 4095, np.uint16))
    found, notes = scale(tmp_path)
    assert found.window == pytest.approx((0, 4095))
    assert notes == [
        "99.5 % of the real images' 16-bit grey levels are at most 4,095 of 65,535, so all images are seen through "
        "window=[0,4095]; set window=[low,high] for another"
    ]
    assert scale(tmp_path, window=[0, 4095])[1] == []
    assert scale(tmp_path, window=[0, 65535])[0].window == (0, 65535)


def test_dark_sixteen_bits_beside_eight_are_told_of(tmp_path: Path):
    pngs(tmp_path / "fake", 2)
    for number in range(2):
        png(tmp_path / "real" / f"{number}.png", np.full((16, 16), 4095, np.uint16))
    found, notes = scale(tmp_path)
    assert found.window == (0, 255)
    assert notes == [
        "real: 99.5 % of the 16-bit grey levels are at most 4,095 of 65,535, so these images are dark beside those of "
        "8 bits; give both in one depth"
    ]
    pngs(tmp_path / "real", 2, bits=16)
    for number in range(2):
        (tmp_path / "real" / f"{number}.png").unlink()
    assert scale(tmp_path)[1] == []


def test_volumes_are_seen_through_percentiles_of_the_real_ones(tmp_path: Path):
    values = np.arange(16 * 16 * 4, dtype=np.int16).reshape(16, 16, 4)
    nifti(tmp_path / "real" / "a.nii.gz", values)
    volumes(tmp_path / "fake", 2)
    found, (note,) = scale(tmp_path)
    assert found.window == pytest.approx(tuple(np.percentile(values, (0.5, 99.5))))
    assert "(values as stored): the 0.5 to 99.5 percentile of the real images; set window=[low,high]" in note
    assert scale(tmp_path, modality="CT")[0].unit == "HU"


def test_the_range_of_the_training_goes_before_percentiles_and_the_users_before_both(tmp_path: Path):
    volumes(tmp_path / "real", 2)
    exported(tmp_path / "fake", torch.zeros(2, 1, 16, 16), format="nifti", ranges=[[-160.0, 240.0]])
    found, (note,) = scale(tmp_path)
    assert (found.window, found.unit) == ((-160, 240), "HU")
    assert "-160 to 240 (HU): the range of the synthetic images' training, by their provenance.json" in note
    assert scale(tmp_path, window=(-100, 100)) == (scale(tmp_path, window=[-100.0, 100.0])[0], [])


@pytest.mark.parametrize("window", [[1], [2, 1], [1, 1], [0, float("nan")], [0, 1, 2], [True, 3], "lung", 400])
def test_a_wrong_window_is_refused(window: object):
    with pytest.raises(UserError, match=r"window=.* must be the least and the greatest value shown, as in"):
        check_window(window)


def test_values_of_which_nobody_knows_the_white_go_by_percentiles_and_not_with_others(tmp_path: Path):
    values = np.linspace(-1000, 1000, 256, dtype=np.float32).reshape(16, 16)
    for side in ("real", "fake"):
        for number in range(2):
            png(tmp_path / side / f"{number}.tif", values)
    found, (note,) = scale(tmp_path)
    assert found.window == pytest.approx((-990, 990), abs=5)
    assert "(values as stored): the 0.5 to 99.5 percentile" in note
    assert found.white == 1
    pngs(tmp_path / "fake", 1)
    with pytest.raises(UserError, match=r"1.tif has 32 bits a pixel and no known white, unlike .*png; give all files"):
        scale(tmp_path)
