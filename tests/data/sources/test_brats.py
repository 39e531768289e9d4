import os
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import Percentile
from medsynth.data.picture import BadImage, Picture
from medsynth.data.sources.brats import Brats, patient_of
from medsynth.data.sources.source import Record
from medsynth.errors import UserError

OLD = ("t1", "t1ce", "t2", "flair", "seg")
NEW = ("t1n", "t1c", "t2f", "t2w", "seg")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files: listing opens none."""

    def write(*paths: str) -> Path:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return write


def case(name: str, roles: tuple[str, ...] = OLD, *, join: str = "_", ending: str = ".nii.gz") -> list[str]:
    return [f"{name}/{Path(name).name}{join}{role}{ending}" for role in roles]


def names(record: Record) -> tuple[list[str], str | None, list[str]]:
    """The files of a record's channels, mask and condition."""
    volume = record.detail
    mask = None if volume.mask is None else volume.mask.name
    return [path.name for path in volume.images], mask, [path.name for path in volume.condition]


@pytest.mark.parametrize(
    ("paths", "stem"),
    [
        (case("BraTS20_Training_001", ending=".nii"), "BraTS20_Training_001_{}.nii"),
        (case("a/HGG/Brats18_TCIA01_131_1"), "Brats18_TCIA01_131_1_{}.nii.gz"),
    ],
)
def test_files_are_told_by_the_last_word_of_their_names(paths: list[str], stem: str, tree: Callable[..., Path]) -> None:
    (record,) = Brats(tree(*paths), target=["t1", "t1ce", "t2"], condition="flair").records().records
    images, mask, condition = names(record)
    assert images == [stem.format(role) for role in ("t1", "t1ce", "t2")]
    assert (mask, condition) == (stem.format("seg"), [stem.format("flair")])


def test_the_names_of_2023_are_the_same_modalities(tree: Callable[..., Path]) -> None:
    root = tree(*case("BraTS-GLI-00000-000", NEW, join="-"), *case("BraTS-GLI-00000-001", NEW, join="-"))
    records = Brats(root, target=["t1ce", "flair"], condition=["t1n", "T2w"]).records().records
    assert names(records[0]) == (
        ["BraTS-GLI-00000-000-t1c.nii.gz", "BraTS-GLI-00000-000-t2f.nii.gz"],
        "BraTS-GLI-00000-000-seg.nii.gz",
        ["BraTS-GLI-00000-000-t1n.nii.gz", "BraTS-GLI-00000-000-t2w.nii.gz"],
    )
    assert {record.patient for record in records} == {"BraTS-GLI-00000"}


def test_modalities_may_stand_first_in_a_name(tree: Callable[..., Path]) -> None:
    files = ("Flair_subtrMeanDivStd", "T1c_subtrMeanDivStd", "OTMultiClass", "brainmask")
    root = tree(*(f"train/brats_2013_pat0005_1/{name}.nii.gz" for name in files))
    listing = Brats(root, target="t1c").records()
    assert names(listing.records[0]) == (["T1c_subtrMeanDivStd.nii.gz"], "OTMultiClass.nii.gz", [])
    assert listing.notes == ["1 volumes are no modality and no segmentation and are not used: brainmask.nii.gz (1)"]


def test_the_misnamed_segmentation_of_the_kaggle_copy_is_found(tree: Callable[..., Path]) -> None:
    root = tree(*case("BraTS20_Training_355", OLD[:4]), "BraTS20_Training_355/W39_1998.09.19_Segm.nii")
    (record,) = Brats(root).records().records
    assert names(record)[1] == "W39_1998.09.19_Segm.nii"
    assert record.patient == "BraTS20_Training_355"


def vsd(case: str, *, number: int = 0) -> list[str]:
    """The paths of a case as BraTS 2013 and 2015 named them."""
    names = [f"VSD.Brain.XX.O.MR_{modality}" for modality in ("Flair", "T1", "T1c", "T2")]
    names = [f"{name}.{number + k}" for k, name in enumerate([*names, "VSD.Brain_3more.XX.XX.OT"])]
    return [f"{case}/{name}/{name}.mha" for name in names]


