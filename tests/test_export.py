"""What generate writes, opened again with the libraries a colleague would use."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from medsynth.checkpoint import LoadedRun, load_run
from medsynth.errors import UserError
from medsynth.export import NOTICE, Exporter, to_uint16
from medsynth.generate import generate
from medsynth.generate import opened as opened_words
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("provenance.json", "{"),
        ("provenance.json", "[1]"),
        ("provenance.json", ""),
        ("manifest.csv", "a,b\n1,2\n"),
        ("manifest.csv", "file,number\nx.png,1,2,3\n"),
    ],
)
def test_files_of_ones_own_under_the_names_of_an_export_are_left_alone(
    name: str, text: str, trained: str, tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    with pytest.raises(UserError, match=rf"out=.* holds a {name} that medsynth did not write; choose another folder"):
        generate(options(trained, out))
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == text


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
    ("before", "after", "message"),
    [
        ({}, {"format": "nifti"}, "holds images of format=png bits=8; choose another folder"),
        ({"format": "dicom"}, {"format": "nifti"}, "holds images of format=dicom"),
        ({}, {"bits": 16}, "holds images of format=png bits=8"),
        ({}, {"truncation": 0.5}, "holds images of truncation=None"),
        ({"truncation": 0.5}, {"truncation": 0.6}, "holds images of truncation=0.5"),
    ],
)
def test_a_folder_holds_images_of_one_kind(
    before: dict[str, Any], after: dict[str, Any], message: str, trained: str, tmp_path: Path
):
    generate(options(trained, tmp_path / "out", n=1, **before))
    with pytest.raises(UserError, match=message):
        generate(options(trained, tmp_path / "out", n=1, **after))


def test_truncated_images_are_others_and_the_provenance_says_so(trained: str, tmp_path: Path):
    generate(options(trained, tmp_path / "plain", n=1))
    generate(options(trained, tmp_path / "cut", n=1, truncation=0.3, truncation_mode="psi"))
    plain, cut = (pixels(tmp_path / f"{name}/synthetic/000000.png") for name in ("plain", "cut"))
    assert not np.array_equal(plain, cut)
    facts = json.loads((tmp_path / "cut/provenance.json").read_text())
    assert (facts["truncation"], facts["truncation_mode"]) == (0.3, "psi")
    assert "truncation" not in json.loads((tmp_path / "plain/provenance.json").read_text())
    generate(options(trained, tmp_path / "null", n=1, truncation=0.3, truncation_mode=None))
    assert json.loads((tmp_path / "null/provenance.json").read_text())["truncation_mode"] == "resample"


def test_a_way_to_truncate_without_a_truncation_is_refused(trained: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"truncation_mode=psi says how to truncate, .* set truncation=0\.7"):
        generate(options(trained, tmp_path / "out", n=1, truncation_mode="psi"))
    assert not (tmp_path / "out").exists()


def joint(trained: str, **changes: Any) -> LoadedRun:
    """A run whose images have a mask behind their one channel."""
    run = load_run(trained)
    return replace(run, config={**run.config, "data": {**run.config["data"], "mask_channel": True}}, **changes)


def pair() -> torch.Tensor:
    """A grey ramp with a mask of its right half, less sure at its edge, and a speck of it on the top left."""
    image = torch.linspace(-1, 1, 16).repeat(16, 1)
    mask = torch.full((16, 16), -0.9)
    mask[:, 8:], mask[0, 0], mask[:, 7] = 0.8, 0.01, -0.01
    return torch.stack([image, mask])


@pytest.mark.parametrize("kind", ["png", "nifti", "dicom"])
def test_a_mask_lies_beside_its_image_in_its_format_binarised_at_nought(kind: str, trained: str, tmp_path: Path):
    exporter = Exporter(tmp_path / "out", run=joint(trained), seed=0, format=kind, bits=8)
    path = exporter.write(pair(), 3)
    exporter.close()
    image, mask = opened(path), opened(path.with_name(path.name.replace("000003", "000003_mask")))
    expected = (pair()[1] > 0).numpy()
    assert expected.sum() == 16 * 8 + 1
    assert np.array_equal(mask, expected * (255 if kind == "png" else 1))
    assert image.shape == mask.shape
    with (tmp_path / "out/manifest.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["mask"] == f"synthetic/000003_mask{'.nii.gz' if kind == 'nifti' else path.suffix}"


def opened(path: Path) -> np.ndarray:
    """The picture in a file, its first row at the top."""
    if path.name.endswith(".nii.gz"):
        return np.asarray(nibabel.load(path).dataobj)[:, ::-1, 0].T  # type: ignore[attr-defined]
    return pydicom.dcmread(path).pixel_array if path.suffix == ".dcm" else pixels(path)


def test_dicom_masks_are_a_series_of_their_own_in_the_study(trained: str, tmp_path: Path):
    exporter = Exporter(tmp_path / "out", run=joint(trained), seed=0, format="dicom", bits=8)
    path = exporter.write(pair(), 0)
    image, mask = pydicom.dcmread(path), pydicom.dcmread(path.with_name("000000_mask.dcm"))
    assert image.StudyInstanceUID == mask.StudyInstanceUID
    assert image.SeriesInstanceUID != mask.SeriesInstanceUID
    assert image.SOPInstanceUID != mask.SOPInstanceUID
    assert mask.PatientID == "SYNTHETIC"


def test_nifti_masks_lie_on_their_image(trained: str, tmp_path: Path):
    exporter = Exporter(tmp_path / "out", run=joint(trained, spacing=[0.5, 0.7, 3.0]), seed=0, format="nifti", bits=8)
    path = exporter.write(pair(), 0)
    image, mask = nibabel.load(path), nibabel.load(path.with_name("000000_mask.nii.gz"))
    assert np.array_equal(image.affine, mask.affine)  # type: ignore[attr-defined]
    assert mask.get_data_dtype() == np.uint8  # type: ignore[attr-defined]


def test_each_class_has_a_folder_and_covariates_stand_in_the_manifest(trained: str, tmp_path: Path):
    run = replace(load_run(trained), class_names=["mild", "../../up", "a/b", "a_B"])
    exporter = Exporter(tmp_path / "out", run=run, seed=0, format="png", bits=8)
    for number, label in enumerate(run.class_names):
        exporter.write(torch.zeros(1, 16, 16), number, label=label, covariates={"age": 60.5})
    exporter.close()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
        "_.._up", "a_B-3", "a_b", "mild",
    ]  # fmt: skip
    with (tmp_path / "out/manifest.csv").open(newline="") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    assert rows["a/b"]["file"] == "a_b/000002.png"
    assert rows["mild"]["age"] == "60.5"


def test_what_an_unconditional_model_does_not_take_is_refused(trained: str, tmp_path: Path):
    for asked in ({"label": "lying"}, {"covariates": {"age": 60}}):
        with pytest.raises(UserError, match="is not conditioned on"):
            generate(options(trained, tmp_path / "out", **asked))
    with pytest.raises(UserError, match="truncation=0 must be"):
        generate(options(trained, tmp_path / "out", truncation=0))


def test_covariates_can_be_typed_as_knobs():
    assert opened_words(["n=3", "covariates.age=60", "run=x"]) == ["n=3", "++covariates.age=60", "run=x"]


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
