"""Any folder of volumes: patterns for images and masks, labels, patients, tables."""

from pathlib import Path
from typing import Any

import pytest

from medsynth.data.sources.nifti import NiftiFolder
from medsynth.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(root: Path, **settings: Any) -> dict[str, str | None]:
    records = NiftiFolder(root, **settings).records().records
    return {
        r.path.relative_to(root).as_posix(): r.detail.mask and r.detail.mask.relative_to(root).as_posix()
        for r in records
    }


def patients(root: Path, **settings: Any) -> list[tuple[str | None, str | None]]:
    return [(r.label, r.patient) for r in NiftiFolder(root, **settings).records().records]


def test_every_volume_is_an_image_by_default(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "s/b.nii.gz", "c.mhd", "c.raw", "d.mha", "e.png", ".f.nii", "g.hdr", "g.img")
    assert pairs(tmp_path) == dict.fromkeys(["a.nii", "c.mhd", "d.mha", "g.hdr", "s/b.nii.gz"])
    names = {path.name for path in NiftiFolder(tmp_path).files()}
    assert names == {"a.nii", "b.nii.gz", "c.mhd", "c.raw", "d.mha", "g.hdr", "g.img"}


@pytest.mark.parametrize(
    ("images", "masks", "files", "expected"),
    [
        ("ilist*", "slist*", ["ilist1.nii.gz", "ilist11.nii.gz", "slist1.nii.gz", "slist11.nii"],
         {"ilist1.nii.gz": "slist1.nii.gz", "ilist11.nii.gz": "slist11.nii"}),
        ("*", "*_seg", ["x.nii.gz", "x_seg.nii.gz", "s/x.nii", "s/x_seg.nii"],
         {"x.nii.gz": "x_seg.nii.gz", "s/x.nii": "s/x_seg.nii"}),
        ("*.nii.gz", "*-label.nii.gz", ["x.nii.gz", "x-label.nii.gz"], {"x.nii.gz": "x-label.nii.gz"}),
        ("imagesTr/*", "labelsTr/*", ["imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz"],
         {"imagesTr/liver_1.nii.gz": "labelsTr/liver_1.nii.gz"}),
        ("Images/*H1", "Masks/*Mask", ["d/Images/04H1.nii", "d/Masks/04Mask.nii"],
         {"d/Images/04H1.nii": "d/Masks/04Mask.nii"}),
        ("T1", "seg", ["p1/T1.nii", "p1/T2.nii", "p1/seg.nii", "p2/T1.nii", "p2/seg.nii"],
         {"p1/T1.nii": "p1/seg.nii", "p2/T1.nii": "p2/seg.nii"}),
        ("raw/**", "masks/**", ["raw/p1/a.nii", "masks/p1/a.nii"], {"raw/p1/a.nii": "masks/p1/a.nii"}),
        ("a.b*", "c.b*", ["a.b1.nii", "c.b1.nii", "aXb1.nii"], {"a.b1.nii": "c.b1.nii"}),
    ],
)  # fmt: skip
def test_masks_belong_to_images_whose_wildcards_stand_for_the_same(
    images: str, masks: str, files: list[str], expected: dict[str, str], tmp_path: Path
) -> None:
    assert pairs(touch(tmp_path, *files), images=images, masks=masks) == expected


def test_masks_without_images_and_images_without_masks_are_told(tmp_path: Path) -> None:
    root = touch(tmp_path, "i1.nii", "i2.nii", "s1.nii", "s3.nii", "i4.nii", "s4.nii", "s4.nii.gz")
    listing = NiftiFolder(root, images="i*", masks="s*").records()
    assert [r.path.name for r in listing.records] == ["i1.nii", "i2.nii"]
    assert "1 of 2 images have no mask" in listing.notes
    assert [(e.path.name, e.reason) for e in listing.rejected] == [
        ("i4.nii", "has 2 masks: s4.nii, s4.nii.gz"),
        ("s3.nii", "a mask without its image"),
    ]


