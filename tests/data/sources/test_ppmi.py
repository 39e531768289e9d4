import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import Percentile
from medsynth.data.sources.ppmi import Ppmi
from medsynth.errors import UserError

DATE = "2011-08-17_11_59_33.0"
HEADER = '"Image Data ID","Subject","Group","Sex","Age","Visit","Modality","Description","Type","Acq Date","Format"'


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes the empty files of a download: listing opens none."""

    def write(*paths: str) -> Path:
        for path in paths:
            (tmp_path / "PPMI" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "PPMI" / path).touch()
        return tmp_path

    return write


def image(subject: int, number: int, *, kind: str = "MPRAGE", folder: str = "", date: str = DATE) -> str:
    file = f"PPMI_{subject}_MR_{kind}__br_raw_20110817115933_1_S118914_I{number}.nii"
    return f"{subject}/{kind}/{date}/{folder or f'I{number}'}/{file}"


def rows(*entries: tuple[int | str, int, str]) -> str:
    """The search's CSV: image id, subject, group."""
    lines = [f'"{i}","{s}","{g}","M","67","BL","MRI","MPRAGE","Original","8/17/2011","DCM"' for i, s, g in entries]
    return "\n".join([HEADER, *lines])


def test_groups_are_classes_by_image_id_however_it_is_written(tree: Callable[..., Path]) -> None:
    root = tree(image(3102, 11), image(3102, 12, date="2012-08-17_09_00_00.0"), image(3103, 13, folder="S118914"))
    (root / "search_1.csv").write_text(rows(("I11", 3102, "PD"), (12, 3102, "PD")))
    (root / "search_2.csv").write_text(rows(("I13", 3103, "Control")))
    (root / "ages.csv").write_text("Subject,Age\n3102,67\n")
    records = Ppmi(root).records().records
    assert [(record.patient, record.label) for record in records] == [
        ("3102", "PD"), ("3102", "PD"), ("3103", "Control")]  # fmt: skip


def test_dates_are_never_patients_or_classes(tree: Callable[..., Path]) -> None:
    records = Ppmi(tree(image(3102, 11), image(3103, 12)), label_column=None).records().records
    assert {record.patient for record in records} == {"3102", "3103"}
    assert not any(re.search(r"\d{4}-\d{2}", f"{record.patient} {record.label}") for record in records)


def test_an_image_without_a_row_gets_what_its_subject_always_is(tree: Callable[..., Path]) -> None:
    root = tree(image(1, 11), image(2, 21), image(3, 31))
    entries = (("I10", 1, "PD"), ("I19", 2, "PD"), ("I20", 2, "Control"))
    (root / "search.csv").write_text(rows(*entries))
    listing = Ppmi(root).records()
    assert [(record.patient, record.label) for record in listing.records] == [("1", "PD")]
    assert [entry.path.name.split("_")[1] for entry in listing.rejected] == ["2", "3"]
    contradiction, silence = (entry.reason.partition("; data.label_column=null")[0] for entry in listing.rejected)
    assert contradiction == "search.csv says Group=PD and Group=Control of subject 2"
    assert silence == "no table gives its Group"


def test_searches_that_repeat_an_image_are_one_and_those_that_contradict_reject_it(tree: Callable[..., Path]) -> None:
    root = tree(image(1, 11), image(2, 21))
    (root / "a.csv").write_text(rows(("I11", 1, "PD"), ("I21", 2, "PD")))
    (root / "more").mkdir()
    (root / "more" / "a.csv").write_text(rows((11, 1, "PD"), (21, 2, "Prodromal")))
    listing = Ppmi(root).records()
    assert [(record.patient, record.label) for record in listing.records] == [("1", "PD")]
    (rejected,) = listing.rejected
    assert rejected.path.name.endswith("I21.nii")
    assert rejected.reason.startswith("a.csv, more/a.csv says Group=PD and Group=Prodromal of image 21; data.label")
    assert "a.csv, more/a.csv: 2 rows repeat the key of another" in listing.notes


def test_kinds_of_scan_are_counted_and_chosen_by_name(tree: Callable[..., Path]) -> None:
    root = tree(image(1, 11), image(2, 21), image(2, 22, kind="AX_T2"))
    assert "images by description: MPRAGE (2), AX_T2 (1)" in Ppmi(root, label_column=None).records().notes
    chosen = Ppmi(root, images="*MPRAGE*", label_column=None).records()
    assert len(chosen.records) == 2
    assert "1 images are not like data.images=*MPRAGE* and are not used: AX_T2 (1)" in chosen.notes
    with pytest.raises(UserError, match=r"no file is named like data\.images=\*FLAIR\*; there are MPRAGE \(2\), AX_T2"):
        Ppmi(root, images="*FLAIR*", label_column=None).records()


def test_dicom_series_and_stray_files_are_named(tree: Callable[..., Path]) -> None:
    series = [f"4/MPRAGE/{DATE}/I41/PPMI_4_{k}_I41.dcm" for k in range(3)]
    root = tree(image(1, 11), "elsewhere/x.nii.gz", *series)
    listing = Ppmi(root, label_column=None).records()
    assert len(listing.records) == 1
    assert {entry.path.name: entry.reason for entry in listing.rejected} == {
        "PPMI_4_0_I41.dcm": "a DICOM series of 3 files: data=dicom reads it",
        "x.nii.gz": "lies in no <subject>/<description>/<date>/<image id>/",
    }


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/b.nii"], r"no <subject>/<description>/<date>/<image id>/\*\.nii under .*data\.root.*data\.phantom=true"),
        ([f"4/MPRAGE/{DATE}/I41/x.dcm"], r"holds 1 DICOM series and no NIfTI file; read them with data=dicom"),
        ([image(1, 11)], r"no CSV file under .* has the columns Image Data ID, Subject and Group.*label_column=null"),
    ],
)
def test_what_is_not_there_is_named(paths: list[str], message: str, tree: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=message):
        Ppmi(tree(*paths)).records()


def test_images_and_tables_decide_the_pack(tree: Callable[..., Path]) -> None:
    root = tree(image(1, 11), "x.xml")
    (root / "search.csv").write_text(rows(("I11", 1, "PD")))
    assert sorted(path.suffix for path in Ppmi(root).files()) == [".csv", ".nii"]


def test_volumes_are_read_along_the_body_however_they_are_stored(tree: Callable[..., Path]) -> None:
    root = tree(image(1, 11))
    voxels = np.random.default_rng(0).integers(1, 900, (11, 13, 9)).astype(np.int16)
    affine = np.array([[0, 0, 1.2, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])  # sagittal, as MPRAGE is: PIR
    nibabel.save(nibabel.Nifti1Image(voxels, affine), root / "PPMI" / image(1, 11))  # type: ignore[attr-defined]
    source = Ppmi(root, label_column=None)
    (record,) = source.records().records
    pictures = [load() for load in source.read(record, Percentile())]
    assert len(pictures) == 13
    for picture in pictures:
        assert picture.geometry is not None
        plane = voxels[:, picture.geometry.number, ::-1]  # the front is stored first, and the patient's left
        assert np.array_equal(picture.values, plane)
