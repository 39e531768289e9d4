"""Folders of any kind are listed as pictures, and what cannot be judged is refused in a line."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom, series
from folder_files import nifti, noise, png, pngs, volumes

from medsynth.errors import UserError
from medsynth.folders.views import check_alike, common_side, find, runs


def test_images_come_by_folder_and_file_number_without_the_masks_beside_them(tmp_path: Path):
    pngs(tmp_path / "b", 11)
    pngs(tmp_path / "a", 2)
    png(tmp_path / "a" / "slice (0)_mask.png", np.zeros((16, 16), np.uint8))
    found = find("real", tmp_path)
    assert [view.name for view in found.views[:4]] == ["a/slice (0)", "a/slice (1)", "b/slice (0)", "b/slice (1)"]
    assert found.views[-1].name == "b/slice (10)"
    assert found.views[0].mask == tmp_path / "a" / "slice (0)_mask.png"
    assert found.notes == ["real: 1 masks beside their images (*_mask) are not judged as images"]
    assert not found.grouped


def test_a_volume_gives_its_axial_slices_as_one_group(tmp_path: Path):
    volumes(tmp_path, 2, slices=5)
    nifti(tmp_path / "v0_mask.nii.gz", np.zeros((16, 16, 5), np.uint8))
    found = find("real", tmp_path)
    assert [(view.name, view.number) for view in found.views] == [(f"v{v}", k) for v in range(2) for k in range(5)]
    assert {view.group for view in found.views} == {"v0", "v1"}
    assert [view.mask is not None for view in found.views] == [True] * 5 + [False] * 5
    assert found.grouped
    assert "real: 10 images are axial slices of volumes" in found.notes


def test_volumes_that_call_themselves_masks_are_no_images_unless_all_do(tmp_path: Path):
    volumes(tmp_path / "a", 2, slices=3)
    nifti(tmp_path / "a" / "v1_seg.nii.gz", np.zeros((16, 16, 3), np.uint8))
    nifti(tmp_path / "a" / "labels" / "v0.nii.gz", np.zeros((16, 16, 3), np.uint8))
    found = find("real", tmp_path / "a")
    assert {view.name for view in found.views} == {"v0", "v1"}
    assert [view.mask.name for view in found.views if view.mask] == ["v1_seg.nii.gz"] * 3
    assert "real: 2 volumes that call themselves masks (labels/v0.nii.gz) are not judged" in found.notes
    assert len(find("real", volumes(tmp_path / "segmentation", 2, slices=3).parent / "segmentation").views) == 6
    assert len(find("fake", volumes(tmp_path / "b" / "masks", 2, slices=3).parent).views) == 6


def test_axial_slices_are_found_wherever_the_affine_puts_them(tmp_path: Path):
    swapped = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=float)
    nifti(tmp_path / "v.nii", noise(12, 7, 10).astype(np.int16), affine=swapped)
    assert [view.size for view in find("real", tmp_path).views] == [(12, 10)] * 7


@pytest.mark.parametrize("shape", [(16, 12), (16, 12, 1), (16, 1, 12), (1, 16, 12)])
def test_flat_volumes_are_single_images_in_whatever_plane(shape: tuple[int, ...], tmp_path: Path):
    for number in range(2):
        nifti(tmp_path / f"{number}.nii.gz", noise(*shape, seed=number).astype(np.float32))
    found = find("real", tmp_path)
    assert [view.slices for view in found.views] == [1, 1]
    assert {frozenset(view.size or ()) for view in found.views} == {frozenset((16, 12))}
    assert not found.grouped


def test_series_without_endings_are_groups_in_order_of_place(tmp_path: Path):
    for seed in (1, 2, 3):
        series(tmp_path / f"p{seed}", seed=seed)
    (tmp_path / "README").write_text("no image")
    found = find("real", tmp_path)
    assert found.kind == "DICOM"
    assert found.modality == "CT"
    assert found.patients
    assert [view.name for view in found.views[:4]] == [f"p1/IM{k:04d}" for k in range(4)]
    assert [len({v.group for v in found.views[i : i + 4]}) for i in (0, 4, 8)] == [1, 1, 1]
    assert len({view.group for view in found.views}) == 3


def test_series_of_one_anonymous_patient_are_groups(tmp_path: Path):
    for seed in (1, 2):
        series(tmp_path / f"p{seed}", seed=seed, PatientID="ANON")
    found = find("real", tmp_path)
    assert not found.patients
    assert {view.group for view in found.views} == {"p1/IM0000", "p2/IM0000"}


def test_a_folder_of_several_kinds_is_refused(tmp_path: Path):
    pngs(tmp_path, 3)
    volumes(tmp_path, 2)
    with pytest.raises(UserError, match=r"real=.* holds 3 image files \(.*png\) and 2 NIfTI files \(v0.nii.gz\)"):
        find("real", tmp_path)


def test_folders_of_different_kinds_or_modalities_are_refused(tmp_path: Path):
    images, cut = find("real", pngs(tmp_path / "a", 2)), find("fake", volumes(tmp_path / "b", 2))
    with pytest.raises(UserError, match=r"real=.* holds image files and fake=.* NIfTI files: their values are of"):
        check_alike([images, cut])
    series(tmp_path / "ct")
    series(tmp_path / "mr", seed=1, Modality="MR")
    ct, mr = find("real", tmp_path / "ct"), find("fake", tmp_path / "mr")
    with pytest.raises(UserError, match=r"holds CT and fake=.*/mr MR; give both of one modality"):
        check_alike([ct, mr])
    assert check_alike([ct, cut])
    assert not check_alike([ct, ct])


def test_several_modalities_in_one_folder_are_refused(tmp_path: Path):
    series(tmp_path / "ct")
    series(tmp_path / "mr", seed=1, Modality="MR")
    with pytest.raises(UserError, match=r"real=.*CT \(4 objects\), MR \(4 objects\); give a folder of one modality"):
        find("real", tmp_path)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pictures_are_refused(count: int, tmp_path: Path):
    pngs(tmp_path / "real", count).mkdir(exist_ok=True)
    with pytest.raises(UserError, match=rf"real=.* holds {count} images?; judging needs at least 2"):
        find("real", tmp_path / "real")


def test_unreadable_volumes_and_objects_are_named_with_their_reason(tmp_path: Path):
    volumes(tmp_path / "n", 2)
    (tmp_path / "n" / "broken.nii.gz").write_bytes(b"")
    assert any("broken.nii.gz was left out: " in note for note in find("real", tmp_path / "n").notes)
    files = series(tmp_path / "d")
    files[2].write_bytes(files[2].read_bytes()[:-100])
    found = find("real", tmp_path / "d")
    assert len(found.views) == 3
    assert any("IM0002 was left out: truncated" in note for note in found.notes)


def test_two_sizes_are_named_with_the_remedy(tmp_path: Path):
    pngs(tmp_path / "a", 2)
    pngs(tmp_path / "b", 2, side=24)
    with pytest.raises(
        UserError, match=r"a/slice \(0\).png is 16x16 and .*b/slice \(0\).png is 24x24; set resolution=N"
    ):
        common_side([find("real", tmp_path / "a"), find("fake", tmp_path / "b")])


def test_views_of_one_file_that_rise_are_one_run(tmp_path: Path):
    views = find("real", volumes(tmp_path, 2, slices=3)).views
    assert [len(run) for run in runs(views)] == [3, 3]
    assert [len(run) for run in runs([views[1], views[0], views[2], views[4]])] == [1, 2, 1]


def test_a_frame_of_an_object_has_its_number(tmp_path: Path):
    pixels = noise(3, 16, 16).astype(np.int16)
    dicom(tmp_path / "a.dcm", pixels, Modality="NM", ImagePositionPatient=None, ImageOrientationPatient=None)
    views = find("real", tmp_path).views
    assert [(view.name, view.number, view.slices, view.shown) for view in views][2] == ("a", 2, 3, "a.dcm, slice 3")