def test_that_no_file_is_a_mask_is_noted(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.nii", "b.nii")
    assert pairs(root, masks="*_seg") == dict.fromkeys(["a.nii", "b.nii"])
    notes = NiftiFolder(root, masks="*_seg").records().notes
    assert "data.masks=*_seg names no volume: no image has a mask" in notes
    assert any("guessed from names: 2 patients" in note for note in notes)


@pytest.mark.parametrize(
    ("files", "settings", "expected"),
    [
        (["a.nii", "b.nii"], {}, [(None, "a"), (None, "b")]),
        (["p1/T1.nii", "p2/T1.nii"], {}, [(None, "p1"), (None, "p2")]),
        (["p1/ses-1/x.nii", "p1/ses-2/y.nii", "p2/ses-1/x.nii"], {}, [(None, "p1"), (None, "p1"), (None, "p2")]),
        (["p1/p1_a.nii", "p1/p1_b.nii", "p2/p2_a.nii"], {}, [(None, "p1"), (None, "p1"), (None, "p2")]),
        (["all/a.nii", "all/b.nii"], {}, [(None, "all/a"), (None, "all/b")]),
        (["ill/a.nii", "ill/b.nii", "well/c.nii"], {"labels": "folders"},
         [("ill", "ill/a"), ("ill", "ill/b"), ("well", "well/c")]),
        (["ill/p1/t1.nii", "ill/p2/t1.nii", "well/p3/t1.nii"], {"labels": "folders"},
         [("ill", "ill/p1"), ("ill", "ill/p2"), ("well", "well/p3")]),
        (["T1/a.nii", "T1/b.nii", "T1/c.nii", "T2/a.nii"], {}, [(None, "a"), (None, "b"), (None, "c"), (None, "a")]),
        (["all/x_0000.nii", "all/x_0001.nii", "all/y_0000.nii"], {}, [(None, "all/x")] * 2 + [(None, "all/y")]),
        (["p1/2018-01-01/t1.nii", "p1/2019-02-02/t1.nii", "p2/20180101/t1.nii"], {},
         [(None, "p1")] * 2 + [(None, "p2")]),
        (["A/scan001/x.nii", "A/scan002/x.nii", "B/scan001/y.nii"], {},
         [(None, "A/scan001"), (None, "A/scan002"), (None, "B/scan001")]),
        (["ill/1.nii", "well/1.nii"], {"labels": "folders"}, [("ill", "ill/1"), ("well", "well/1")]),
    ],
)  # fmt: skip
def test_patients_are_folders_where_folders_hold_a_patient(
    files: list[str], settings: dict[str, str], expected: list[tuple[str | None, str]], tmp_path: Path
) -> None:
    assert patients(touch(tmp_path, *files), **settings) == expected


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_table_says_labels_and_patients(ending: str, encoding: str, tmp_path: Path) -> None:
    touch(tmp_path, "s/A.nii.gz", "s/b.nii", "c.nii")
    rows = [("scan", "finding", "who"), ("S\\a.nii", "Ménière", " 7 "), ("b", "well", "8"), ("gone.nii", "well", "9")]
    separator = "," if ending == "csv" else "\t"
    (tmp_path / f"t.{ending}").write_bytes("\n".join(separator.join(row) for row in rows).encode(encoding))
    settings = {"table": f"t.{ending}", "file_column": "scan", "label_column": "finding", "patient_column": "who"}
    assert patients(tmp_path, **settings) == [(None, "c"), ("Ménière", "7"), ("well", "8")]
    source = NiftiFolder(tmp_path, **settings)
    assert source.records().notes == [f"t.{ending}: 3 rows, 1 of them without a file; 1 files without a row"]
    assert tmp_path / f"t.{ending}" in source.files()


@pytest.mark.parametrize(
    ("files", "rows", "expected"),
    [
        (["a/1.nii.gz", "c/1.nii.gz"], ["a/1.nii.gz,ill,7"], ["ill", None]),
        (["a/1.nii.gz", "c/1.nii.gz"], ["a/1,ill,7", "C\\1.nii,well,8"], ["ill", "well"]),
        (["x/1.nii.gz"], ["a/1.nii.gz,ill,7", "x.nii,well,8", "x/2.nii,ill,1"], ["ill"]),
        (["x/1.nii.gz", "x/2.nii.gz"], ["a/1.nii.gz,ill,7", "c/1.nii.gz,well,8", "2,ill,9"], [None, "ill"]),
        (["1.nii", "a/1.nii"], ["1.nii,ill,7"], ["ill", None]),
        (["1.nii", "1.nii.gz"], ["1.nii,ill,7", "1.nii.gz,well,8"], ["ill", "well"]),
        (["1.nii"], ["1.nii,ill,7", "gone.nii,ill,7", "gone.nii,well,7"], ["ill"]),
        (["1.nii", "2.nii"], ["1.nii,ill,7", "1.nii,ill,7", "1.nii,,7", "2.nii,well,8"], ["ill", "well"]),
    ],
)
def test_a_row_labels_one_file_alone(
    files: list[str], rows: list[str], expected: list[str | None], tmp_path: Path
) -> None:
    touch(tmp_path, *files)
    (tmp_path / "t.csv").write_text("\n".join(["file,label,who", *rows]))
    listing = NiftiFolder(tmp_path, table="t.csv", patient_column="who").records()
    assert [record.label for record in listing.records] == expected
    assert ("t.csv: 2 rows repeat the key of another" in listing.notes) == (len(rows) == 4)


def test_files_whose_rows_contradict_each_other_are_rejected_alone(tmp_path: Path) -> None:
    rows = ["1.nii,ill,7", "1.NII,well,7", "2.nii,ill,7", "2.nii,ill,8", "3.nii,ill,9", "gone.nii,a,1", "gone.nii,b,1"]
    touch(tmp_path, "1.nii", "2.nii", "3.nii")
    (tmp_path / "t.csv").write_text("\n".join(["file,label,who", *rows]))
    listing = NiftiFolder(tmp_path, table="t.csv", patient_column="who").records()
    assert [record.path.name for record in listing.records] == ["3.nii"]
    assert [(entry.path.name, entry.reason.split("; keep")[0]) for entry in listing.rejected] == [
        ("1.nii", "t.csv says label=ill and label=well of 1.nii"),
        ("2.nii", "t.csv says who=7 and who=8 of 2.nii"),
    ]


@pytest.mark.parametrize(
    ("files", "rows", "message"),
    [
        (
            ["a/1.nii", "c/1.nii"],
            ["1,ill,7"],
            r"data\.table=t\.csv: the row 1 fits a/1\.nii and c/1\.nii; write its folder",
        ),
        (["1.nii", "1.mha"], ["1,ill,7"], r"t\.csv: the row 1 fits 1\.mha and 1\.nii; write its folder and ending"),
        (["a/1.nii", "c/1.nii"], ["b/1.nii,ill,7"], "no row names one of the 2 images"),
    ],
)
def test_rows_that_leave_open_what_is_meant_are_refused(
    files: list[str], rows: list[str], message: str, tmp_path: Path
) -> None:
    touch(tmp_path, *files)
    (tmp_path / "t.csv").write_text("\n".join(["file,label,who", *rows]))
    with pytest.raises(UserError, match=message):
        NiftiFolder(tmp_path, table="t.csv", patient_column="who").records()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "HU"}, r"data\.unit=HU must be one of signal, hu"),
        ({"labels": "csv"}, r"data\.labels=csv must be one of folders, none"),
        ({"images": "x*"}, r"data\.images=x\* names none of 2 volumes in .*Set data\.root=DIR or data\.images"),
        ({"images": "i*", "masks": "*_seg"}, r"no mask belongs to an image: .* '1' in i1\.nii and 'j1' in j1_seg\.nii"),
        ({"table": "absent.csv"}, r"data\.table=absent\.csv: no such file"),
        ({"table": "t.csv", "label_column": "x"}, r"has no column 'x'; its columns: file, label"),
        ({"table": "t.csv"}, "no row names one of the 1 images"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, "i1.nii", "j1_seg.nii")
    (tmp_path / "t.csv").write_text("file,label\nother.nii,x\n")
    with pytest.raises(UserError, match=message):
        NiftiFolder(tmp_path, **settings).records()  # type: ignore[arg-type]


def test_what_calls_itself_a_mask_is_no_image_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = touch(tmp_path, "MR/1.nii", "LungMasks/1.nii", "labels/1.nii", "MR/2-seg.nii", "MR/segment.nii")
    listing = NiftiFolder(root).records()
    assert [record.path.name for record in listing.records] == ["1.nii", "segment.nii"]
    assert all("data.masks" in entry.reason for entry in listing.rejected)
    assert len(listing.rejected) == 3
    assert len(NiftiFolder(root, images="labels/*").records().records) == 1


def test_volumes_that_no_pattern_names_are_told(tmp_path: Path) -> None:
    listing = NiftiFolder(touch(tmp_path, "i1.nii", "x1.nii", "x2.nii"), images="i*").records()
    assert "2 volumes are not used, as nothing asks for them: x1.nii, x2.nii" in listing.notes
