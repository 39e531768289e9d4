"""LiTS, SLIVER07 and KiTS: pairs by name, what is claimed twice, and what is left alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import NamedWindow
from medsynth.data.picture import BadImage
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.lits import Lits
from medsynth.errors import UserError

LPS = np.diag([-1.0, -1.0, 2.0, 1.0])


def tree(root: Path, *names: str) -> Path:
    """Small CT volumes and, where the name says segmentation, masks with the organ in slices 1 to 3, a lesion in 2."""
    rng = np.random.default_rng(0)
    for name in names:
        values = rng.integers(-100, 100, (16, 12, 5)).astype(np.int16)
        if "seg" in name:
            values = np.zeros_like(values, dtype=np.uint8)
            values[4:10, 4:10, 1:4] = 1
            values[5:8, 5:8, 2] = 2
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".mhd"):
            write_metaimage(root / name, values)
        else:
            nibabel.save(nibabel.Nifti1Image(values, LPS), root / name)
    return root


def write_metaimage(path: Path, values: np.ndarray) -> None:
    kind = {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[values.dtype.name]
    size = " ".join(map(str, values.shape))
    path.write_text(
        f"ObjectType = Image\nNDims = 3\nElementSpacing = 1 1 2\nDimSize = {size}\nElementType = {kind}\n"
        f"ElementDataFile = {path.stem}.raw\n"
    )
    path.with_suffix(".raw").write_bytes(values.tobytes(order="F"))


def pairs(source: Lits) -> dict[str | None, tuple[str, str | None]]:
    return {r.patient: (r.path.name, r.detail.mask and r.detail.mask.name) for r in source.records().records}


def test_volumes_find_their_segmentations_in_any_folder_and_layout(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "Batch 1/volume-0.nii", "labels/segmentation-0.nii.gz", "Batch 2/volume-10.nii.gz",
        "Batch 2/segmentation-10.nii", "Batch 2/volume-9.nii", "sliver/liver-orig001.mhd", "sliver/liver-seg001.mhd",
        "kits/case_00004/imaging.nii.gz", "kits/case_00004/segmentation.nii.gz", "test/test-volume-0.nii",
    )  # fmt: skip
    (root / "Batch 2" / "._volume-11.nii").touch()
    (root / "notes.txt").touch()
    assert pairs(Lits(root)) == {
        "case-4": ("imaging.nii.gz", "segmentation.nii.gz"),
        "liver-1": ("liver-orig001.mhd", "liver-seg001.mhd"),
        "test-volume-0": ("test-volume-0.nii", None),
        "volume-0": ("volume-0.nii", "segmentation-0.nii.gz"),
        "volume-9": ("volume-9.nii", None),
        "volume-10": ("volume-10.nii.gz", "segmentation-10.nii"),
    }
    assert Lits(root).records().notes == ["2 of 6 volumes have no segmentation"]
    assert {path.name for path in Lits(root).files()} >= {"liver-orig001.raw", "volume-0.nii", "segmentation-10.nii"}
    assert not {path.name for path in Lits(root).files()} & {"notes.txt", "._volume-11.nii"}


def test_listing_opens_no_file(tmp_path: Path) -> None:
    for name in ("volume-0.nii", "segmentation-0.nii", "case_1/imaging.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no volume")
    assert set(pairs(Lits(tmp_path))) == {"volume-0", "case-1"}


def test_one_patient_claimed_by_two_files_is_refused_by_name(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "volume-1.nii", "volume-1.nii.gz", "segmentation-1.nii", "volume-2.nii", "a/segmentation-2.nii",
        "b/segmentation-2.nii.gz", "volume-3.nii",
    )  # fmt: skip
    assert set(pairs(Lits(root))) == {"volume-3"}
    rejected = {entry.path.relative_to(root).as_posix(): entry.reason for entry in Lits(root).records().rejected}
    assert rejected == {
        "volume-1.nii": "one of 2 different files that are volume-1: give each collection a root of its own",
        "volume-1.nii.gz": "one of 2 different files that are volume-1: give each collection a root of its own",
        "segmentation-1.nii": "a segmentation without its volume (volume-1)",
        "a/segmentation-2.nii": "one of 2 different files that are volume-2: give each collection a root of its own",
        "b/segmentation-2.nii.gz": "one of 2 different files that are volume-2: give each collection a root of its own",
        "volume-2.nii": "which segmentation is meant is not clear (volume-2)",
    }


def test_a_copy_is_left_out_by_name_and_another_volume_of_the_same_size_is_none(tmp_path: Path) -> None:
    root = tree(tmp_path, "volume-01.nii", "b/segmentation-1.nii", "c/volume-2.nii", "d/volume-2.nii")
    for folder in "ab":
        (root / folder).mkdir(exist_ok=True)
        shutil.copy(root / "volume-01.nii", root / folder / "volume-1.nii")
    assert pairs(Lits(root)) == {"volume-1": ("volume-01.nii", "segmentation-1.nii")}
    assert [entry.reason for entry in Lits(root).records().rejected] == [
        *["volume-1 again, the same file as volume-01.nii, which is read"] * 2,
        *["one of 2 different files that are volume-2: give each collection a root of its own"] * 2,
    ]


def test_a_segmentation_alone_is_named(tmp_path: Path) -> None:
    listing = Lits(tree(tmp_path, "case_00007/segmentation.nii.gz", "volume-0.nii")).records()
    assert [(e.path.name, e.reason) for e in listing.rejected] == [
        ("segmentation.nii.gz", "a segmentation without its volume (case-7)")
    ]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mhd"])
@pytest.mark.parametrize(("slices", "numbers"), [("organ", [1, 2, 3]), ("lesion", [2]), ("all", [0, 1, 2, 3, 4])])
def test_organ_is_one_and_two_and_lesion_two(slices: str, numbers: list[int], ending: str, tmp_path: Path) -> None:
    names = ("liver-orig1", "liver-seg1") if ending == ".mhd" else ("volume-1", "segmentation-1")
    source = Lits(tree(tmp_path, *(name + ending for name in names)), slices=slices)
    (record,) = source.records().records
    pictures = [load() for load in source.read(record, NamedWindow("liver"))]
    assert [p.geometry.number for p in pictures if p.geometry] == numbers
    assert {label for p in pictures if p.mask is not None for label in np.unique(p.mask).tolist()} == {0, 1, 2}


def test_a_volume_without_a_segmentation_is_read_with_all_slices_alone(tmp_path: Path) -> None:
    root = tree(tmp_path, "volume-0.nii")
    (record,) = Lits(root).records().records
    with pytest.raises(BadImage, match=r"no segmentation beside it, which data\.slices=organ needs"):
        list(Lits(root).read(record, NamedWindow("liver")))
    pictures = [load() for load in Lits(root, slices="all").read(record, NamedWindow("liver"))]
    assert [p.mask for p in pictures] == [None] * 5


def test_other_folders_are_refused_with_the_ways_on(tmp_path: Path) -> None:
    tree(tmp_path, "liver.nii")
    with pytest.raises(
        UserError, match=r"no volume-N\.nii, .* under .*LiTS.*Set data\.root=DIR, or data\.phantom=true"
    ):
        Lits(tmp_path).records()


def test_real_volumes_are_read_upright_with_their_livers(config: Callable[..., dict[str, Any]]) -> None:
    if "MEDSYNTH_REAL_DATA" not in os.environ:
        pytest.skip("MEDSYNTH_REAL_DATA names no folder with real data")
    root = Path(os.environ["MEDSYNTH_REAL_DATA"]) / "liver_ct_lits_style"
    source = {"_target_": "medsynth.data.sources.lits.Lits", "slices": "all"}
    window = {"_target_": "medsynth.data.intensity.NamedWindow", "window": "liver"}
    wanted = config("kidney_ct", root, source=source, intensity=window) | {"name": "lits"}
    pack = prepare_pack(wanted, resolution=64, progress=lambda text: None)
    assert {file: int((pack.files == file).sum()) for file in sorted(set(pack.files.tolist()))} == {
        "volume-0.nii.gz": 39, "volume-1.nii": 20, "volume-2.nii.gz": 3,
    }  # fmt: skip
    assert pack.masks is not None
    masks = np.asarray(pack.masks)[pack.files != "volume-0.nii.gz", 0] == 1
    columns = masks.any(axis=1).mean(axis=0)
    assert columns[:32].sum() > 2 * columns[32:].sum()  # the liver lies on the left of the picture
