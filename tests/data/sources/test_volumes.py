"""What all sources of volumes do: choose slices, crop, fit codecs, refuse, and hold no more than they must."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import Intensity, Percentile, Window
from medsynth.data.picture import BadImage, Picture
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.render import Decoder, render
from medsynth.data.settings import build, read_settings
from medsynth.data.sources.bids import Bids
from medsynth.data.sources.brats import Brats
from medsynth.data.sources.lits import Lits
from medsynth.data.sources.nifti import NiftiFolder
from medsynth.data.sources.oasis import Oasis
from medsynth.data.sources.ppmi import Ppmi
from medsynth.data.sources.source import Record
from medsynth.data.sources.volumes import Volume, VolumeSource
from medsynth.errors import UserError

SOFT = Window(50.0, 400.0)
SHAPE = (24, 20, 10)
LPS = np.diag([-2.0, -2.0, 5.0, 1.0])
PERMUTED = np.array([[0, 0, -2.0, 0], [0, -2.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])  # slices run fastest


def body() -> np.ndarray:
    """HU: a body of 40 in air, brighter by one with each slice, in rows 4 to 15 and columns 6 to 19; a couch below."""
    values = np.full(SHAPE, -1000, np.int16)
    values[6:20, 4:16] = 40 + np.arange(10)
    values[2:22, 18] = 100
    return values


def organ() -> np.ndarray:
    """Label 1 in slices 2 to 7, from 4 to 24 voxels large; label 2 in slice 5; label 3 in slice 9."""
    mask = np.zeros(SHAPE, np.uint8)
    for k in range(2, 8):
        mask[8:12, 5 : 4 + k - 1 + 1, k] = 1
    mask[9:11, 6, 5] = 2
    mask[0, 0, 9] = 3
    return mask


def save(path: Path, values: np.ndarray, affine: np.ndarray = LPS) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Picture]]:
    """Saves volumes as files and gives the pictures of them that a source with these settings reads."""

    def start(
        *images: np.ndarray, mask: np.ndarray | None = None, condition: np.ndarray | None = None,
        intensity: Intensity = SOFT, affine: np.ndarray = LPS, ending: str = ".nii", **settings: Any,
    ) -> list[Picture]:  # fmt: skip
        source = NiftiFolder(tmp_path, **({"unit": "hu"} | settings))
        paths = tuple(save(tmp_path / f"im{i}{ending}", values, affine) for i, values in enumerate(images))
        masks = None if mask is None else save(tmp_path / f"seg{ending}", mask, affine)
        conditions = () if condition is None else (save(tmp_path / f"from{ending}", condition, affine),)
        record = Record(paths[0], detail=Volume(paths, masks, conditions))
        return [load() for load in source.read(record, intensity)]

    return start


Read = Callable[..., list[Picture]]


def numbers(pictures: list[Picture]) -> list[int]:
    return [picture.geometry.number for picture in pictures if picture.geometry is not None]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, list(range(10))),
        ({"slices": "organ"}, [2, 3, 4, 5, 6, 7, 9]),
        ({"slices": "organ", "min_area_mm2": 64}, [5, 6, 7]),  # 4 mm2 a pixel; 16 voxels in slice 5
        ({"slices": "lesion"}, [5]),
        ({"slices": "lesion", "lesion_labels": (1, 3)}, [2, 3, 4, 5, 6, 7, 9]),
        ({"slices": "lesion", "lesion_labels": 3}, [9]),
        ({"slices": "organ", "organ_labels": [2, 3]}, [5, 9]),
        ({"slices": "range", "slice_range": (0.0, 0.3)}, [7, 8, 9]),  # from the head, which is stored last
        ({"slices": "range", "slice_range": [0.5, 1]}, [0, 1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("affine", [LPS, PERMUTED])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_slices_are_chosen(
    settings: dict[str, Any], expected: list[int], affine: np.ndarray, ending: str, read: Read
) -> None:
    values, mask = body(), organ()
    if affine is PERMUTED:
        values, mask = values.transpose(2, 1, 0), mask.transpose(2, 1, 0)
    pictures = read(values, mask=mask, affine=affine, ending=ending, **settings)
    assert numbers(pictures) == expected
    for picture, number in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(picture.values, body()[:, :, number].T)  # LPS stands upright as it is stored
        np.testing.assert_array_equal(picture.mask, organ()[:, :, number].T)
        assert (picture.mode, picture.size) == ("int16", (24, 20))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("affine", [LPS, PERMUTED])
def test_slices_can_be_put_back_voxel_for_voxel(plane: str, affine: np.ndarray, read: Read) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(-1000, 1000, SHAPE).astype(np.int16) for _ in range(3)]
    mask, condition = rng.integers(0, 3, SHAPE).astype(np.uint8), rng.normal(size=SHAPE).astype(np.float32)
    pictures = read(*images, mask=mask, condition=condition, affine=affine, plane=plane)
    back = [np.full(SHAPE, np.nan) for _ in range(5)]
    for picture in pictures:
        assert picture.geometry is not None
        assert picture.mask is not None
        assert picture.condition is not None
        rows, columns = np.indices(picture.mask.shape)
        places = np.stack([columns, rows, 0 * rows, 0 * rows + 1]).reshape(4, -1)
        voxels = np.linalg.inv(picture.geometry.source_affine) @ picture.geometry.affine @ places
        index = tuple(np.rint(voxels[:3]).astype(int))
        layers = [*np.moveaxis(picture.values, -1, 0), picture.condition, picture.mask]
        for whole, layer in zip(back, layers, strict=True):
            whole[index] = layer.ravel()
    for whole, original in zip(back, [*images, condition, mask], strict=True):
        np.testing.assert_array_equal(whole, original)


@pytest.mark.parametrize(
    ("settings", "rows", "columns"),
    [
        ({"crop": "body"}, (4, 16), (6, 20)),  # without the couch
        ({"crop": "body", "margin_mm": 3}, (2, 18), (4, 22)),  # 3 mm are two pixels
        ({"crop": "body", "margin_mm": 100.0}, (0, 20), (0, 24)),
        ({"crop": "organ"}, (0, 11), (0, 12)),  # label 3 stands in a corner
        ({"crop": "organ", "slices": "lesion", "margin_mm": 2}, (0, 12), (0, 13)),
        ({}, (0, 20), (0, 24)),
    ],
)
def test_the_box_is_the_same_for_all_slices_and_geometry_follows(
    settings: dict[str, Any], rows: tuple[int, int], columns: tuple[int, int], read: Read
) -> None:
    for picture in read(body(), mask=organ(), **settings):
        assert picture.geometry is not None
        number = picture.geometry.number
        expected = body()[slice(*columns), slice(*rows), number].T
        np.testing.assert_array_equal(picture.values, expected)
        np.testing.assert_array_equal(picture.mask, organ()[slice(*columns), slice(*rows), number].T)
        first = picture.geometry.affine @ [0, 0, 0, 1]
        np.testing.assert_allclose(first, LPS @ [columns[0], rows[0], number, 1])
        assert picture.size == (24, 20)


def test_crops_are_turned_with_the_picture(read: Read) -> None:
    values, mask = body()[::-1, ::-1], organ()[::-1, ::-1]
    (lesion,) = read(values, mask=mask, affine=np.diag([2.0, 2.0, 5.0, 1.0]), crop="body", slices="lesion")
    np.testing.assert_array_equal(lesion.values, body()[6:20, 4:16, 5].T)
    np.testing.assert_array_equal(lesion.mask, organ()[6:20, 4:16, 5].T)


def test_the_body_of_mr_is_what_is_brighter_than_its_surroundings(read: Read) -> None:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(0, 3, SHAPE)).astype(np.float32)
    values[6:20, 4:16] += 500
    for picture in read(values, unit="signal", intensity=Percentile(), crop="body"):
        assert picture.values.shape == (12, 14)


def test_percentiles_are_those_of_each_files_foreground(read: Read) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros(SHAPE, np.float32)
    image[6:20, 4:16] = rng.uniform(100, 200, (14, 12, 10))
    other = np.full(SHAPE, -3.5, np.float32)  # a background that is not the lowest value
    other[6:20, 4:16] = rng.normal(0, 5, (14, 12, 10))
    pictures = read(image, condition=other, unit="signal", intensity=Percentile())
    for picture in pictures:
        np.testing.assert_allclose(picture.codecs[0].range(), np.percentile(image[6:20, 4:16], (0.5, 99.5)), rtol=1e-5)
        expected = np.percentile(other[6:20, 4:16], (0.5, 99.5))
        np.testing.assert_allclose(picture.condition_codecs[0].range(), expected, rtol=1e-5)
    assert len({picture.codecs for picture in pictures}) == 1


def test_a_window_is_left_to_the_pack(read: Read) -> None:
    assert all(picture.codecs == () for picture in read(body()))


def test_padding_outside_the_scanner_stays_as_it_is(read: Read) -> None:
    values = body()
    values[:3] = -3024
    assert read(values)[0].values.min() == -3024


def test_slope_and_odd_labels_of_real_masks_are_read(tmp_path: Path, read: Read) -> None:
    mask: Any = nibabel.Nifti1Image(np.where(organ() > 0, 2**30, 0).astype(np.int32), LPS)
    mask.header.set_slope_inter(2.0**-30 * 0.99999997, 0)
    source = NiftiFolder(tmp_path, unit="hu", slices="organ")
    nibabel.save(mask, tmp_path / "m.nii")
    path = save(tmp_path / "i.nii", body())
    pictures = [load() for load in source.read(Record(path, detail=Volume((path,), tmp_path / "m.nii")), SOFT)]
    assert numbers(pictures) == [2, 3, 4, 5, 6, 7, 9]
    assert {label for p in pictures if p.mask is not None for label in np.unique(p.mask).tolist()} == {0, 1}


def holey(*holes: float) -> np.ndarray:
    values = body().astype(np.float32)
    values[0, : len(holes), 4] = holes
    return values


def test_values_that_are_not_finite_reject_the_volume_or_become_its_lowest(read: Read) -> None:
    for hole in (np.nan, np.inf, -np.inf):
        with pytest.raises(BadImage, match=r"1 voxels of slice 4 are NaN or infinite; data\.not_finite=air"):
            read(holey(hole))
    values = holey(np.nan, np.inf)
    values[23, 19, 9] = -2000
    pictures = read(values, not_finite="air")
    assert pictures[4].values[:2, 0].tolist() == [-2000, -2000]
    assert pictures[4].notes == ("2 voxels that were not finite became -2000",)
    assert pictures[3].notes == ()


@pytest.mark.parametrize(
    ("values", "settings", "reason"),
    [
        (np.full(SHAPE, -1000, np.int16), {}, "every voxel that was read is -1000"),
        (np.random.default_rng(0).integers(-1024, -900, SHAPE).astype(np.int16), {}, "above -500 HU: only air"),
        (np.zeros(SHAPE, np.uint8), {"unit": "signal"}, "every voxel that was read is 0"),
        (np.zeros(SHAPE, np.uint8), {"unit": "signal", "intensity": Percentile()}, "every voxel is 0"),
        (np.full(SHAPE, -1000, np.int16), {"crop": "body"}, "only air"),
        (np.full(SHAPE, np.nan, np.float32), {"not_finite": "air"}, "no voxel of it is finite"),
        (body(), {"slices": "organ"}, r"no segmentation beside it, which data\.slices=organ needs"),
        (body(), {"crop": "organ"}, r"no segmentation beside it, which data\.crop=organ needs"),
        (body(), {"slices": "range", "slice_range": (0.0, 0.01)}, "none of its 10 slices lies in"),
        (body()[:3], {}, "3x20 pixels: they hold no picture"),
    ],
)
def test_what_shows_nothing_is_refused(values: np.ndarray, settings: dict[str, Any], reason: str, read: Read) -> None:
    with pytest.raises(BadImage, match=reason):
        read(values, **settings)


@pytest.mark.parametrize(
    ("mask", "settings", "reason"),
    [
        (np.zeros(SHAPE, np.uint8), {"slices": "organ"}, "its segmentation shows nothing of the organ on a slice"),
        (np.zeros(SHAPE, np.uint8), {"crop": "organ"}, "shows nothing of the organ"),
        (organ(), {"slices": "organ", "min_area_mm2": 1e4}, r"at most 96 mm2 of the organ on a slice where data\.min"),
        (
            organ() * np.uint8(4),
            {"slices": "lesion", "lesion_labels": (1, 2)},
            r"nothing of the lesion \(label 1 or 2\) on a slice",
        ),
        (organ() * np.float32(0.5), {}, r"seg\.nii: its labels are not whole numbers"),
        (organ() * np.float32(np.nan), {}, "its labels are not whole numbers"),
        (organ().astype(np.int16) * 100, {}, "holds labels from 0 to 300: 0 to 254 are read"),
        (organ() * np.uint8(85), {}, "holds labels from 0 to 255"),
        (-organ().astype(np.int16), {"slices": "organ"}, r"seg\.nii: holds labels from -1 to 0"),
        (organ()[:, :, :9], {}, r"seg\.nii: its 24x20x9 voxels are not the 24x20x10 of im0\.nii"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    mask: np.ndarray, settings: dict[str, Any], reason: str, read: Read
) -> None:
    with pytest.raises(BadImage, match=reason):
        read(body(), mask=mask, **settings)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii", body())
    record = Record(image, detail=Volume((image,), tmp_path / "m.nii"))
    near = LPS.copy()
    near[0, 3] = 0.02
    save(tmp_path / "m.nii", organ(), near)
    assert len(list(NiftiFolder(tmp_path, unit="hu").read(record, SOFT))) == 10
    near[0, 3] = 2
    save(tmp_path / "m.nii", organ(), near)
    with pytest.raises(BadImage, match=r"m\.nii: lies up to 2\.0 mm from where i\.nii lies"):
        list(NiftiFolder(tmp_path, unit="hu").read(record, SOFT))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_damage_in_any_file_rejects_the_record_by_name(ending: str, tmp_path: Path) -> None:
    image, mask = save(tmp_path / f"i{ending}", body()), save(tmp_path / f"m{ending}", organ())
    mask.write_bytes(mask.read_bytes()[:-9])
    with pytest.raises(BadImage, match=rf"^m{ending}: t"):
        list(NiftiFolder(tmp_path, unit="hu").read(Record(image, detail=Volume((image,), mask)), SOFT))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slices": "some"}, r"data\.slices=some must be one of all, organ, lesion, range"),
        ({"crop": "head"}, r"data\.crop=head must be one of none, body, organ"),
        ({"plane": "oblique"}, r"data\.plane=oblique must be one of axial, coronal, sagittal"),
        ({"not_finite": "zero"}, r"data\.not_finite=zero must be one of reject, air"),
        ({"margin_mm": -1.0}, r"data\.margin_mm=-1\.0 must be a number of at least 0"),
        ({"min_area_mm2": float("nan")}, r"data\.min_area_mm2=nan must be a number of at least 0"),
        ({"slice_range": (0.5, 0.5)}, r"data\.slice_range=\[0\.5, 0\.5\] must be two rising fractions"),
        ({"slice_range": (0.5, 1.5)}, r"data\.slice_range=\[0\.5, 1\.5\]"),
        ({"slice_range": [0.5]}, r"data\.slice_range=\[0\.5\]"),
        ({"lesion_labels": [300]}, r"data\.lesion_labels=\[300\] must be labels from 1 to 254"),
        ({"organ_labels": []}, r"data\.organ_labels=\[\] must be labels from 1 to 254, as in \[1, 2\]"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        NiftiFolder(tmp_path, **settings)


SOURCES = (Bids, Brats, Lits, NiftiFolder, Oasis, Ppmi)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_every_source_of_volumes_takes_the_same_settings_and_refuses_others(
    source: type[VolumeSource], tmp_path: Path
) -> None:
    target = f"{source.__module__}.{source.__name__}"
    for name, value in {"margin_mm": 2.5, "not_finite": "air", "slices": "range", "crop": "body"}.items():
        assert getattr(build({"_target_": target, name: value}, "data.source", root=tmp_path), name) == value
    built = build({"_target_": target, "organ_labels": [3], "lesion_labels": [4]}, "data.source", root=tmp_path)
    assert built.labels_of == {"organ": (3,), "lesion": (4,)}
    with pytest.raises(UserError, match=r"data\.source .*unexpected keyword argument 'margin'"):
        build({"_target_": target, "margin": 2.5}, "data.source", root=tmp_path)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_voxels_beside_a_header_decide_the_pack(source: type[VolumeSource], tmp_path: Path) -> None:
    stem = tmp_path / "OAS1_0001_MR1_mpr_n4_anon_111_t88_gfc"
    for ending in (".hdr", ".img"):
        stem.with_suffix(ending).touch()
    settings: dict[str, Any] = {"label_column": None} if source in (Oasis, Ppmi) else {}
    assert {path.suffix for path in source(tmp_path, **settings).files()} == {".hdr", ".img"}


@pytest.mark.parametrize("name", ["i.nii.gz", "seg.nii.gz"])
def test_a_file_that_only_its_name_calls_compressed_is_told_so(name: str, tmp_path: Path) -> None:
    image, mask = save(tmp_path / "i.nii.gz", body()), save(tmp_path / "seg.nii.gz", organ())
    plain = save(tmp_path / "plain.nii", body() if name == "i.nii.gz" else organ())
    plain.rename(tmp_path / name)
    record = Record(image, detail=Volume((image,), mask))
    with pytest.raises(BadImage, match=r"not compressed, although its name ends in \.gz: rename it, or fetch it again"):
        list(NiftiFolder(tmp_path, unit="hu").read(record, SOFT))


def test_white_is_refused_where_no_image_file_is_read(tmp_path: Path, config: Callable[..., dict[str, Any]]) -> None:
    source = {"_target_": "medsynth.data.sources.nifti.NiftiFolder"}
    wanted = config("image_folder", tmp_path, source=source, white=255) | {"name": "nifti"}
    with pytest.raises(UserError, match=r"data\.white=255 is of image files, and nifti reads none: set data\.white"):
        read_settings(wanted, resolution=32)


def test_slices_keep_the_proportions_of_millimetres_whatever_the_spacing(read: Read) -> None:
    values = np.full((32, 32, 8), -1000, np.int16)
    values[8:24, 8:24] = 50
    decoder = Decoder(resolution=64, channels=1, bits=8, fit="pad", intensity=SOFT)
    for spacing in ((1.0, 1.0), (1.0, 2.0), (3.0, 1.0)):
        picture = read(values, affine=np.diag([-spacing[0], -spacing[1], 4.0, 1.0]))[0]
        bright = render(picture, decoder).pixels[0] > 60
        width, height = bright.any(axis=0).sum(), bright.any(axis=1).sum()
        assert width / height == pytest.approx(spacing[0] / spacing[1], rel=0.15)


def test_a_pack_of_good_and_bad_volumes_keeps_the_good_and_names_the_bad(
    tmp_path: Path, config: Callable[..., dict[str, Any]]
) -> None:
    root = tmp_path / "volumes"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        save(root / f"im{number}.nii.gz", body() + rng.integers(0, 50, SHAPE).astype(np.int16))
        save(root / f"seg{number}.nii.gz", organ())
    broken = root / "im1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-6])
    save(root / "seg2.nii.gz", organ() * 0)
    source = {"_target_": "medsynth.data.sources.nifti.NiftiFolder", "images": "im*", "masks": "seg*", "unit": "hu",
              "slices": "organ"}  # fmt: skip
    window = {"_target_": "medsynth.data.intensity.Window", "center_hu": 50.0, "width_hu": 400.0}
    wanted = config("image_folder", root, source=source, intensity=window) | {"name": "nifti"}
    pack = prepare_pack(wanted, resolution=32, progress=lambda text: None)
    assert sorted(set(pack.files.tolist())) == ["im0.nii.gz", "im3.nii.gz"]
    assert len(pack) == 14
    rejected = json.loads((pack.folder / "prepare.json").read_text())["rejected"]
    assert [entry["file"] for entry in rejected] == ["im1.nii.gz", "im2.nii.gz"]
    assert rejected[1]["reason"] == "its segmentation shows nothing of the organ on a slice"
    assert "mask" in pack.provides


MEMORY = """
import os, sys
from pathlib import Path
import filelock, nibabel, scipy.ndimage, scipy.sparse
from medsynth.data.packing import make_pack
from medsynth.data.settings import read_settings

