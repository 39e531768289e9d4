import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsynth.data.intensity import NamedWindow, Percentile
from medsynth.data.picture import BadImage
from medsynth.data.sources.bids import Bids
from medsynth.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files: listing opens none."""

    def write(*paths: str) -> Path:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return write


def listed(source: Bids) -> list[tuple[str | None, list[str], str | None, list[str]]]:
    """Patient, files of the channels, mask and files of the condition of each record."""
    return [
        (
            record.patient,
            [path.name for path in record.detail.images],
            None if record.detail.mask is None else record.detail.mask.name,
            [path.name for path in record.detail.condition],
        )
        for record in source.records().records
    ]


def test_sessions_and_runs_of_a_subject_are_one_patient(tree: Callable[..., Path]) -> None:
    root = tree(
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_run-2_T1w.nii",
        "sub-02/anat/sub-02_acq-fast_T1w.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
    )
    assert [patient for patient, *_ in listed(Bids(root))] == ["sub-01", "sub-01", "sub-01", "sub-02"]
    assert listed(Bids(root, target="T2w")) == [("sub-02", ["sub-02_T2w.nii.gz"], None, [])]


def test_files_outside_subject_folders_are_read_by_their_names(tree: Callable[..., Path]) -> None:
    root = tree("OAS30001_MR_d0129/anat1/NIFTI/sub-OAS30001_ses-d0129_T1w.nii.gz")
    assert [patient for patient, *_ in listed(Bids(root))] == ["sub-OAS30001"]


def test_datasets_inside_the_dataset_have_patients_of_their_own(tree: Callable[..., Path]) -> None:
    root = tree("sub-1/anat/sub-1_T1w.nii.gz", "ct_scan/sub-1/ct/sub-1_ct.nii.gz", "more/a/sub-1/anat/sub-1_T1w.nii")
    assert [patient for patient, *_ in listed(Bids(root))] == ["more/a/sub-1", "sub-1"]
    assert [patient for patient, *_ in listed(Bids(root, target="ct", unit="hu"))] == ["ct_scan/sub-1"]


def test_source_data_of_a_subject_is_no_other_patient(tree: Callable[..., Path]) -> None:
    root = tree("sub-1/anat/sub-1_T1w.nii.gz", "sourcedata/sub-1/anat/sub-1_T1w.nii.gz", "code/sub-1_T1w.nii.gz")
    assert [patient for patient, *_ in listed(Bids(root))] == ["sub-1"]


def test_ct_without_its_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set data\.unit=hu"):
        Bids(tmp_path, target="ct")


def test_scans_of_one_session_become_channels_and_condition(tree: Callable[..., Path]) -> None:
    root = tree(
        "sub-1/ses-a/anat/sub-1_ses-a_acq-x_T1w.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_acq-y_T2w.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii.gz",
        "sub-2/anat/sub-2_run-1_T1w.nii.gz",
        "sub-2/anat/sub-2_run-1_T2w.nii.gz",
        "sub-2/anat/sub-2_run-2_T1w.nii.gz",
    )
    source = Bids(root, target=["T2w"], condition="T1w")
    assert listed(source) == [
        ("sub-1", ["sub-1_ses-a_acq-y_T2w.nii.gz"], None, ["sub-1_ses-a_acq-x_T1w.nii.gz"]),
        ("sub-2", ["sub-2_run-1_T2w.nii.gz"], None, ["sub-2_run-1_T1w.nii.gz"]),
    ]
    assert [entry.reason for entry in source.records().rejected] == ["sub-2_run-2 has no T2w beside T1w"]
    both = Bids(root, target=["T1w", "FLAIR"])
    assert both.channels == (2,)
    assert [images for _, images, *_ in listed(both)] == [["sub-1_ses-a_acq-x_T1w.nii.gz", "sub-1_ses-a_FLAIR.nii.gz"]]


def test_a_scan_stored_twice_is_never_chosen_from(tree: Callable[..., Path]) -> None:
    root = tree("sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii")
    listing = Bids(root).records()
    assert [record.patient for record in listing.records] == ["sub-2"]
    assert [entry.reason for entry in listing.rejected] == ["sub-1 has 2 files of T1w: sub-1_T1w.nii, sub-1_T1w.nii.gz"]


def test_masks_stand_in_derivatives_under_the_images_name(tree: Callable[..., Path]) -> None:
    labels = "derivatives/labels/sub-1/anat/"
    root = tree(
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-1/anat/sub-1_T2w.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        labels + "sub-1_T1w_seg-manual.nii.gz",
        labels + "sub-1_T2w_seg-manual.nii.gz",
        labels + "sub-1_dseg.nii.gz",
    )
    assert listed(Bids(root, masks="seg-manual")) == [
        ("sub-1", ["sub-1_T1w.nii.gz"], "sub-1_T1w_seg-manual.nii.gz", []),
        ("sub-2", ["sub-2_T1w.nii.gz"], None, []),
    ]
    assert "1 of 2 images have a mask seg-manual" in Bids(root, masks="seg-manual").records().notes
    assert [mask for *_, mask, _ in listed(Bids(root, masks="dseg"))] == ["sub-1_dseg.nii.gz", None]
    note, unused = Bids(root).records().notes
    assert unused.startswith("4 volumes are not used")
    assert note == "derivatives hold seg-manual (1), dseg (1); data.masks=NAME reads one of them as masks"


def test_masks_of_two_pipelines_are_never_chosen_from(tree: Callable[..., Path]) -> None:
    root = tree(
        "sub-1/anat/sub-1_T1w.nii.gz", "derivatives/a/sub-1_T1w_seg.nii.gz", "derivatives/b/sub-1_T1w_seg.nii.gz"
    )
    listing = Bids(root, masks="seg").records()
    assert not listing.records
    assert listing.rejected[0].reason == (
        "has 2 masks: derivatives/a/sub-1_T1w_seg.nii.gz, derivatives/b/sub-1_T1w_seg.nii.gz"
    )


def test_labels_come_from_the_table_and_what_lacks_one_is_named(tree: Callable[..., Path]) -> None:
    root = tree(*(f"sub-{k}/anat/sub-{k}_T1w.nii.gz" for k in (1, 2, 3, 4)))
    rows = ["participant_id\tage\tgroup", "sub-1\t20\tPD", "2\t30\tcontrol", "sub-3\t40\tn/a", "sub-9\t50\tPD"]
    (root / "participants.tsv").write_text("\n".join(rows), encoding="utf-8-sig")
    listing = Bids(root, label_column="group").records()
    assert {record.patient: record.label for record in listing.records} == {"sub-1": "PD", "sub-2": "control"}
    assert [entry.path.name for entry in listing.rejected] == ["sub-3_T1w.nii.gz", "sub-4_T1w.nii.gz"]
    assert listing.rejected[0].reason.startswith("participants.tsv gives no group for sub-3; data.label_column=null")
    unlabelled = Bids(root).records()
    assert [record.label for record in unlabelled.records] == [None] * 4
    assert unlabelled.notes == [
        "participants.tsv: 4 subjects, 1 of them without such an image; 1 subjects without a row"
    ]


@pytest.mark.parametrize(
    ("paths", "arguments", "message"),
    [
        (["a/x.nii.gz"], {}, r"no sub-\*/\.\.\./sub-\*_T1w\.nii\.gz under .*\(data\.root\).*data\.phantom=true"),
        (["sub-1/anat/sub-1_T2w.nii"], {}, r"no image with the suffix T1w .* there are T2w \(1\); set data\.modality"),
        (["sub-1/anat/sub-1_T1w.nii"], {"label_column": "group"}, r"there is no participants\.tsv for T1w images"),
        (["sub-1/anat/sub-1_T1w.nii"], {"unit": "HU"}, r"data\.unit=HU must be one of signal, hu"),
        (["sub-1/anat/sub-1_T1w.nii"], {"target": []}, r"data\.target=\[\] names no suffix"),
        ([], {"target": ["T1w", "T1w"]}, r"data\.target=\['T1w', 'T1w'\] .* name the suffix T1w more than once"),
        ([], {"target": "T1w", "condition": ["T2w", "T1w"]}, r"name the suffix T1w more than once"),
        (
            ["sub-1/anat/sub-1_T1w.nii"],
            {"masks": "seg"},
            r"data\.masks=seg: no image has such a mask; derivatives hold none",
        ),
        (
            ["sub-1/anat/sub-1_T1w.nii", "derivatives/a/sub-1_T1w_label-GM_mask.nii", "derivatives/a/sub-1_dseg.nii"],
            {"masks": "seg"},
            r"no image has such a mask; derivatives hold label-GM_mask \(1\), dseg \(1\)",
        ),
    ],
)
def test_what_is_not_there_is_named(
    paths: list[str], arguments: dict[str, str], message: str, tree: Callable[..., Path]
) -> None:
    root = tree(*paths)
    with pytest.raises(UserError, match=message):
        Bids(root, **arguments).records()  # type: ignore[arg-type]


def test_subjects_that_stand_in_the_table_twice_are_one_or_rejected(tree: Callable[..., Path]) -> None:
    root = tree(*(f"sub-{k}/anat/sub-{k}_T1w.nii.gz" for k in (1, 2, 3)))
    rows = ["participant_id\tage\tgroup", "sub-1\t20\tPD", "1\t21\tPD", "sub-2\t30\tPD", "sub-2\t30\tcontrol",
            "sub-3\t1\tn/a", "sub-3\t1\tPD"]  # fmt: skip
    (root / "participants.tsv").write_text("\n".join(rows))
    listing = Bids(root, label_column="group").records()
    assert {record.patient: record.label for record in listing.records} == {"sub-1": "PD", "sub-3": "PD"}
    (rejected,) = listing.rejected
    assert rejected.path.name == "sub-2_T1w.nii.gz"
    assert rejected.reason == (
        "participants.tsv says group=PD and group=control of sub-2; data.label_column=null reads images without labels"
    )
    assert "participants.tsv: 3 rows repeat the key of another" in listing.notes
    assert len(Bids(root).records().records) == 3


def test_a_table_without_the_column_is_refused_with_those_it_has(tree: Callable[..., Path]) -> None:
    root = tree("sub-1/anat/sub-1_T1w.nii.gz")
    (root / "participants.tsv").write_text("participant_id\tsex\nsub-1\tF\n")
    with pytest.raises(UserError, match=r"no column 'group'; its columns: participant_id, sex"):
        Bids(root, label_column="group").records()


def test_images_masks_and_tables_decide_the_pack(tree: Callable[..., Path]) -> None:
    root = tree("sub-1/anat/sub-1_T1w.nii.gz", "derivatives/a/sub-1_T1w_seg.nii.gz", "participants.tsv", "README")
    assert {path.name for path in Bids(root).files()} == {
        "sub-1_T1w.nii.gz", "sub-1_T1w_seg.nii.gz", "participants.tsv"}  # fmt: skip


def write_volume(path: Path, shape: tuple[int, int, int], *, labels: bool = False) -> None:
    rng = np.random.default_rng(3)
    voxels = rng.integers(0, 2, shape, dtype=np.uint8) if labels else rng.normal(500, 90, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)  # type: ignore[attr-defined]


def test_volumes_are_read_with_their_masks_and_channels_of_other_grids_are_rejected(tmp_path: Path) -> None:
    write_volume(tmp_path / "sub-1/anat/sub-1_T1w.nii.gz", (12, 14, 9))
    write_volume(tmp_path / "sub-1/anat/sub-1_T2w.nii", (12, 14, 9))
    write_volume(tmp_path / "derivatives/a/sub-1/anat/sub-1_T1w_seg.nii.gz", (12, 14, 9), labels=True)
    write_volume(tmp_path / "sub-2/anat/sub-2_T1w.nii.gz", (12, 14, 9))
    write_volume(tmp_path / "sub-2/anat/sub-2_T2w.nii.gz", (12, 14, 8))
    source = Bids(tmp_path, target=["T1w", "T2w"], masks="seg")
    first, second = source.records().records
    pictures = [load() for load in source.read(first, Percentile())]
    assert len(pictures) == 9
    assert {picture.values.shape for picture in pictures} == {(14, 12, 2)}
    assert all(picture.mask is not None and set(np.unique(picture.mask)) == {0, 1} for picture in pictures)
    with pytest.raises(BadImage, match=r"sub-2_T2w\.nii\.gz: .*12x14x8"):
        [load() for load in source.read(second, Percentile())]


@pytest.mark.skipif("MEDSYNTH_REAL_DATA" not in os.environ, reason="MEDSYNTH_REAL_DATA names no folder of real images")
def test_the_real_dataset_is_read_with_the_dataset_inside_it() -> None:
    root = Path(os.environ["MEDSYNTH_REAL_DATA"]) / "bids_spine_ct"
    spines = Bids(root, masks="seg-manual")
    records = spines.records().records
    assert [(record.patient, record.detail.mask is None) for record in records] == [
        ("sub-unf01", False), ("sub-unf02", True)]  # fmt: skip
    assert [sum(1 for _ in spines.read(record, Percentile())) for record in records] == [16, 32]
    spleens = Bids(root, target="ct", masks="seg-manual", unit="hu", slices="organ", min_area_mm2=100.0)
    (record,) = spleens.records().records
    assert record.patient == "ct_scan/sub-spleen2"
    pictures = [load() for load in spleens.read(record, NamedWindow("soft_tissue"))]
    inside = np.concatenate([picture.values[picture.mask == 1] for picture in pictures])
    assert 40 < np.median(inside) < 160  # HU of a spleen with contrast agent
