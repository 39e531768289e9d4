"""What generate writes, opened again with the libraries a colleague would use."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from medsynth.checkpoint import load_run
from medsynth.errors import UserError
from medsynth.export import NOTICE, to_uint16
from medsynth.generate import generate
from medsynth.sampling import synthesise

Run = Callable[..., dict[str, Any]]


def options(run_dir: str, out: Path, **changes: Any) -> dict[str, Any]:
    plain = {"run": run_dir, "checkpoint": "last", "n": 5, "first": 0, "seed": 0, "batch_size": 4}
    return plain | {"format": "png", "bits": 8, "out": str(out)} | changes


@pytest.fixture
def trained(run: Run) -> str:
    return run("run")["run_dir"]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_images_manifest_and_provenance_are_written(trained: str, tmp_path: Path):
    result = generate(options(trained, tmp_path / "out"))
    assert result["n"] == 5
    assert sorted(p.name for p in (tmp_path / "out/synthetic").iterdir()) == [f"{k:06d}.png" for k in range(5)]
    with (tmp_path / "out/manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    facts = json.loads((tmp_path / "out/provenance.json").read_text())
    assert facts["synthetic"] is True
    assert facts["images_seen"] == 64
    assert Image.open(tmp_path / "out/synthetic/000000.png").text["Description"] == NOTICE  # type: ignore[attr-defined]


def test_more_images_extend_a_folder_and_change_none(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "out", n=3))
    before = pixels(tmp_path / "out/synthetic/000002.png")
    generate(options(trained, tmp_path / "out", n=2, first=3, batch_size=1))
    generate(options(trained, tmp_path / "whole", n=5))
    assert np.array_equal(pixels(tmp_path / "out/synthetic/000002.png"), before)
    for k in range(5):
        assert np.array_equal(
            pixels(tmp_path / f"out/synthetic/{k:06d}.png"), pixels(tmp_path / f"whole/synthetic/{k:06d}.png")
        )
    assert len((tmp_path / "out/manifest.csv").read_text().splitlines()) == 6


def test_sixteen_bits_keep_what_eight_round_away(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "out", bits=16, n=1))
    (images,) = synthesise(load_run(trained).model, n=1, seed=0)
    stored = pixels(tmp_path / "out/synthetic/000000.png")
    assert stored.dtype == np.uint16
    assert np.array_equal(stored, to_uint16(images[0, 0]))


def test_a_nifti_file_holds_the_values_of_its_training_data_upright(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "out", format="nifti", n=1))
    volume = nibabel.load(tmp_path / "out/synthetic/000000.nii.gz")
    (images,) = synthesise(load_run(trained).model, n=1, seed=0)
    values = np.asarray(volume.dataobj)
    assert values.shape == (16, 16, 1)
    # Row 0 of the picture is its top: the largest y of an upright slice.
    np.testing.assert_allclose(values[:, ::-1, 0].T, (images[0, 0] + 1) / 2, atol=1e-6)
    assert volume.header["descrip"].tobytes().startswith(b"SYNTHETIC")


def test_a_dicom_file_says_synthetic_and_decodes_to_the_same_values(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "out", format="dicom", n=2))
    dataset = pydicom.dcmread(tmp_path / "out/synthetic/000001.dcm")
    (images,) = synthesise(load_run(trained).model, n=2, seed=0)
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_allclose(values, (images[1, 0] + 1) / 2, atol=1 / 65535)
    assert dataset.PatientID == "SYNTHETIC"
    assert "SYNTHETIC" in dataset.ImageType
    other = pydicom.dcmread(tmp_path / "out/synthetic/000000.dcm")
    assert dataset.SeriesInstanceUID == other.SeriesInstanceUID
    assert dataset.SOPInstanceUID != other.SOPInstanceUID


def test_images_of_another_checkpoint_or_seed_need_another_folder(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "out", n=2))
    with pytest.raises(UserError, match="holds images of another checkpoint or seed"):
        generate(options(trained, tmp_path / "out", n=2, seed=1))


def test_two_seeds_never_share_a_dicom_identifier(trained: str, tmp_path: Path):
    for seed in (0, 1):
        generate(options(trained, tmp_path / str(seed), format="dicom", n=1, seed=seed))
    uids = {pydicom.dcmread(tmp_path / f"{seed}/synthetic/000000.dcm").SOPInstanceUID for seed in (0, 1)}
    assert len(uids) == 2


def test_colour_is_not_lost_in_a_format_that_holds_grey(run: Run, tmp_path: Path):
    coloured = run("colour", "data.channels=3")["run_dir"]
    with pytest.raises(UserError, match="this run's have 3 channels: use png"):
        generate(options(coloured, tmp_path / "out", format="dicom"))
    generate(options(coloured, tmp_path / "out", n=1))
    assert pixels(tmp_path / "out/synthetic/000000.png").shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"seed": "abc"}, "seed=abc must be a whole number"),
        ({"format": "bmp"}, "format=bmp is unknown; choices: png, nifti, dicom"),
        ({"bits": 12}, "bits=12 must be 8 or 16"),
        ({"run": "nowhere"}, "run=nowhere is no run directory"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, Any], message: str, trained: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        generate(options(change.get("run", trained), tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_every_number_of_levels_rounds_to_the_nearest():
    assert to_uint16(torch.tensor([[[-1.0, 0.0, 1.0, 5.0]]])).tolist() == [[[0, 32768, 65535, 65535]]]