def test_modalities_of_2013_and_2015_lie_in_folders_of_their_own(tree: Callable[..., Path]) -> None:
    root = tree(
        *vsd("BRATS_Training/HG/0001", number=35534), *vsd("BRATS_Training/LG/0001"), *vsd("HGG/brats_tcia_pat105_0001")
    )
    listing = Brats(root, target="t1c", condition=["t1", "t2", "flair"]).records()
    assert listing.rejected == []
    assert names(listing.records[0]) == (
        ["VSD.Brain.XX.O.MR_T1c.35536.mha"],
        "VSD.Brain_3more.XX.XX.OT.35538.mha",
        ["VSD.Brain.XX.O.MR_T1.35535.mha", "VSD.Brain.XX.O.MR_T2.35537.mha", "VSD.Brain.XX.O.MR_Flair.35534.mha"],
    )
    assert [(record.patient, record.label) for record in listing.records] == [
        ("HG/0001", "HGG"), ("LG/0001", "LGG"), ("brats_tcia_pat105", "HGG")]  # fmt: skip


def test_cases_may_share_a_folder(tree: Callable[..., Path]) -> None:
    root = tree(*(f"all/BraTS2021_0000{k}_{role}.nii.gz" for k in range(3) for role in OLD))
    records = Brats(root, target="t2").records().records
    assert [(r.patient, r.path.name) for r in records] == [
        (f"BraTS2021_0000{k}", f"BraTS2021_0000{k}_t2.nii.gz") for k in range(3)
    ]


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("BraTS-GLI-00000-001", "BraTS-GLI-00000"),
        ("BraTS-MET-00001-000", "BraTS-MET-00001"),
        ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
        ("brats_2013_pat0005_1", "brats_2013_pat0005"),
        ("brats_tcia_pat105_0001", "brats_tcia_pat105"),
        ("Brats17_2013_10_1", "Brats17_2013_10"),
        ("BraTS19_CBICA_AAB_1", "BraTS19_CBICA_AAB"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00495", "BraTS2021_00495"),
        ("case_01", "case_01"),
    ],
)
def test_a_patient_is_a_case_without_its_time_point(case: str, patient: str) -> None:
    assert patient_of(case) == patient


def test_a_case_that_lacks_a_modality_is_rejected_by_name(tree: Callable[..., Path]) -> None:
    root = tree(*case("BraTS20_Training_001"), *case("BraTS20_Training_002", ("t1", "flair")))
    listing = Brats(root, target="flair", condition="t2").records()
    assert [record.patient for record in listing.records] == ["BraTS20_Training_001"]
    (rejected,) = listing.rejected
    assert rejected.reason == "case BraTS20_Training_002 has no t2, only flair, t1"
    assert rejected.path.parent.name == "BraTS20_Training_002"


def test_two_files_for_one_modality_are_never_chosen_from(tree: Callable[..., Path]) -> None:
    root = tree(*case("x", ("flair", "seg")), *case("y", ("flair",)), "y/y_flair.nii")
    listing = Brats(root).records()
    assert [record.patient for record in listing.records] == ["x"]
    assert [entry.reason for entry in listing.rejected] == ["case y has 2 files for flair: y_flair.nii, y_flair.nii.gz"]


def test_folders_give_classes_and_published_splits(tree: Callable[..., Path]) -> None:
    root = tree(*case("train/HGG/a"), *case("train/LGG/b"), *case("validation/HGG/c"), *case("test/HGG/d", OLD[:4]))
    listing = Brats(root).records()
    assert {r.patient: (r.label, r.official_split) for r in listing.records} == {
        "a": ("HGG", "train"), "b": ("LGG", "train"), "c": ("HGG", "train"), "d": ("HGG", "test")}  # fmt: skip
    assert listing.notes == [
        "1 of 4 cases have no segmentation",
        "1 cases of a validation folder count as train, from which val is drawn",
    ]


