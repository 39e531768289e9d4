"""Volumes as files: what is read of them, how their pictures stand, and what is refused."""

import gzip
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medsynth.data.picture import BadImage
from medsynth.data.volume import PLANES, Upright, open_volume
from medsynth.data.voxels import VolumeFile

SHAPE = (5, 6, 7)
RAMP = np.arange(np.prod(SHAPE)).reshape(SHAPE)
LPS = np.diag([-0.7, -0.8, 2.5, 1.0])
ORIENTATIONS = [
    np.array(signs)[:, None] * np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]


def write(path: Path, values: np.ndarray = RAMP, affine: np.ndarray = LPS, kind: type = nibabel.Nifti1Image) -> Path:
    values = values.astype(np.int16) if values.dtype == np.int64 else values
    nibabel.save(kind(values, affine), path)
    return path


def stored(volume: VolumeFile) -> np.ndarray:
    """The whole volume in its unit, from its slabs."""
    slabs = dict(volume.slabs(range(volume.shape[2])))
    return np.stack([volume.values(slabs[k]) for k in range(volume.shape[2])], axis=-1)


def turn(rng: np.random.Generator) -> np.ndarray:
    """A rotation by up to 20 degrees about a random axis."""
    axis, angle = rng.normal(size=3), np.deg2rad(rng.uniform(-20, 20))
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "i1", ">u2", "<i4", ">f4", "<f8", "<u4"])
def test_every_type_and_byte_order_is_read_as_nibabel_reads_it(dtype: str, ending: str, tmp_path: Path) -> None:
    image: Any = nibabel.Nifti1Image((RAMP % 120).astype(dtype), LPS)
    swapped = image.header.as_byteswapped(">" if dtype.startswith(">") else "<")
    image = nibabel.Nifti1Image((RAMP % 120).astype(dtype), LPS, swapped)
    path = tmp_path / f"a{ending}"
    nibabel.save(image, path)
    volume = open_volume(path)
    assert volume.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored(volume), np.asarray(nibabel.load(path).dataobj))  # type: ignore[attr-defined]
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5), rtol=1e-6)
    assert volume.axcodes == "LPS"


@pytest.mark.parametrize(("slope", "inter"), [(0.005, 0.0), (-2.0, 7.5), (1.0, -1024.0), (1.0, 0.5)])
def test_slope_and_intercept_apply(slope: float, inter: float, tmp_path: Path) -> None:
    image: Any = nibabel.Nifti1Image(RAMP.astype(np.int16), LPS)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, tmp_path / "a.nii")
    loaded: Any = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(stored(open_volume(tmp_path / "a.nii")), np.asarray(loaded.dataobj), rtol=1e-6)


def test_nifti_2_and_pairs_and_analyze_are_read(tmp_path: Path) -> None:
    pair = write(tmp_path / "pair.img", kind=nibabel.Nifti1Pair).with_suffix(".hdr")
    analyze = write(tmp_path / "old.img", kind=nibabel.AnalyzeImage).with_suffix(".hdr")
    for path in (write(tmp_path / "two.nii.gz", kind=nibabel.Nifti2Image), pair, analyze):
        np.testing.assert_array_equal(stored(open_volume(path)), RAMP)
    assert open_volume(pair).notes == ()
    assert open_volume(analyze).notes == ("says no orientation: taken to lie as LAS",)


def test_last_axes_of_one_are_none_and_flat_images_are_volumes(tmp_path: Path) -> None:
    assert open_volume(write(tmp_path / "a.nii", RAMP[..., None])).shape == SHAPE
    assert open_volume(write(tmp_path / "b.nii", RAMP[..., 0])).shape == (5, 6, 1)


def test_a_file_without_orientation_is_noted(tmp_path: Path) -> None:
    image: Any = nibabel.Nifti1Image(RAMP.astype(np.int16), None)
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert (volume.axcodes, volume.notes) == ("LAS", ("says no orientation: taken to lie as LAS",))


def test_gzip_members_may_follow_each_other_and_be_filled_up(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(512))
    np.testing.assert_array_equal(stored(open_volume(tmp_path / "b.nii.gz")), RAMP)


def test_only_wanted_slabs_are_given_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    assert [number for number, _ in open_volume(path).slabs((2, 5))] == [2, 5]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadImage, match="truncated"):
        list(open_volume(path).slabs((0,)))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("turned", [False, True])
