from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsynth.data.phantoms import canvas, write_phantoms
from medsynth.data.phantoms.chest import Chest, Film, attenuation, exposed, radiograph
from medsynth.data.sources.covidx import Covidx


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def patient(index: int, *, positive: bool = False) -> Chest:
    return Chest.random(canvas.stream(7, index), positive=positive)


def film(chest: Chest, index: int = 0) -> Film:
    """An exposure that stands upright, uncovered and unmarked."""
    plain = Film.random(canvas.stream(8, index), chest)
    return replace(plain, centre=(0.0, 1.0), roll_degrees=0.0, margins=(0.0, 0.0, 0.0, 0.0), has_marker=False)


def plane_of(view: Film, size: int) -> canvas.Plane:
    return canvas.Plane.coronal(size, side_cm=view.side_cm, centre=view.centre, level=0.0)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("covidx")
    write_phantoms("covidx", folder, patients=30, size=48, seed=1)
    return folder


def test_the_phantom_lies_in_the_genuine_layout_and_its_broken_rows_are_repaired(phantoms: Path) -> None:
    assert sorted(p.name for p in phantoms.iterdir()) == ["test", "test_split.txt", "train", "train_split.txt"]
    rows = [
        line.split() for side in ("train", "test") for line in (phantoms / f"{side}_split.txt").read_text().splitlines()
    ]
    broken = [row for row in rows if len(row) == 5]
    assert {len(row) for row in rows} == {4, 5}
    assert {row[-1] for row in broken} == {"sirm"}
    assert {row[-1] for row in rows} == {"rsna", "actmed", "cohen", "sirm", "fig1"}
    listing = Covidx(phantoms).records()
    assert not listing.rejected
    assert (
        len(listing.records) == len(rows) == sum(len(list((phantoms / side).iterdir())) for side in ("train", "test"))
    )
    assert sum(int(note.split(" rows, ")[1].split()[0]) for note in listing.notes) == len(broken)
    assert {r.patient for r in listing.records if r.path.name.startswith("COVID(")} == {" ".join(r[:2]) for r in broken}


def test_patients_have_several_images_and_stand_on_one_side(phantoms: Path) -> None:
    records = Covidx(phantoms).records().records
    sides = {(r.patient, r.official_split) for r in records}
    images = Counter(r.patient for r in records)
    assert len(sides) == len(images) == 60
    assert Counter(side for _, side in sides) == {"train": 48, "test": 12}
    assert max(images.values()) >= 3
    assert {label for label in (r.label for r in records)} == {"positive", "negative"}


def test_modes_are_mixed_but_mostly_grey_and_mean_the_same_picture(phantoms: Path) -> None:
    modes: Counter[str] = Counter()
    for path in [*phantoms.glob("train/*"), *phantoms.glob("test/*")]:
        with Image.open(path) as image:
            modes[image.mode] += 1
            assert image.size == (48, 48)
            assert image.format == ("JPEG" if path.suffix == ".jpg" else "PNG")
            pixels = np.asarray(image.convert("RGB"), np.int16)
        assert np.ptp(pixels, axis=2).max() <= 4  # grey, whatever the mode
        assert 40 < pixels.mean() < 180
    assert modes.keys() == {"L", "RGB", "P", "RGBA"}
    assert modes["L"] > 0.7 * modes.total()


def test_the_same_seed_writes_the_same_patients_however_many_follow(phantoms: Path, tmp_path: Path) -> None:
    write_phantoms("covidx", tmp_path, patients=6, size=48, seed=1)
    few, many = bytes_below(tmp_path), bytes_below(phantoms)
    assert all(many[path] == content for path, content in few.items() if not path.endswith(".txt"))
    for table in ("train_split.txt", "test_split.txt"):
        assert set(few[table].splitlines()) <= set(many[table].splitlines())
    other = tmp_path / "other"
    write_phantoms("covidx", other, patients=6, size=48, seed=2)
    assert not set(bytes_below(other).values()) & set(many.values())


def test_a_phantom_of_one_patient_still_has_both_sides_and_classes(tmp_path: Path) -> None:
    write_phantoms("covidx", tmp_path, patients=1, size=16, seed=0)
    records = Covidx(tmp_path).records().records
    assert {(r.official_split, r.label) for r in records} == {
        (side, label) for side in ("train", "test") for label in ("positive", "negative")
    }


def test_different_patients_do_not_look_alike(phantoms: Path) -> None:
    records = Covidx(phantoms).records().records
    flat = np.stack([np.asarray(Image.open(r.path).convert("L"), np.float64).ravel() for r in records])
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    people = np.array([r.patient for r in records])
    likeness = np.where(people[:, None] == people[None], 0, flat @ flat.T)
    assert likeness.max() < 0.98