def test_channels_are_as_many_as_targets(tree: Callable[..., Path]) -> None:
    assert Brats(tree(), target=["t1", "t2"]).channels == (2,)
    assert Brats(tree()).channels == (1,)


def test_other_folders_and_modalities_are_refused(tree: Callable[..., Path]) -> None:
    root = tree("sub-01/anat/sub-01_T1w.nii.gz", "x_seg.nii.gz")
    with pytest.raises(UserError, match=r"no volume named \.\.\._flair\.nii\.gz.*data\.root.*data\.phantom=true"):
        Brats(root).records()
    with pytest.raises(UserError, match=r"data\.target=t3 must be one of t1, t1n, t1ce"):
        Brats(root, target="t3")
    with pytest.raises(UserError, match=r"data\.condition=dwi must be one of"):
        Brats(root, condition=["t1", "dwi"])
    with pytest.raises(UserError, match=r"data\.target=\['t1', 't1'\] .* name the modality t1 more than once"):
        Brats(root, target=["t1", "t1n"])
    with pytest.raises(UserError, match=r"name the modality t2 more than once: each can be one channel"):
        Brats(root, target=["t1", "t2"], condition="t2w")
    with pytest.raises(UserError, match=r"names no modality"):
        Brats(root, target=[])


def test_every_volume_and_mask_decides_the_pack(tree: Callable[..., Path]) -> None:
    root = tree(*case("x"))
    listed = Brats(root, target="t1", condition="t2").records().records[0].detail
    assert {*listed.images, listed.mask, *listed.condition} <= set(Brats(root).files())


def write_case(folder: Path, shape: tuple[int, int, int] = (14, 12, 10)) -> dict[str, np.ndarray]:
    """A case whose modalities are one anatomy, stored as genuine BraTS is (LPS, zero outside the brain)."""
    rng = np.random.default_rng(len(folder.name))
    brain = np.zeros(shape, dtype=np.int16)
    brain[2:-2, 2:-2, 1:-1] = rng.integers(100, 900, tuple(n - k for n, k in zip(shape, (4, 4, 2), strict=True)))
    volumes: dict[str, np.ndarray] = {role: brain * (k + 1) for k, role in enumerate(OLD[:4])}
    volumes["seg"] = np.zeros(shape, dtype=np.uint8)
    volumes["seg"][3:8, 3:8, 4:6] = 4
    folder.mkdir(parents=True)
    for role, voxels in volumes.items():
        image = nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))  # type: ignore[attr-defined]
        nibabel.save(image, folder / f"{folder.name}_{role}.nii.gz")  # type: ignore[attr-defined]
    return volumes


def read(source: Brats, record: Record) -> list[Picture]:
    return [load() for load in source.read(record, Percentile())]


def test_channels_mask_and_condition_are_one_slice_of_one_anatomy(tmp_path: Path) -> None:
    volumes = write_case(tmp_path / "BraTS20_Training_001")
    source = Brats(tmp_path, target=["t2", "t1ce"], condition="flair")
    (record,) = source.records().records
    pictures = read(source, record)
    assert [picture.geometry.number for picture in pictures if picture.geometry] == list(range(10))
    for number, picture in enumerate(pictures):
        planes = {role: voxels[:, :, number].T for role, voxels in volumes.items()}  # LPS stands upright as it is
        assert np.array_equal(picture.values, np.stack([planes["t2"], planes["t1ce"]], axis=-1))
        assert picture.condition is not None
        assert np.array_equal(picture.condition.reshape(12, 14), planes["flair"])
        assert picture.mask is not None
        assert np.array_equal(picture.mask, planes["seg"])
    ranges = [codec.range() for codec in (*pictures[0].codecs, *pictures[0].condition_codecs)]
    assert len(ranges) == 3
    assert ranges[0][1] > ranges[1][1]  # t2 is three times the anatomy, t1ce twice: each has percentiles of its own