def test_geometry_is_exact_for_any_affine(plane: str, turned: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for orientation in ORIENTATIONS:
        affine = np.eye(4)
        rotation = turn(rng) if turned else np.eye(3)
        affine[:3, :3] = rotation @ orientation @ np.diag(rng.uniform(0.4, 5, 3))
        affine[:3, 3] = rng.uniform(-300, 300, 3)
        volume = VolumeFile(tmp_path, tmp_path, 0, 0, SHAPE, affine, np.dtype("i2"))
        upright = Upright.of(volume, plane)
        put_back = np.full(SHAPE, -1)
        for number in range(upright.slices):
            picture = upright.picture(RAMP.take(number, axis=upright.axis))
            assert picture.shape == upright.size
            geometry = upright.geometry(number)
            grid = np.stack([*np.meshgrid(*map(np.arange, picture.shape), indexing="ij")])
            places = np.stack([grid[1], grid[0], 0 * grid[0], 0 * grid[0] + 1])  # column, row, 0, 1
            voxels = np.linalg.inv(geometry.source_affine) @ geometry.affine @ places.reshape(4, -1)
            indices = np.rint(voxels[:3]).astype(int)
            np.testing.assert_allclose(voxels[:3], indices, atol=1e-8)
            np.testing.assert_array_equal(RAMP[tuple(indices)], picture.ravel())
            put_back[tuple(indices)] = picture.ravel()
            assert geometry.number == number
            np.testing.assert_allclose(geometry.spacing[:2], upright.spacing)
            column, row, step = geometry.affine[:3, :3].T
            assert column[np.abs(column).argmax()] < 0  # to the left, or to the back in a sagittal picture
            assert row[np.abs(row).argmax()] < 0  # to the back, or to the feet
            np.testing.assert_allclose(step, affine[:3, upright.axis])
        np.testing.assert_array_equal(put_back, RAMP)


@pytest.mark.parametrize("orientation", range(48))
def test_pictures_stand_upright_whatever_the_affine(orientation: int, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = ORIENTATIONS[orientation]
    ras = np.arange(60).reshape(3, 4, 5)  # right, front and head grow with the index
    path = write(tmp_path / "a.nii", *_as(ras, affine))
    volume = open_volume(path)
    whole = stored(volume)
    expected = {"axial": (1, 0, ras[:, :, 2]), "coronal": (2, 0, ras[:, 1, :]), "sagittal": (2, 1, ras[1])}
    for plane, (_, _, section) in expected.items():
        upright = Upright.of(volume, plane)
        middle = next(
            picture
            for number in range(upright.slices)
            if set((picture := upright.picture(whole.take(number, axis=upright.axis))).ravel()) == set(section.ravel())
        )
        np.testing.assert_array_equal(middle, section.T[::-1, ::-1])  # top: front or head; left: right or front


def _as(ras: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A RAS volume stored in the orientation of an affine."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    wanted = io_orientation(affine)
    return apply_orientation(ras, ornt_transform(axcodes2ornt("RAS"), wanted)), affine


def test_depth_runs_from_head_front_and_right(tmp_path: Path) -> None:
    volume = open_volume(write(tmp_path / "a.nii", affine=np.diag([-1.0, -1.0, 1.0, 1.0])))
    depths = {plane: Upright.of(volume, plane) for plane in PLANES}
    assert depths["axial"].depth(0) > 0.9  # the first stored plane is the lowest
    assert depths["coronal"].depth(0) < 0.2  # the first is at the front
    assert depths["sagittal"].depth(0) < 0.2  # the first is at the right


def changed(path: Path, offset: int, kind: str, *values: float) -> Path:
    """A NIfTI with a field of its header overwritten."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(kind, raw, offset, *values)
    path.write_bytes(raw)
    return path


def cut(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:count])
    return path


def packed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    gz = path.with_suffix(".nii.gz")
    gz.write_bytes(change(path.read_bytes()))
    return gz


NAN = float("nan")
DIMENSIONS, PIXDIM, SFORM_CODE, OFFSET, SLOPE, TYPE = 40, 76, 254, 108, 112, 70
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda p: cut(p, 0), "empty file"),
    "text": (lambda p: p.write_text("no image" * 99) and p, "no NIfTI header"),
    "short header": (lambda p: cut(p, 200), "no NIfTI header"),
    "file too short": (lambda p: cut(p, 500), r"too short: 148 of the 420 bytes"),
    "file too long": (lambda p: p.write_bytes(p.read_bytes() + bytes(9)) and p, "429 bytes of voxels where .* 420"),
    "no gzip": (lambda p: packed(p, lambda raw: raw), r"not compressed, although its name ends in \.gz"),
    "gzip holds less": (lambda p: packed(p, lambda raw: gzip.compress(raw[:-8])), "ends in plane 6 of the 7"),
    "gzip holds more": (lambda p: packed(p, lambda raw: gzip.compress(raw + b"x")), "holds more voxels"),
    "gzip is a bomb": (lambda p: packed(p, lambda raw: gzip.compress(raw + bytes(2**26))), "holds more voxels"),
    "gzip cut": (lambda p: packed(p, lambda raw: gzip.compress(raw)[:-30]), "truncated: its compressed stream"),
    "gzip without trailer": (lambda p: packed(p, lambda raw: gzip.compress(raw)[:-8]), "truncated"),
    "gzip with half a trailer": (lambda p: packed(p, lambda raw: gzip.compress(raw)[:-3]), "truncated"),
    "wrong checksum": (
        lambda p: packed(p, lambda raw: gzip.compress(raw)[:-8] + bytes(8)),
        "truncated or damaged: its checksum is wrong",
    ),
    "garbage after gzip": (lambda p: packed(p, lambda raw: gzip.compress(raw) + b"garbage"), "truncated or damaged"),
    "only the start of gzip": (lambda p: packed(p, lambda raw: gzip.compress(raw)[:40]), "truncated"),
    "absurd shape": (lambda p: changed(p, DIMENSIONS, "<4h", 3, 32767, 32767, 32767), "says 32767x32767x32767 voxels"),
    "shape of zero": (lambda p: changed(p, DIMENSIONS, "<4h", 3, 5, 0, 7), "5x0x7 voxels"),
    "negative shape": (lambda p: changed(p, DIMENSIONS, "<4h", 3, 5, -6, 7), "voxels|wrong"),
    "no such type": (lambda p: changed(p, TYPE, "<h", 1234), "its header is wrong"),
    "offset in the header": (lambda p: changed(p, OFFSET, "<f", 100.0), "voxels begin at byte 100"),
    "offset not a number": (lambda p: changed(p, OFFSET, "<f", NAN), "its header is wrong"),
    "singular affine": (lambda p: changed(p, 280, "<4f", 0, 0, 0, 0), "its affine is singular"),
    "affine not a number": (lambda p: changed(p, 280, "<4f", NAN, 0, 0, 0), "not finite"),
    "spacing of zero": (
        lambda p: changed(changed(p, SFORM_CODE, "<h", 0), PIXDIM, "<4f", 1, 0.7, 0, 2.5),
        "its affine is singular .spacing 0.7 x 0 x 2.5 mm.",
    ),
    "intercept not finite": (lambda p: changed(p, SLOPE, "<2f", 1.0, float("inf")), "header"),
    "missing": (lambda p: p.with_name("gone.nii"), "no such file: gone.nii"),
    "a folder": (lambda p: p.parent.joinpath("folder.nii").mkdir() or p.parent / "folder.nii", "a folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_damage_is_named(name: str, tmp_path: Path) -> None:
    damage, reason = BAD[name]
    path = damage(write(tmp_path / "a.nii"))
    with pytest.raises(BadImage, match=reason):
        stored(open_volume(path))


def test_a_bomb_is_stopped_as_it_passes_the_headers_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medsynth.data import voxels

    raw = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw + bytes(2**25), 1))
    taken: list[int] = []
    some = voxels.Inflated._some
    monkeypatch.setattr(voxels.Inflated, "_some", lambda self, most: taken.append(most) or some(self, most))
    with pytest.raises(BadImage, match="holds more"):
        stored(open_volume(tmp_path / "b.nii.gz"))
    assert sum(taken) < 4 * len(raw)


def test_no_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # root may read every file
    with pytest.raises(BadImage, match="no permission to read it"):
        open_volume(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 4, 4, 60), np.int16), "4-D with 60 volumes: 3-D volumes are read"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "voxels of type colour"),
        (np.zeros((4, 4, 4), np.complex64), "voxels of type complex64"),
    ],
)
def test_what_is_no_volume_of_one_number_a_voxel_is_refused(values: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=reason):
        open_volume(write(tmp_path / "a.nii", values))
