"""Folders as sets of images to judge: halves, windows, classes, what is kept, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import dicom, series
from folder_files import exported, nifti, noise, png, pngs, volumes

from medsynth.errors import UserError
from medsynth.folders import folder_subject
from medsynth.folders.reader import Batches
from medsynth.metrics.suite import Yardstick, judge
from medsynth.subjects import Subject

METRICS = {"count": 12, "extractors": ["random"], "extractor": {"weights": None, "download": False}}


def subject(tmp_path: Path, **changes) -> Subject:
    options = {"unseen": None, "resolution": None, "channels": 1, "count": 12, "seed": 0} | changes
    return folder_subject(tmp_path / "real", tmp_path / "fake", **options)


def tensor(images) -> torch.Tensor:
    return torch.cat(list(images))


def judged(found: Subject, *, thorough: bool = True) -> dict:
    sets = {name: getattr(found, name) for name in ("reference", "held_out", "train", "unseen", "patients", "origin")}
    return Yardstick(config=METRICS, thorough=thorough, **sets).judge(found.fake)


def views_of(images) -> list[tuple[str, int]]:
    assert isinstance(images, Batches)
    return [(view.name, view.number) for view in images.views]


def test_slices_of_volumes_are_judged_through_one_window_and_halves_share_no_volume(tmp_path: Path):
    volumes(tmp_path / "real", 6)
    volumes(tmp_path / "fake", 3, seed=1, ends=".nii")
    found = subject(tmp_path, window=[-200, 200])
    halves = [{name for name, _ in views_of(side)} for side in (found.reference, found.held_out)]
    assert not halves[0] & halves[1]
    assert found.patients.reference is not None
    assert list(found.patients.reference) == [name for name, _ in views_of(found.reference)]
    assert len(found.patients.train) == 30  # type: ignore[arg-type]
    values = np.clip(np.stack([noise(16, 16, 5, seed=k) for k in range(6)]), -200, 200) / 200
    upright = torch.from_numpy(values.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1].reshape(30, 1, 16, 16).copy())
    torch.testing.assert_close(tensor(found.train), upright.float(), atol=2e-5, rtol=0)
    assert any("each volume or series is taken for a patient of its own" in line for line in found.warnings)
    assert "nii, slice " in found.fake_name(0)


def test_slices_in_any_order_equal_those_in_file_order(tmp_path: Path):
    volumes(tmp_path / "real", 4)
    volumes(tmp_path / "fake", 3)
    found = subject(tmp_path)
    at_once, train = tensor(found.fake), tensor(found.train)
    assert torch.equal(at_once, tensor(found.fake))
    for number in (0, 5, 9):
        assert torch.equal(found.show_fake(number), at_once[number])
    for number in (0, 7, 19):
        assert torch.equal(found.show_train(number), train[number])
    assert torch.equal(tensor(Batches(found.fake.views, found.fake.reader, batch_size=5)), at_once)  # type: ignore[attr-defined]


def test_brightness_that_differs_between_files_is_not_scaled_away(tmp_path: Path):
    for number in range(4):
        nifti(tmp_path / "real" / f"{number}.nii", noise(16, 16, seed=number).astype(np.float32))
        nifti(tmp_path / "fake" / f"{number}.nii", noise(16, 16, seed=number).astype(np.float32) + 100)
    found = subject(tmp_path, window=(-1000, 1000))
    fakes = torch.stack([found.show_fake(k) for k in range(4)])
    assert (fakes.mean() - tensor(found.train).mean()).item() == pytest.approx(0.1, abs=1e-5)


def test_slices_of_air_are_no_copies_of_each_other(tmp_path: Path):
    for side, count in (("real", 4), ("fake", 2)):
        for number in range(count):
            values = noise(16, 16, 5, seed=number).astype(np.int16)
            values[:, :, 3:] = values[:, :, 3:] // 100 - 300
            nifti(tmp_path / side / f"{number}.nii.gz", values)
    for found in (subject(tmp_path, window=(-400, 400)), subject(tmp_path, window=(-400, 400))):
        assert "real: next to nothing shows on 8 slices of volumes and series: not judged" in found.warnings
        assert {number for _, number in views_of(found.train)} == {0, 1, 2}
    flat = torch.zeros(3, 1, 16, 16)
    exported(tmp_path / "flat" / "fake", flat, format="dicom", ranges=[[-400.0, 400.0]])
    volumes(tmp_path / "flat" / "real", 3)
    assert len(views_of(subject(tmp_path / "flat").fake)) == 3  # what a generator made is judged, whatever it shows


@pytest.mark.parametrize("format", ["nifti", "dicom"])
def test_what_generate_writes_is_read_back_and_masks_are_not(format: str, tmp_path: Path):
    images = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ranges = [[-160.0, 240.0]]
    exported(tmp_path / "fake", images, format=format, ranges=ranges)
    for number in range(2):
        series(tmp_path / "real" / f"p{number}", seed=number)
    found = subject(tmp_path)
    shown = torch.stack([found.show_fake(k) for k in range(3)])
    order = [int(found.fake_name(k)[:6]) for k in range(3)]
    torch.testing.assert_close(shown, images[order, :1], atol=5e-5, rtol=0)
    assert "fake: 3 " in "".join(found.warnings)
    assert any("-160 to 240 (HU)" in line for line in found.warnings)


def test_ct_in_dicom_is_read_in_hounsfield_units_whatever_window_its_headers_state(tmp_path: Path):
    values = noise(16, 16).astype(np.int16)
    for side, slope in (("real", 1), ("fake", 2)):
        for k in range(2):
            elements = {"WindowCenter": 40 + k, "WindowWidth": 400, "RescaleSlope": slope, "InstanceNumber": k}
            place = {"ImagePositionPatient": [0, 0, k], "SOPInstanceUID": f"1.2.{slope}.{k}"}
            dicom(tmp_path / side / f"1.2.{k}", values // slope, SeriesInstanceUID=f"1.9.{slope}", **elements, **place)
    found = subject(tmp_path, window=(-500, 500))
    expected = torch.from_numpy(values // 2 * 2 / 500).float()
    torch.testing.assert_close(found.show_fake(0)[0], expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.show_train(1)[0], torch.from_numpy(values / 500).float(), atol=2e-5, rtol=0)


def test_eight_bit_images_keep_their_levels_and_sixteen_bit_ones_what_eight_would_lose(tmp_path: Path):
    pngs(tmp_path / "real", 4)
    pngs(tmp_path / "fake", 4)
    found = subject(tmp_path)
    stored = np.random.default_rng(0).integers(0, 256, (16, 16))
    assert torch.equal(found.show_train(0)[0], (torch.from_numpy(stored).float() / 127.5) - 1)
    for folder in ("real", "fake"):
        for k in range(2):
            png(tmp_path / "floats" / folder / f"{k}.tif", stored.astype(np.float32) - 500)
            png(tmp_path / "deep" / folder / f"{k}.png", (stored + 1000 + k).astype(np.uint16))
    deep = subject(tmp_path / "deep", window=(1000, 1255))
    floats = subject(tmp_path / "floats", window=(-500, -245))
    for one in (deep, floats):
        expected = torch.from_numpy(stored / 127.5 - 1).float()
        torch.testing.assert_close(one.show_train(0)[0], expected, atol=2e-5, rtol=0)


def test_a_volume_is_judged_like_any_image(tmp_path: Path):
    volumes(tmp_path / "real", 6)
    volumes(tmp_path / "fake", 3, seed=1)
    volumes(tmp_path / "unseen", 4, seed=2)
    judgement = judged(subject(tmp_path, unseen=tmp_path / "unseen"))
    assert judgement["kid_random_12"]["interval"]
    assert judgement["nearest_train_12"]["n_unseen"] == 20


def test_a_planted_slice_is_found(tmp_path: Path):
    volumes(tmp_path / "real", 6)
    volumes(tmp_path / "fake", 3, seed=1)
    nifti(tmp_path / "fake" / "v1.nii.gz", noise(16, 16, 5, seed=4)[:, :, 2].astype(np.int16))
    found = subject(tmp_path, count=11)
    judgement = judge(fake=found.fake, reference=found.reference, held_out=None, train=found.train, config=METRICS)
    pair = judgement["insufficient"]["nearest_train_12"]["pairs"][0]
    assert pair["distance"] == 0
    assert found.fake_name(pair["fake"]) == "v1.nii.gz"
    assert pair["train"] == 4 * 5 + 2


# ------------------------------------------------------------------------------------------------------------- cache


def kept(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").rglob("*.npz")}


@pytest.mark.parametrize(("write", "counts"), [(pngs, (26, 14, 5)), (volumes, (6, 3, 2))])
def test_statistics_of_the_real_folder_are_kept_and_give_the_same_bit_for_bit(
    write, counts: tuple[int, int, int], tmp_path: Path
):
    for seed, (side, count) in enumerate(zip(("real", "fake", "unseen"), counts, strict=True)):
        write(tmp_path / side, count, seed=seed)
    first = judged(subject(tmp_path, unseen=tmp_path / "unseen"))
    names = kept(tmp_path)
    assert len(names) > 4
    again = judged(subject(tmp_path, unseen=tmp_path / "unseen"))
    assert again == first
    assert kept(tmp_path) == names


def test_a_changed_file_is_measured_anew(tmp_path: Path):
    pngs(tmp_path / "real", 26)
    pngs(tmp_path / "fake", 14, seed=1)
    first, names = judged(subject(tmp_path), thorough=False), kept(tmp_path)
    changed = tmp_path / "real" / "slice (3).png"
    times = changed.stat().st_atime_ns, changed.stat().st_mtime_ns + 1
    png(changed, np.zeros((16, 16), np.uint8))
    os.utime(changed, ns=times)
    assert judged(subject(tmp_path), thorough=False) != first
    assert kept(tmp_path) > names


@pytest.mark.parametrize("change", [{"window": (0, 200)}, {"resolution": 32}, {"channels": 3}, {"count": 10}])
def test_other_settings_are_other_statistics(change: dict, tmp_path: Path):
    pngs(tmp_path / "real", 26)
    pngs(tmp_path / "fake", 14, seed=1)
    one, other = subject(tmp_path).origin, subject(tmp_path, **change).origin
    assert one is not None
    assert other is not None
    assert (one.content, one.chosen) != (other.content, other.chosen)


def test_a_broken_file_is_told_of_every_time(tmp_path: Path):
    pngs(tmp_path / "real", 4)
    pngs(tmp_path / "fake", 4)
    (tmp_path / "fake" / "broken.png").write_bytes(b"no image")
    for _ in range(2):
        assert any("broken.png was left out: not an image" in line for line in subject(tmp_path).warnings)


# ----------------------------------------------------------------------------------------------------------- classes


def test_subfolders_of_equal_names_are_classes(tmp_path: Path):
    for side, count in (("real", 8), ("fake", 3)):
        for seed, name in enumerate(("Cyst", "Tumor", f"only {side}")):
            pngs(tmp_path / side / name, count, seed=seed)
    found = subject(tmp_path)
    assert sorted(found.classes) == ["Cyst", "Tumor"]
    sets = found.classes["Tumor"]
    assert {name.partition("/")[0] for name, _ in views_of(sets.reference) + views_of(sets.fake)} == {"Tumor"}
    assert len(views_of(sets.fake)) == 3
    halves = [set(views_of(side)) for side in (sets.reference, sets.held_out)]
    assert not halves[0] & halves[1]
    assert len(halves[0] | halves[1]) == 8


def test_one_common_subfolder_or_very_many_are_no_classes(tmp_path: Path):
    for side in ("real", "fake"):
        pngs(tmp_path / side / "a", 3)
    assert subject(tmp_path).classes == {}
    for side in ("real", "fake"):
        for number in range(21):
            pngs(tmp_path / side / f"p{number}", 1)
    assert subject(tmp_path).classes == {}


def test_a_manifest_names_the_classes_that_folders_cannot_spell(tmp_path: Path):
    pngs(tmp_path / "real" / "a:b", 4)
    pngs(tmp_path / "real" / "c", 4)
    labels = {"n0": "a:b", "n1": "a:b", "n2": "c"}
    exported(tmp_path / "fake", torch.rand(4, 1, 16, 16), format="png", ranges=[[0.0, 1.0]], **labels)
    assert (tmp_path / "fake" / "a_b").is_dir()
    classes = subject(tmp_path).classes
    assert {name: len(views_of(sets.fake)) for name, sets in classes.items()} == {"a:b": 2, "c": 1}


# ---------------------------------------------------------------------------------------------------------- mistakes


def test_nothing_readable_is_one_line(tmp_path: Path):
    pngs(tmp_path / "real", 4)
    for number in range(3):
        pngs(tmp_path / "fake", 0).mkdir(exist_ok=True)
        (tmp_path / "fake" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"fake=.* holds 0 readable images; judging needs at least 2 \(.*empty file\)"):
        subject(tmp_path)


def test_values_that_are_no_numbers_leave_their_volume_out_without_a_remedy_of_preparing(tmp_path: Path):
    volumes(tmp_path / "real", 3)
    volumes(tmp_path / "fake", 2)
    nifti(tmp_path / "fake" / "w.nii.gz", np.where(noise(16, 16, 5) > 290, np.nan, 0).astype(np.float32))
    (line,) = [line for line in subject(tmp_path, window=(-300, 300)).warnings if "w.nii.gz was left out" in line]
    assert line.endswith("are NaN or infinite")


def test_colour_in_dicom_is_refused_with_the_remedy(tmp_path: Path):
    for side in ("real", "fake"):
        for k in range(2):
            pixels = np.zeros((1, 16, 16, 3), np.uint8)
            dicom(tmp_path / side / f"{k}.dcm", pixels, Modality="US", SOPInstanceUID=f"1.2.{k}")
    with pytest.raises(UserError, match=r"a colour DICOM object; give such images as PNG"):
        subject(tmp_path)


def test_volumes_of_several_sizes_need_a_resolution(tmp_path: Path):
    volumes(tmp_path / "real", 3)
    volumes(tmp_path / "fake", 2)
    nifti(tmp_path / "fake" / "w.nii.gz", noise(20, 20, 3).astype(np.int16))
    with pytest.raises(UserError, match=r"v0.nii.gz is 16x16 and .*w.nii.gz is 20x20; set resolution=N"):
        subject(tmp_path)
    assert tensor(subject(tmp_path, resolution=32).fake).shape[1:] == (1, 32, 32)


def test_one_readable_image_is_one(tmp_path: Path):
    pngs(tmp_path / "real", 4)
    pngs(tmp_path / "fake", 1)
    (tmp_path / "fake" / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="holds 1 readable image; judging needs at least 2"):
        subject(tmp_path)


def test_it_is_known_what_stands_for_a_patient(tmp_path: Path):
    volumes(tmp_path / "real", 6)
    volumes(tmp_path / "fake", 3, seed=1)
    assert subject(tmp_path).patients.drawn(10)["drawn"] == "volumes"
    pngs(tmp_path / "flat" / "real", 4)
    pngs(tmp_path / "flat" / "fake", 4)
    assert subject(tmp_path / "flat").patients.drawn(2) == {"drawn": "images", "n_drawn": 2}