def test_compressed_metaimages_of_2015_are_read_with_their_tumour(tmp_path: Path) -> None:
    volumes = write_case(tmp_path / "x")
    for role, path in zip(("flair", "t1", "t1ce", "t2", "seg"), vsd("HGG/brats_2013_pat0001_1"), strict=True):
        kind, voxels = ("UCHAR" if role == "seg" else "SHORT"), zlib.compress(volumes[role].tobytes(order="F"))
        header = f"NDims = 3\nCompressedData = True\nCompressedDataSize = {len(voxels)}\nDimSize = 14 12 10\n"
        (tmp_path / "new" / path).parent.mkdir(parents=True)
        text = f"ObjectType = Image\n{header}ElementType = MET_{kind}\nElementDataFile = LOCAL\n"
        (tmp_path / "new" / path).write_bytes(text.encode() + voxels)
    source = Brats(tmp_path / "new", target="t1ce", slices="lesion")
    (record,) = source.records().records
    for number, picture in zip((4, 5), read(source, record), strict=True):
        assert np.array_equal(picture.values, volumes["t1ce"][:, :, number].T)
        assert picture.mask is not None
        assert np.array_equal(picture.mask, volumes["seg"][:, :, number].T)


@pytest.mark.parametrize("slices", ["organ", "lesion"])
def test_slices_with_a_tumour_are_those_of_any_label(slices: str, tmp_path: Path) -> None:
    write_case(tmp_path / "BraTS20_Training_001")
    source = Brats(tmp_path, slices=slices, min_area_mm2=25.0)
    (record,) = source.records().records
    assert [picture.geometry.number for picture in read(source, record) if picture.geometry] == [4, 5]


def test_a_case_without_segmentation_is_rejected_only_where_tumours_are_asked_for(tmp_path: Path) -> None:
    write_case(tmp_path / "BraTS20_Validation_001")
    (tmp_path / "BraTS20_Validation_001" / "BraTS20_Validation_001_seg.nii.gz").unlink()
    (record,) = Brats(tmp_path).records().records
    assert all(picture.mask is None for picture in read(Brats(tmp_path), record))
    with pytest.raises(BadImage, match="no segmentation"):
        read(Brats(tmp_path, slices="organ"), record)


def test_a_mask_may_lie_parts_of_a_voxel_beside_its_image_but_no_whole_one(tmp_path: Path) -> None:
    write_case(tmp_path / "BraTS20_Training_001")
    path = tmp_path / "BraTS20_Training_001" / "BraTS20_Training_001_seg.nii.gz"
    labels = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    (record,) = Brats(tmp_path).records().records
    for shift, is_read in ((0.25, True), (1.0, False)):  # DeepMedic's examples at 2 mm lie 0.25 voxels apart
        affine[:3, 3] = shift
        nibabel.save(nibabel.Nifti1Image(labels, affine), path)  # type: ignore[attr-defined]
        if is_read:
            assert len(read(Brats(tmp_path), record)) == 10
        else:
            with pytest.raises(BadImage, match=r"seg\.nii\.gz: lies up to 1\.7 mm from where"):
                read(Brats(tmp_path), record)


@pytest.mark.skipif("MEDSYNTH_REAL_DATA" not in os.environ, reason="MEDSYNTH_REAL_DATA names no folder of real images")
def test_every_real_case_is_read_with_its_tumour() -> None:
    source = Brats(Path(os.environ["MEDSYNTH_REAL_DATA"]) / "brats_nifti", target=["t1c", "flair"], slices="lesion")
    listing = source.records()
    assert len(listing.records) == 4
    assert listing.rejected == []
    assert {record.official_split for record in listing.records} == {"train", "test"}
    for record in listing.records:
        pictures = read(source, record)
        flair = np.stack([picture.values[..., 1] for picture in pictures])
        masks = np.stack([picture.mask for picture in pictures if picture.mask is not None])
        assert masks.any(axis=(1, 2)).all()
        brain = flair != flair[0, 0, 0]
        assert np.median(flair[masks == 2]) > np.quantile(flair[brain], 0.75)  # oedema is bright: the mask lies on it
