import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsynth.data.phantoms import NAMES, brain_tumor_mri, canvas, kidney_ct, write_phantoms
from medsynth.errors import UserError

ARCHIVE = Path(kidney_ct.ARCHIVE)
KIDNEY_CLASSES = ("Cyst", "Normal", "Stone", "Tumor")


def number(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[-1])


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def kidneys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kidney")
    write_phantoms("kidney_ct", folder, patients=3, size=48, seed=1)
    return folder


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brain")
    write_phantoms("brain_tumor_mri", folder, patients=5, size=48, seed=1)
    return folder


def patient(finding: str, *, index: int = 0, is_axial: bool = True) -> kidney_ct.Patient:
    return kidney_ct.Patient.random(canvas.stream(7, index), finding, is_axial=is_axial)  # type: ignore[arg-type]


def without_lesion(sick: kidney_ct.Patient) -> kidney_ct.Patient:
    return replace(sick, kidneys=replace(sick.kidneys, finding="normal", lesions=()))


def middle_level(person: kidney_ct.Patient) -> float:
    return person.scan.levels[len(person.scan.levels) // 2]


def test_kidney_files_lie_in_the_doubly_nested_class_folders_under_consecutive_numbers(kidneys: Path) -> None:
    home = kidneys / ARCHIVE / ARCHIVE
    assert sorted(p.name for p in home.iterdir()) == list(KIDNEY_CLASSES)
    for name in KIDNEY_CLASSES:
        files = sorted((home / name).iterdir(), key=number)
        assert [p.name for p in files] == [f"{name}- ({k}).jpg" for k in range(1, len(files) + 1)]
        assert 3 * 24 <= len(files) <= 3 * 40
        with Image.open(files[0]) as image:
            assert (image.size, image.mode, image.format) == ((48, 48), "L", "JPEG")


def test_the_kidney_csv_names_every_image_with_capital_folders_as_the_genuine_one_does(kidneys: Path) -> None:
    with (kidneys / ARCHIVE / "kidneyData.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["Unnamed: 0", "image_id", "path", "diag", "target", "Class"]
    stems = {p.stem for p in kidneys.rglob("*.jpg")}
    assert {row["image_id"] for row in rows} == stems
    assert len(rows) == len(stems)
    assert rows[0]["path"] == f"{ARCHIVE}/CYST/Cyst- (1).jpg"
    assert {(row["Class"], row["target"]) for row in rows} == {(n, str(k)) for k, n in enumerate(KIDNEY_CLASSES)}


def test_neighbouring_kidney_slices_correlate_and_patients_break_the_series(kidneys: Path) -> None:
    for name in KIDNEY_CLASSES:
        files = sorted((kidneys / ARCHIVE / ARCHIVE / name).iterdir(), key=number)
        flat = np.stack([np.asarray(Image.open(p), np.float64).ravel() for p in files])
        unit = flat - flat.mean(1, keepdims=True)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        neighbours = np.sort((unit[1:] * unit[:-1]).sum(1))
        assert neighbours[1] < 0.8  # the two borders between three patients
        assert neighbours[2] > 0.85  # everything within a patient


def test_brain_files_lie_in_training_and_testing_class_folders(brains: Path) -> None:
    for place, prefix, count in (("Training", "Tr", 32), ("Testing", "Te", 8)):
        for name in ("glioma", "meningioma", "notumor", "pituitary"):
            files = sorted(p.name for p in (brains / place / name).iterdir())
            assert files == [f"{prefix}-{name[:2]}_{k:04d}.jpg" for k in range(count)]


def test_brain_patients_of_testing_are_others_than_those_of_training(brains: Path) -> None:
    def thumbnails(place: str) -> np.ndarray:
        flat = np.stack([np.asarray(Image.open(p), np.float64).ravel() for p in (brains / place).rglob("*.jpg")])
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    assert (thumbnails("Testing") @ thumbnails("Training").T).max() < 0.98


@pytest.mark.parametrize("patients", [1, 2])
def test_the_smallest_brain_sets_still_have_training_and_testing(tmp_path: Path, patients: int) -> None:
    write_phantoms("brain_tumor_mri", tmp_path, patients=patients, size=16, seed=0)
    assert len(list(tmp_path.glob("Training/*/*.jpg"))) == len(list(tmp_path.glob("Testing/*/*.jpg"))) == 32


def test_the_same_seed_writes_the_same_kidneys_however_many_patients_follow(kidneys: Path, tmp_path: Path) -> None:
    write_phantoms("kidney_ct", tmp_path, patients=1, size=48, seed=1)
    few, many = bytes_below(tmp_path), bytes_below(kidneys)
    assert len(few) > 4 * 24
    assert all(many[path] == content for path, content in few.items() if path.endswith("jpg"))


def test_the_same_seed_writes_the_same_brains(brains: Path, tmp_path: Path) -> None:
    write_phantoms("brain_tumor_mri", tmp_path, patients=5, size=48, seed=1)
    assert bytes_below(tmp_path) == bytes_below(brains)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_writes_other_images(name: str, kidneys: Path, brains: Path, tmp_path: Path) -> None:
    write_phantoms(name, tmp_path, patients=1, size=48, seed=2)
    known = set(bytes_below(kidneys).values()) | set(bytes_below(brains).values())
    assert not known & {content for path, content in bytes_below(tmp_path).items() if path.endswith("jpg")}


@pytest.mark.parametrize("is_axial", [True, False])
@pytest.mark.parametrize("finding", ["cyst", "stone", "tumor"])
def test_a_kidney_lesion_changes_the_picture_where_it_lies_and_nowhere_else(finding: str, is_axial: bool) -> None:
    sick = patient(finding, is_axial=is_axial)
    level = middle_level(sick)
    difference = np.abs(sick.slice_hu(96, level) - without_lesion(sick).slice_hu(96, level)) > 20
    assert 0.001 < difference.mean() < 0.15


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_stone_is_white_where_the_kidney_is_not(index: int) -> None:
    sick = patient("stone", index=index)
    level = middle_level(sick)
    with_it, without = sick.slice_hu(96, level), without_lesion(sick).slice_hu(96, level)
    there = with_it - without > 100
    assert with_it[there].max() > 500
    assert without[there].max() < 300


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_cyst_is_even_and_as_dark_as_water(index: int) -> None:
    sick = patient("cyst", index=index)
    sick = replace(sick, scan=replace(sick.scan, roll_degrees=0.0))
    level = middle_level(sick)
    image = sick.slice_hu(96, level)
    core = canvas.Canvas(sick.scan.plane(96, level), image).patch(sick.kidneys.lesions[0].scaled(0.6))
    assert core is not None
    assert np.abs(image[core.window][core.mask > 0.99]).max() < 15


@pytest.mark.parametrize("finding", ["glioma", "meningioma", "pituitary"])
def test_a_brain_tumour_enhances(finding: str) -> None:
    sick = brain_tumor_mri.Patient.random(canvas.stream(5, 0), finding)  # type: ignore[arg-type]
    level = sick.levels[len(sick.levels) // 2]
    gain = sick.slice_grey(96, level) - replace(sick, lesion=None).slice_grey(96, level)
    assert (gain > 40).mean() > 0.002
    assert (np.abs(gain) > 5).mean() < 0.25


def test_the_window_maps_its_ends_to_black_and_white() -> None:
    scan = replace(patient("normal").scan, window=(50.0, 400.0))
    np.testing.assert_allclose(scan.grey(np.array([-1000.0, -150.0, 50.0, 250.0, 900.0])), [0, 0, 127.5, 255, 255])


def test_an_unknown_phantom_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'chest'.*brain_tumor_mri, .*kidney_ct"):
        write_phantoms("chest", tmp_path, patients=1)


@pytest.mark.parametrize(("key", "value"), [("patients", 0), ("size", 8), ("seed", -1)])
def test_numbers_out_of_range_are_refused_by_name(tmp_path: Path, key: str, value: int) -> None:
    numbers = {"patients": 1, "size": 32, "seed": 0} | {key: value}
    with pytest.raises(UserError, match=f"{key}={value}"):
        write_phantoms("kidney_ct", tmp_path, **numbers)


def painted_area(solid: canvas.Solid, plane: canvas.Plane) -> float:
    patch = canvas.Canvas(plane, np.zeros((200, 200), np.float32)).patch(solid)
    return 0.0 if patch is None else float(patch.mask.sum()) * plane.pixel_cm**2


def test_a_turned_ellipsoid_has_the_area_of_its_sections() -> None:
    solid = canvas.Solid((1.0, -2.0, 0.5), (3.0, 2.0, 4.0), turn=0.7)
    axial = canvas.Plane.axial(200, side_cm=20.0, centre=(0.0, 0.0), level=0.5)
    assert painted_area(solid, axial) == pytest.approx(math.pi * 3 * 2, rel=0.01)
    higher = canvas.Plane.axial(200, side_cm=20.0, centre=(0.0, 0.0), level=2.5)  # half a radius off the centre
    assert painted_area(solid, higher) == pytest.approx(math.pi * 3 * 2 * 0.75, rel=0.01)
    assert painted_area(solid, canvas.Plane.axial(200, side_cm=20.0, centre=(0.0, 0.0), level=9.0)) == 0.0
    coronal = canvas.Plane.coronal(200, side_cm=20.0, centre=(0.0, 0.0), level=-2.0)
    straight = replace(solid, turn=0.0, lean=(0.3, 0.0))  # a shear keeps the area
    assert painted_area(straight, coronal) == pytest.approx(math.pi * 3 * 4, rel=0.01)


def test_lattice_noise_has_unit_variance_and_agrees_where_two_planes_cross() -> None:
    lattice = canvas.Lattice.random(canvas.stream(0), spacing_cm=0.5)
    axial = canvas.Plane.axial(64, side_cm=16.0, centre=(0.0, 0.0), level=0.125)
    coronal = canvas.Plane.coronal(64, side_cm=16.0, centre=(0.0, 0.0), level=0.125)
    assert float(lattice.on(axial).std()) == pytest.approx(1.0, abs=0.15)
    np.testing.assert_allclose(lattice.on(axial)[32], lattice.on(coronal)[32], atol=1e-5)


def test_grain_has_unit_variance_and_correlated_neighbours() -> None:
    grain = canvas.grain(canvas.stream(0), (300, 300))
    assert float(grain.std()) == pytest.approx(1.0, abs=0.02)
    assert float((grain[:, 1:] * grain[:, :-1]).mean()) == pytest.approx(0.5, abs=0.03)


def test_rician_noise_of_darkness_has_the_mean_of_a_rayleigh_distribution() -> None:
    noise = brain_tumor_mri.with_rician_noise(canvas.stream(0), np.zeros((200, 200), np.float32), 4.0)
    assert float(noise.mean()) == pytest.approx(4.0 * math.sqrt(math.pi / 2), rel=0.02)
