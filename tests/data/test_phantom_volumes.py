import csv
import gzip
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import SpatialImage
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut

from medsynth.data.phantoms import write_phantoms
from medsynth.data.phantoms.canvas import Canvas, Plane, Solid, stream
from medsynth.data.phantoms.contrasts import Tones
from medsynth.data.phantoms.volumes import HEAD, Abdomen, Frame, Patient, Volume

LAYOUTS = ("bids", "brats", "dicom", "lits", "nifti", "oasis", "openneuro", "ppmi", "unpaired")
TUMOUR_LABELS = (1, 2, 4)  # of BraTS: necrosis, oedema, enhancing tumour


def contents(folder: Path) -> dict[str, bytes]:
    """Files below a folder; gzip members are unpacked, because libraries of other versions pack them otherwise."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    unpacked = {path: gzip.decompress(data) if path.suffix == ".gz" else data for path, data in read(files)}
    return {path.relative_to(folder).as_posix(): data for path, data in unpacked.items()}


def images(found: dict[str, bytes]) -> list[str]:
    return [path for path in found if Path(path).suffix not in {".csv", ".tsv", ".json", ".hdr"}]


def read(files: list[Path]) -> list[tuple[Path, bytes]]:
    return [(path, path.read_bytes()) for path in files]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    """Two patients of each layout."""

    @cache
    def write(name: str, patients: int = 2) -> Path:
        folder = tmp_path_factory.mktemp(f"{name}-{patients}")
        write_phantoms(name, folder, patients=patients, size=32, seed=1)
        return folder

    return write


@cache
def tumour_head(index: int = 0) -> Volume:
    patient = Patient.random(stream(3, index), "glioma")
    return patient.volume(stream(4, index), ("t1", "t1ce", "t2", "flair"), size=48, frame=HEAD, style="brain")


@cache
def belly(index: int = 0) -> Volume:
    patient = Abdomen.random(stream(5, index), has_metastases=True)
    return patient.volume(stream(6, index), size=64, slices=12)


def opened(path: Path) -> SpatialImage:
    image = nibabel.load(path)
    assert isinstance(image, SpatialImage)
    return image


def voxels(path: Path) -> np.ndarray:
    return np.asarray(opened(path).dataobj)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_seed_writes_the_same_patients_however_many_follow(name: str, written) -> None:
    few, many = contents(written(name, 1)), contents(written(name))
    assert images(few)
    assert len(many) > len(few)
    assert all(many[path] == few[path] for path in images(few))


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_seed_writes_other_images_at_the_smallest_size_too(name: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_phantoms(name, tmp_path / str(seed), patients=1, size=16, seed=seed)
    one, two = (contents(tmp_path / str(seed)) for seed in (1, 2))
    assert images(one)
    assert not {one[path] for path in images(one)} & {two[path] for path in images(two)}


def test_compressed_files_carry_no_time_and_no_name(written) -> None:
    files = list(written("lits").rglob("*.gz"))
    assert files
    assert {path.read_bytes()[3:8] for path in files} == {bytes(5)}  # flags, then four bytes of the time


@pytest.mark.parametrize("index", range(4))
def test_a_liver_has_the_hu_of_liver_and_its_lesions_are_darker(index: int) -> None:
    hu, labels = belly(index).images["ct"], belly(index).labels
    liver, lesion = hu[labels == 1], hu[labels == 2]
    assert 45 < np.median(liver) < 130
    assert (np.abs(liver - np.median(liver)) < 80).mean() > 0.9
    assert lesion.size > 10
    assert np.median(lesion) < np.median(liver) - 10
    cubic_cm = (labels > 0).sum() * abs(np.linalg.det(belly(index).affine)) / 1000.0
    assert 700 < cubic_cm < 4500


def test_labels_mark_what_was_painted_and_later_paint_takes_them_away() -> None:
    plane = Plane.axial(100, side_cm=10.0, centre=(0.0, 0.0), level=0.0)
    labels = np.zeros((100, 100), np.uint8)
    canvas = Canvas(plane, np.zeros((2, 100, 100), np.float32), labels)
    canvas.labelled(7).fill(Solid((0.0, 0.0, 0.0), (3.0, 3.0, 3.0)), np.array([[[10.0]], [[20.0]]], np.float32))
    canvas.fill(Solid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 5.0)
    assert (labels == 7).sum() == pytest.approx(np.pi * (9 - 1) * 100, rel=0.01)
    inner = labels == 7
    inner &= np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    assert set(np.unique(canvas.image[0][inner])) == {10.0}
    assert set(np.unique(canvas.image[1][inner])) == {20.0}


@pytest.mark.parametrize("kind", ["ct", "t1", "flair"])
def test_neighbouring_slices_correlate_more_than_distant_ones_and_their_noise_differs(kind: str) -> None:
    image = (belly() if kind == "ct" else tumour_head()).images[kind]
    middle = image.shape[2] // 2
    flat = image.reshape(-1, image.shape[2]).astype(np.float64)
    slices = flat.T[[middle, middle + 1, middle + image.shape[2] // 3]]
    correlation = np.asarray(np.corrcoef(slices))
    assert correlation[0, 1] > 0.8
    assert correlation[0, 1] > correlation[0, 2] + 0.01
    assert (image[:, :, middle] != image[:, :, middle + 1]).mean() > 0.2


def test_the_contrasts_of_one_head_are_registered_and_differ_as_they_should() -> None:
    head = tumour_head()
    nothing = [image == 0 for image in head.images.values()]
    assert all((image[head.labels == 0] == 0).all() for image in head.images.values())
    assert np.mean(nothing[0] == nothing[2]) > 0.99

    def level(contrast: str, label: int) -> float:
        return float(np.median(head.images[contrast][head.labels == label]))

    fluid, grey, white, necrosis, oedema, tumour = range(1, 7)
    assert level("t1", white) > level("t1", grey) > level("t1", fluid)
    assert level("t2", fluid) > level("t2", grey) > level("t2", white)
    assert level("flair", oedema) > 1.5 * level("flair", white)
    assert level("flair", fluid) < level("flair", white)
    assert level("t1ce", tumour) > 1.5 * level("t1ce", white)
    assert level("t1ce", necrosis) < 0.5 * level("t1ce", tumour)
    assert level("t1", tumour) < level("t1", white)


def test_one_contrast_alone_is_painted_as_together_with_others() -> None:
    alone, both = Tones.of(["t2"]), Tones.of(["t1", "t2"])
    assert all(np.array_equal(one[0], two[1]) for one, two in zip(alone, both, strict=True))


def test_heads_differ_in_gain_and_are_unevenly_bright() -> None:
    whites = []
    for index in range(6):
        patient = Patient.random(stream(8, index), "notumor")
        head = patient.volume(stream(9, index), ["t1"], size=24, frame=HEAD, style="brain")
        whites.append(head.images["t1"][head.labels == 3])
    medians = [float(np.median(white)) for white in whites]
    assert max(medians) > 2 * min(medians)
    assert all(white.std() > 0.03 * white.mean() for white in whites)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PSR", "LAI"])
def test_reorienting_a_volume_moves_no_voxel_in_the_patient(codes: str) -> None:
    volume = Volume(
        {"ct": np.arange(60, dtype=np.int16).reshape(3, 4, 5)}, np.zeros((3, 4, 5), np.uint8), belly().affine
    )
    turned = volume.oriented(codes).tilted(10.0)
    assert aff2axcodes(turned.affine) == tuple(codes)
    straight = volume.oriented(codes)
    for value in (0, 17, 59):
        before = volume.affine @ (*np.argwhere(volume.images["ct"] == value)[0], 1)
        after = straight.affine @ (*np.argwhere(straight.images["ct"] == value)[0], 1)
        np.testing.assert_allclose(after, before)


def test_affines_point_to_the_patients_left_back_and_feet() -> None:
    hu, affine, spacing = belly().images["ct"], belly().affine, np.linalg.norm(belly().affine[:3, :3], axis=0)
    assert aff2axcodes(affine) == ("L", "P", "I")
    liver = (affine @ (*np.argwhere(belly().labels == 1).mean(0), 1))[:3]
    middle = (affine @ (*np.argwhere(hu > -200).mean(0), 1))[:3]
    assert liver[0] > middle[0] + 20  # on the patient's right, which is +x in RAS
    assert liver[1] > middle[1]  # before the spine
    assert liver[2] > middle[2]  # towards the head
    width = spacing[0] * (hu > -200).any((1, 2)).sum()
    assert 250 < width < 420


def test_frames_have_the_proportions_of_the_genuine_sets() -> None:
    head = Patient.random(stream(1), "notumor").anatomy
    genuine = Frame(side_cm=24.0, width_cm=24.0, length_cm=15.5, above_cm=0.6).grid(head, 240)
    assert (genuine.columns, genuine.size, genuine.slices) == (240, 240, 155)
    np.testing.assert_allclose(np.abs(np.diag(genuine.affine)[:3]), 1.0)


def test_lits_pairs_have_one_grid_mixed_orientations_and_thick_slices(tmp_path: Path) -> None:
    write_phantoms("lits", tmp_path, patients=6, size=32, seed=0)
    codes, lesions, least = set(), [], []
    for number in range(6):
        (volume,) = tmp_path.glob(f"volume-{number}.nii*")
        (segmentation,) = tmp_path.glob(f"segmentation-{number}.nii*")
        image, mask = opened(volume), opened(segmentation)
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert image.shape == mask.shape == (32, 32, 8)
        assert image.get_data_dtype() == np.int16
        assert image.header.get_zooms()[2] > 1.5 * image.header.get_zooms()[0]
        codes.add(aff2axcodes(image.affine))
        lesions.append((voxels(segmentation) == 2).any())
        least.append(int(voxels(volume).min()))
    assert codes == {tuple("LAS"), tuple("LPS"), tuple("RAS")}
    assert [number for number, has in enumerate(lesions) if not has] == [2]
    assert least == [-1024] * 4 + [-3024, -1024]
    assert sorted(path.name for path in tmp_path.glob("*.nii")) == [
        f"{stem}-{number}.nii" for stem in ("segmentation", "volume") for number in (1, 4)
    ]


def test_a_round_field_of_view_is_padded_outside_and_nowhere_else() -> None:
    volume = Abdomen.random(stream(2), has_metastases=False).volume(stream(3), size=40, slices=8, is_round=True)
    outside = volume.images["ct"] == -3024
    steps = np.arange(40) - 19.5
    circle = np.hypot(steps[:, None], steps[None, :]) > 20
    assert (outside == circle[:, :, None]).all()


def test_brats_cases_hold_four_contrasts_and_a_segmentation_on_one_grid(written) -> None:
    for case in ("BraTS20_Training_001", "BraTS20_Training_002"):
        files = sorted((written("brats") / case).iterdir())
        assert [path.name for path in files] == [f"{case}_{k}.nii.gz" for k in ("flair", "seg", "t1", "t1ce", "t2")]
        images = [opened(path) for path in files]
        assert {image.shape for image in images} == {(32, 32, 21)}
        assert {aff2axcodes(image.affine) for image in images} == {tuple("LPS")}
        np.testing.assert_allclose(images[0].header.get_zooms(), 7.5)
        assert set(np.unique(voxels(files[1]))) == {0, *TUMOUR_LABELS}
        flair, seg = voxels(files[0]), voxels(files[1])
        assert np.median(flair[seg == 2]) > 1.3 * np.median(flair[(flair > 0) & (seg == 0)])


def test_oasis_has_analyze_pairs_and_a_table_in_which_fluid_grows_with_the_rating(written) -> None:
    home = written("oasis")
    with (home / "oasis_cross-sectional.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["ID", "M/F", "Hand"]
    assert len(rows) == 10
    fluid: dict[str, list[float]] = {}
    for row in rows:
        stem = f"{row['ID']}_mpr_n4_anon_111_t88_masked_gfc"
        image = home / row["ID"] / "PROCESSED" / "MPRAGE" / "T88_111" / f"{stem}.img"
        classes = voxels(home / row["ID"] / "FSL_SEG" / f"{stem}_fseg.img")
        assert voxels(image).shape == classes.shape == (27, 32, 27, 1)
        assert (voxels(image)[classes == 0] == 0).all()
        assert set(np.unique(classes)) == {0, 1, 2, 3}
        fluid.setdefault(row["CDR"], []).append(float((classes == 1).sum() / (classes > 0).sum()))
    means = [float(np.mean(fluid[rating])) for rating in ("", "0", "0.5", "1", "2")]
    assert means == sorted(means)


def test_the_table_of_ppmi_names_every_image_by_its_folder(tmp_path: Path) -> None:
    write_phantoms("ppmi", tmp_path, patients=3, size=16, seed=0)
    with (tmp_path / "PPMI_11_21_2020.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {(row["Subject"], row["Image Data ID"]) for row in rows}
    found = {(path.parts[-5], path.parts[-2]) for path in tmp_path.rglob("*.nii")}
    assert named == found
    assert len(rows) == 8  # the third of each group came twice
    groups = {subject: {row["Group"] for row in rows if row["Subject"] == subject} for subject, _ in named}
    assert sorted(map(sorted, groups.values())) == [["Control"]] * 3 + [["PD"]] * 3
    assert all(path.name.startswith(f"PPMI_{path.parts[-5]}_MR_MPRAGE_") for path in tmp_path.rglob("*.nii"))


def test_bids_subjects_have_t1w_t2w_a_mask_and_a_row(written) -> None:
    home = written("bids")
    rows = [line.split("\t") for line in (home / "participants.tsv").read_text().splitlines()]
    assert rows[0] == ["participant_id", "age", "sex", "group"]
    assert {row[3] for row in rows[1:]} == {"control", "patient"}
    assert [row[0] for row in rows[1:]] == sorted(path.name for path in home.glob("sub-*"))
    for subject, *_ in rows[1:]:
        anat = home / subject / "anat"
        assert sorted(path.name for path in anat.iterdir()) == [f"{subject}_{k}.nii.gz" for k in ("T1w", "T2w")]
        mask = opened(home / "derivatives" / "labels" / subject / "anat" / f"{subject}_T1w_seg-manual.nii.gz")
        image = opened(anat / f"{subject}_T1w.nii.gz")
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert image.affine is not None
        assert np.abs(image.affine[:3, :3]).min(0).max() < 1.2  # nearly straight
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}


def test_openneuro_subjects_have_sessions(written) -> None:
    home = written("openneuro")
    sessions = {path.name: sorted(p.name for p in path.iterdir()) for path in home.glob("sub-*")}
    assert sessions["sub-01"] == ["ses-1"]
    assert sessions["sub-03"] == ["ses-1", "ses-2"]
    assert (home / "sub-03" / "ses-2" / "anat" / "sub-03_ses-2_T1w.nii.gz").is_file()


def test_nifti_classes_have_masks_beside_the_images(written) -> None:
    for name, labels in (("glioma", {0, 1, 2}), ("normal", {0, 1})):
        files = sorted(path.name for path in (written("nifti") / name).iterdir())
        assert len(files) == 4
        for image, mask in zip(files[::2], files[1::2], strict=True):
            assert mask == image.replace(".nii.gz", "_seg.nii.gz")
            assert set(np.unique(voxels(written("nifti") / name / mask))) == labels


def test_unpaired_domains_are_8_bit_slices_of_different_heads(written) -> None:
    pictures = {d: [np.asarray(Image.open(p)) for p in sorted((written("unpaired") / d).glob("*/*"))] for d in "AB"}
    assert {image.dtype for images in pictures.values() for image in images} == {np.dtype(np.uint8)}
    assert len(pictures["A"]) == len(pictures["B"]) == 24
    assert all(image.shape == (32, 24) for image in pictures["A"])
    names = {d: {p.name for p in (written("unpaired") / d).iterdir()} for d in "AB"}
    assert not names["A"] & names["B"]
    fat = [np.mean([np.quantile(image, 0.97) > 240 for image in pictures[d]]) for d in "AB"]
    assert fat[0] > fat[1]  # the scalp is the brightest in T1


def series_of(home: Path) -> list[pydicom.Dataset]:
    datasets = [pydicom.dcmread(path) for path in sorted(home.iterdir())]
    return sorted(datasets, key=lambda dataset: -float(dataset.ImagePositionPatient[2]))


def test_dicom_series_store_one_body_in_the_ways_that_scanners_differ(tmp_path: Path) -> None:
    write_phantoms("dicom", tmp_path, patients=4, size=32, seed=3)
    homes = sorted(tmp_path.glob("*/*"))
    assert [home.relative_to(tmp_path).as_posix() for home in homes] == [
        "PHANTOM-001/CT_1", "PHANTOM-002/CT_1", "PHANTOM-003/CT_1", "PHANTOM-003/CT_2", "PHANTOM-004/CT_1",
    ]  # fmt: skip
    ways, names = set(), set()
    for home in homes:
        series = series_of(home)
        first = series[0]
        assert len(series) == 8
        assert {dataset.PatientID for dataset in series} == {home.parent.name}
        assert len({dataset.SOPInstanceUID for dataset in series}) == 8
        assert {dataset.SeriesInstanceUID for dataset in series} == {first.SeriesInstanceUID}
        steps = -np.diff([float(dataset.ImagePositionPatient[2]) for dataset in series])
        np.testing.assert_allclose(steps, float(first.SliceThickness), atol=1e-3)
        hu = np.stack([apply_modality_lut(dataset.pixel_array, dataset) for dataset in series])
        assert hu.min() == -1024
        assert 300 < hu.max() < 3072
        upright = hu if first.ImageOrientationPatient[4] > 0 else hu[:, ::-1]
        bright = (upright > 250).mean((0, 2))
        assert bright[16:].sum() > bright[:16].sum()  # the spine lies at the back
        ways.add((first.PixelRepresentation, first.ImageOrientationPatient[4], first.file_meta.TransferSyntaxUID.name))
        names.add(sorted(home.iterdir())[0].name)
    assert {way[0] for way in ways} == {0, 1}
    assert {way[1] for way in ways} == {1, -1}
    assert {way[2] for way in ways} == {"Explicit VR Little Endian", "RLE Lossless"}
    assert names == {"IM0001", "1-001.dcm"}
    both = [series_of(home)[0] for home in homes[2:4]]
    assert both[0].StudyInstanceUID == both[1].StudyInstanceUID
    assert both[0].SeriesInstanceUID != both[1].SeriesInstanceUID
