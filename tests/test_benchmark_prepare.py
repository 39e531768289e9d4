"""The benchmark of preparing is honest: the files are what it says, and both sides make the same pixels."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import prepare  # noqa: E402


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SIDE", 64)
    monkeypatch.setattr(prepare, "RESOLUTION", 32)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_files_hold_the_volume_as_scanners_write_it(ending: str, tmp_path: Path) -> None:
    import nibabel

    paths = prepare.write_nifti(tmp_path / "data", ending, volumes=2, slices=3)
    assert [path.name for path in paths] == [f"volume-0{ending}", f"volume-1{ending}"]
    for number, path in enumerate(paths):
        image = nibabel.load(path)  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), prepare.volume(number, 3))
        assert image.get_data_dtype() == np.int16
        assert nibabel.orientations.aff2axcodes(image.affine) == ("L", "P", "S")


@pytest.mark.parametrize("syntax", prepare.SYNTAXES)
def test_dicom_files_hold_the_volume_in_their_transfer_syntax(syntax: str, tmp_path: Path) -> None:
    import pydicom

    paths = prepare.write_dicom(tmp_path / "data", syntax, volumes=1, slices=2)
    for path, expected in zip(paths, prepare.volume(0, 2), strict=True):
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == prepare.SYNTAXES[syntax]
        assert np.array_equal(dataset.pixel_array + dataset.RescaleIntercept, expected.clip(-1024))


@pytest.mark.parametrize("case", prepare.CASES, ids=lambda case: case.name)
def test_both_sides_make_the_same_pixels(case: prepare.Case, tmp_path: Path) -> None:
    paths = case.write(tmp_path / "data", case.name, volumes=2, slices=3)
    data = prepare.data_config(tmp_path / "data", case.source)
    assert prepare.difference(case, paths, data) <= 1  # floats are rounded to levels in two orders


def test_a_plain_route_with_another_window_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CENTER", 60.0)
    result = prepare.race(prepare.CASES[0], volumes=2, slices=2, pairs=1)
    assert result["largest_difference"] > 1
    assert not result["pass"]


@pytest.mark.slow
def test_memory_is_that_of_fresh_processes() -> None:
    result = prepare.memory(prepare.CASES[0], slices=4)
    assert result["volume_mb"] == pytest.approx(4 * 64 * 64 * 2 / 1e6, rel=0.01)
    assert all(20 < result[f"{key}_start_mb"] <= result[f"{key}_mb"] < 4000 for key in ("ours", "ours_of_two", "other"))