@pytest.mark.parametrize("index", range(4))
def test_the_heart_lies_mostly_in_the_right_half_of_the_picture(index: int) -> None:
    chest = patient(index)
    view = film(chest)
    plane = plane_of(view, 128)
    small = replace(chest.heart, radii=(0.5, 0.5, 0.5))
    shadow = attenuation(chest, view, plane) - attenuation(replace(chest, heart=small), view, plane) > 1.0
    assert shadow[:, 64:].sum() > 2 * shadow[:, :64].sum()
    lowest = np.flatnonzero(shadow.any(axis=1))[-1] - 8
    assert np.flatnonzero(shadow[lowest]).mean() > 64  # the apex


@pytest.mark.parametrize("index", range(4))
def test_lungs_are_dark_and_spine_and_belly_bright(index: int) -> None:
    chest = patient(index)
    picture = radiograph(chest, film(chest), 128)
    plane = plane_of(film(chest), 128)
    lungs = (np.abs(np.abs(plane.x) - 7.0) < 2.0) & (np.abs(plane.z + 3.0) < 3.0)
    spine = (np.abs(plane.x) < 1.0) & (np.abs(plane.z - 4.0) < 3.0)
    liver = (np.abs(plane.x + 6.0) < 2.0) & (np.abs(plane.z - chest.base - 4.0) < 1.0)
    assert picture.shape == (128, 128)
    assert picture[lungs].mean() < 0.75 * min(picture[spine].mean(), picture[liver].mean())


@pytest.mark.parametrize("index", range(4))
def test_the_right_dome_of_the_diaphragm_is_the_higher_one(index: int) -> None:
    chest = patient(index)
    view = film(chest)
    plane = plane_of(view, 128)
    tissue = attenuation(chest, view, plane)
    below = np.abs(plane.z[:, 0] - chest.base - view.breath) < 3.5

    def edge(x: float) -> int:
        column = tissue[below, int(np.argmin(np.abs(plane.x[0] - x)))]
        return int(np.argmax(np.diff(column)))

    assert edge(-0.42 * chest.half_width) < edge(0.42 * chest.half_width)


@pytest.mark.parametrize("index", range(4))
def test_opacities_brighten_the_periphery_of_both_lungs_and_nothing_else(index: int) -> None:
    sick = patient(index, positive=True)
    view = film(sick)
    plane = plane_of(view, 128)
    change = attenuation(sick, view, plane) - attenuation(replace(sick, patches=()), view, plane)
    assert change.min() > -1e-4
    strong = change > 0.5
    assert 0.005 < strong.mean() < 0.25
    for half in (strong[:, :64], strong[:, 64:]):
        assert half.any()
    aside = np.broadcast_to(np.abs(plane.x) / sick.half_width, change.shape)
    assert float((change * aside).sum() / change.sum()) > 0.55
    assert change[np.broadcast_to(aside > 1.1, change.shape)].max() == 0.0
    milder = attenuation(sick, replace(view, severity=0.5 * view.severity), plane)
    np.testing.assert_allclose(milder - attenuation(replace(sick, patches=()), view, plane), change / 2, atol=1e-3)


def test_ribs_cross_the_lungs_as_brighter_bands() -> None:
    chest = patient(0)
    view = film(chest)
    plane = plane_of(view, 256)
    bones = attenuation(chest, view, plane) - attenuation(replace(chest, density=0.0), view, plane)
    column = bones[:, int(np.argmin(np.abs(plane.x[0] - 6.0)))]
    assert bones.min() > -1e-4
    edges = np.diff((column[np.abs(plane.z[:, 0]) < 9.0] > 0.4 * column.max()).astype(int))
    assert 4 <= int((edges == 1).sum()) <= 16


def test_a_marker_stands_at_the_patients_left_and_the_collimator_leaves_black() -> None:
    chest = patient(1)
    view = film(chest)
    marked, plain = (radiograph(chest, replace(view, has_marker=has), 100) for has in (True, False))
    rows, columns = np.nonzero(marked != plain)
    assert columns.min() > 80
    assert rows.max() < 20
    covered = radiograph(chest, replace(view, margins=(0.05, 0.0, 0.0, 0.1)), 100)
    assert covered[:, :5].max() == covered[90:].max() == 0.0
    np.testing.assert_array_equal(covered[:90, 5:], plain[:90, 5:])


def test_grain_leaves_black_black_and_has_its_deviation_where_it_is_bright() -> None:
    half = np.repeat(np.array([[0.0, 200.0]], np.float32), 150, axis=1).repeat(300, axis=0)
    noisy = exposed(canvas.stream(0), half, 3.0)
    assert np.abs(noisy[:, :150]).max() == 0.0
    assert float(noisy[:, 150:].std()) == pytest.approx(3.0, rel=0.05)