def peak():
    return int(next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM")).split()[1])

os.cpu_count = lambda: 2
root, plane, masks, pack = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "masks", Path(sys.argv[4])
settings = read_settings({
    "name": "nifti", "root": root, "channels": 1, "bits": 8, "fit": "pad", "split": {"train": 1, "val": 0, "test": 0},
    "source": {"_target_": "medsynth.data.sources.nifti.NiftiFolder", "images": "im*",
               "masks": "seg*" if masks else None, "plane": plane},
    "intensity": {"_target_": "medsynth.data.intensity.Percentile"},
}, resolution=32)
start = peak()
make_pack(settings, pack, home=pack, key="", copies=None, progress=lambda line: None)
print(peak() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize(("masks", "ending"), [("masks", ".nii.gz"), ("none", ".nii")])
def test_packing_takes_below_one_and_a_half_volumes_of_memory_however_many_there_are(
    plane: str, masks: str, ending: str, tmp_path: Path
) -> None:
    """The peak of a process's resident memory in make_pack over that after its imports, as a share of a volume's bytes
    on disk before compression. What a slice leaves for the report, about 4 kB, adds up over volumes."""
    root = tmp_path / "volumes"
    root.mkdir()
    values = np.random.default_rng(0).integers(0, 1000, (512, 512, 160)).astype(np.int16)
    save(root / f"im0{ending}", values)
    save(root / f"seg0{ending}", (values > 900).astype(np.uint8))
    over = []
    for count in (1, 6):
        for number in range(1, count):
            for name in ("im", "seg"):
                (root / f"{name}{number}{ending}").symlink_to(root / f"{name}0{ending}")
        pack = tmp_path / f"{count}"
        pack.mkdir()
        done = subprocess.run([sys.executable, "-c", MEMORY, str(root), plane, masks, str(pack)],
                              capture_output=True, text=True, check=True)  # fmt: skip
        slices = count * values.shape[2 if plane == "axial" else 0]
        assert len(np.load(pack / "images.npy", mmap_mode="r")) == slices
        over.append(1024 * int(done.stdout) / values.nbytes)
    assert max(over) < 1.5
    assert over[1] - over[0] < 0.2
