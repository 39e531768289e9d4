from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import Percentile
from medsynth.data.sources.oasis import Oasis
from medsynth.errors import UserError

HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"


def session(root: Path, name: str, *, image: str = "masked_gfc", endings: tuple[str, ...] = (".hdr", ".img")) -> None:
    """Makes the empty files of a session with its tissue mask: listing opens none."""
    stem = f"{name}_mpr_n4_anon_111_t88_"
    for ending in endings:
        for file in (f"PROCESSED/MPRAGE/T88_111/{stem}{image}", f"FSL_SEG/{stem}masked_gfc_fseg"):
            path = root / name / f"{file}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes the table: ratings by session."""

    def write(**ratings: str) -> Path:
        rows = [f"{name},F,R,74,2,3,29,{rating},1344,0.743,1.306,N/A" for name, rating in ratings.items()]
        (tmp_path / "oasis_cross-sectional.csv").write_text("\n".join([HEADER, *rows]))
        return tmp_path

    return write


def test_ratings_are_classes_and_the_unrated_are_not_called_healthy(table: Callable[..., Path]) -> None:
    ratings = ["0", "0.5", "1", "2", "", "0.0"]
    root = table(**{f"OAS1_000{k}_MR1": rating for k, rating in enumerate(ratings)})
    for k in range(6):
        session(root / f"disc{k % 2}", f"OAS1_000{k}_MR1")
    records = Oasis(root).records().records
    assert {record.patient: record.label for record in records} == {
        "OAS1_0000": "nondemented", "OAS1_0001": "very_mild", "OAS1_0002": "mild", "OAS1_0003": "moderate",
        "OAS1_0004": "unrated", "OAS1_0005": "nondemented"}  # fmt: skip


def test_the_chosen_image_is_read_with_the_tissue_mask(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0")
    session(root, "OAS1_0001_MR1")
    session(root, "OAS1_0001_MR1", image="gfc")
    for image in ("masked_gfc", "gfc"):
        (record,) = Oasis(root, image=image).records().records
        assert record.path.name == f"OAS1_0001_MR1_mpr_n4_anon_111_t88_{image}.hdr"
        assert record.detail.images == (record.path,)
        assert record.detail.mask.name == "OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc_fseg.hdr"


def test_two_sessions_of_a_subject_are_one_patient(table: Callable[..., Path]) -> None:
    root = table(OAS1_0061_MR1="", OAS1_0061_MR2="")
    session(root, "OAS1_0061_MR1")
    session(root, "OAS1_0061_MR2", endings=(".nii.gz",))
    assert [record.patient for record in Oasis(root).records().records] == ["OAS1_0061", "OAS1_0061"]


def test_what_a_session_lacks_is_named(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0", OAS1_0002_MR1="0", OAS1_0003_MR1="0", OAS1_0009_MR1="0")
    session(root, "OAS1_0001_MR1")
    session(root, "OAS1_0002_MR1", image="gfc")
    session(root, "OAS1_0003_MR1", endings=(".hdr",))
    session(root, "OAS1_0004_MR1")
    listing = Oasis(root).records()
    assert [record.patient for record in listing.records] == ["OAS1_0001"]
    reasons = {entry.path.relative_to(root).parts[0]: entry.reason for entry in listing.rejected}
    assert reasons["OAS1_0002_MR1"].startswith("has 0 volumes *_t88_masked_gfc and 1 masks")
    assert reasons["OAS1_0003_MR1"] == ("its voxels, OAS1_0003_MR1_mpr_n4_anon_111_t88_masked_gfc.img, are missing")
    assert "oasis_cross-sectional.csv gives no CDR for OAS1_0004_MR1" in reasons["OAS1_0004_MR1"]
    assert listing.notes == ["oasis_cross-sectional.csv: 4 sessions, 1 of them without a folder"]


def test_sessions_that_stand_in_the_table_twice_are_one_or_rejected(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0", OAS1_0002_MR1="0")
    with (root / "oasis_cross-sectional.csv").open("a") as file:
        file.write("\nOAS1_0001_MR1,F,R,74,2,3,29,0.0,1344,0.743,1.306,N/A\nOAS1_0002_MR1,F,R,74,2,3,29,1,1,1,1,N/A\n")
    session(root, "OAS1_0001_MR1")
    session(root, "OAS1_0002_MR1")
    listing = Oasis(root).records()
    assert [(record.patient, record.label) for record in listing.records] == [("OAS1_0001", "nondemented")]
    assert listing.rejected[0].reason.startswith(
        "oasis_cross-sectional.csv says CDR=nondemented and CDR=mild of OAS1_0002_MR1; data.label_column=null"
    )
    assert listing.notes == [
        "oasis_cross-sectional.csv: 2 sessions, 0 of them without a folder",
        "oasis_cross-sectional.csv: 2 rows repeat the key of another",
    ]


def test_other_columns_are_classes_as_written_and_none_needs_no_table(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0")
    session(root, "OAS1_0001_MR1")
    assert [record.label for record in Oasis(root, label_column="M/F").records().records] == ["F"]
    (root / "oasis_cross-sectional.csv").unlink()
    assert [record.label for record in Oasis(root, label_column=None).records().records] == [None]
    with pytest.raises(UserError, match=r"no oasis_cross-sectional\.csv in .*\(data\.table\).*data\.label_column=null"):
        Oasis(root).records()


def test_headers_voxels_and_table_decide_the_pack(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0")
    session(root, "OAS1_0001_MR1")
    assert sorted(path.suffix for path in Oasis(root).files()) == [".csv", ".hdr", ".hdr", ".img", ".img"]


def test_other_layouts_are_refused_by_name(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="3")
    with pytest.raises(UserError, match=r"no folder named like OAS1_0001_MR1 .*OASIS-3 is read by data=bids"):
        Oasis(root).records()
    session(root, "OAS1_0001_MR1")
    with pytest.raises(UserError, match=r"has a CDR of 3; known: 0, 0\.5, 1, 2"):
        Oasis(root).records()
    with pytest.raises(UserError, match=r"no column 'Diagnosis'; its columns: ID, M/F"):
        Oasis(root, label_column="Diagnosis").records()
    with pytest.raises(UserError, match=r"data\.source\.image=raw must be one of masked_gfc, gfc"):
        Oasis(root, image="raw")


def test_analyze_pairs_become_slices_with_tissue_labels(table: Callable[..., Path]) -> None:
    root = table(OAS1_0001_MR1="0.5")
    session(root, "OAS1_0001_MR1")
    values = np.random.default_rng(0).integers(1, 900, (16, 20, 18, 1)).astype(np.int16)
    tissue = (values > 450).astype(np.uint8) * 3
    for path in root.rglob("*.hdr"):
        voxels = tissue if "fseg" in path.name else values
        header = nibabel.AnalyzeHeader(endianness=">")  # type: ignore[attr-defined]
        header.set_data_dtype(voxels.dtype)
        nibabel.AnalyzeImage(voxels, None, header).to_filename(path)  # type: ignore[attr-defined]
    source = Oasis(root, slices="range", slice_range=(0.0, 0.5))
    (record,) = source.records().records
    pictures = [load() for load in source.read(record, Percentile())]
    assert len(pictures) == 9
    for number, picture in zip(range(9, 18), pictures, strict=True):
        assert picture.geometry is not None
        assert picture.mask is not None
        assert picture.geometry.number == number
        assert np.array_equal(picture.values, values[:, ::-1, number, 0].T)  # LAS: stored from the right, and the back
        assert np.array_equal(picture.mask, tissue[:, ::-1, number, 0].T)
