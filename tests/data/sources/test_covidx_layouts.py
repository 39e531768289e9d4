import csv
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from medsynth.data.sources.covidx import Covidx
from medsynth.data.sources.source import Listing
from medsynth.errors import UserError


def read(listing: Listing) -> dict[str, tuple[str | None, str | None]]:
    return {record.path.name: (record.patient, record.label) for record in listing.records}


def reasons(listing: Listing) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in listing.rejected}


@pytest.fixture
def metadata(tmp_path: Path) -> Callable[..., Path]:
    """Writes a metadata.csv with these columns and images/ with these files; the row's cells are split at '|'."""

    def write(columns: str, rows: list[str], *files: str, encoding: str = "utf-8") -> Path:
        (tmp_path / "x" / "images").mkdir(parents=True)
        with (tmp_path / "x" / "metadata.csv").open("w", newline="", encoding=encoding) as text:
            csv.writer(text).writerows(row.split("|") for row in (columns, *rows))
        for k, file in enumerate(files):
            Image.new("L", (16, 16), k).save(tmp_path / "x" / "images" / file)
        return tmp_path / "x"

    return write


COHEN = "patientid|finding|view|modality|folder|filename|clinical_notes"


def test_frontal_x_rays_of_a_metadata_table_are_kept_and_all_else_is_named(metadata: Callable[..., Path]) -> None:
    rows = [
        "2|COVID-19|PA|X-ray|images|a.jpeg|in\ntwo lines, with a comma",
        "379b|COVID-19, ARDS|AP Supine|X-ray|images|B.JPG|",
        "4||AP|X-ray|images|c.png|",
        "5|SARS|L|X-ray|images|lateral.png|",
        "6|SARS|Axial|CT|images|ct.png|",
        "7|SARS|Axial|CT|volumes|v.nii.gz|",
        "8|SARS|PA|X-ray|images|gone.png|",
        "9|SARS|PA|X-ray|images|twice.png|",
        "9|No Finding|PA|X-ray|images|twice.png|",
    ]
    root = metadata(COHEN, rows, "a.jpeg", "B.JPG", "c.png", "lateral.png", "ct.png", "twice.png", "rowless.png")
    listing = Covidx(root).records()
    assert read(listing) == {"a.jpeg": ("2", "COVID-19"), "B.JPG": ("379", "COVID-19, ARDS"), "c.png": ("4", None)}
    assert reasons(listing) == {
        "lateral.png": "view L is not in data.views",
        "ct.png": "modality CT, no X-ray",
        "rowless.png": "has no row in metadata.csv, so nothing says what it shows",
        "twice.png": "has more than one finding in metadata.csv: SARS, No Finding",
    }
    assert listing.notes[0] == (
        "metadata.csv: 9 rows, 2 of them without an image (1 are CT volumes); 1 images without a row are left out"
    )
    assert "lateral.png" in read(Covidx(root, views=None).records())
    assert list(read(Covidx(root, views="ap").records())) == ["c.png"]


def test_findings_become_positive_or_negative_by_a_text_and_blank_ones_stay_unknown(
    metadata: Callable[..., Path],
) -> None:
    rows = [f"{k}|{finding}|PA|X-ray|images|{k}.png|" for k, finding in enumerate(("COVID-19, ARDS", "SARS", ""))]
    listing = Covidx(metadata(COHEN, rows, "0.png", "1.png", "2.png"), positive="covid-19").records()
    assert [record.label for record in listing.records] == ["positive", "negative", None]


def test_two_patients_of_one_image_are_one_in_a_metadata_table(metadata: Callable[..., Path]) -> None:
    known = (("285", "a.png"), ("339", "a.png"), ("339", "b.png"))
    rows = [f"{who}|Pneumonia|PA|X-ray|images|{file}|" for who, file in known]
    listing = Covidx(metadata(COHEN, rows, "a.png", "b.png")).records()
    assert read(listing) == {"a.png": ("285", "Pneumonia"), "b.png": ("285", "Pneumonia")}
    assert "metadata.csv: 1 images have more than one row; each is one image" in listing.notes


def test_figure1_names_files_by_their_stem_in_a_table_that_is_not_utf_8(metadata: Callable[..., Path]) -> None:
    columns = "patientid|finding|view|modality|notes"
    rows = [f"COVID-00003{part}|{finding}||X-ray|39°" for part, finding in (("a", "COVID-19"), ("b", "Pneumonia"))]
    rows.append("COVID-00004|SARS||X-ray|a next line (\x85) of old editors ends no row")
    files = "COVID-00003a.png", "COVID-00003b.jpg", "COVID-00004.png"
    listing = Covidx(metadata(columns, rows, *files, encoding="latin-1")).records()
    assert read(listing) == {
        "COVID-00003a.png": ("COVID-00003", "COVID-19"),
        "COVID-00003b.jpg": ("COVID-00003", "Pneumonia"),
        "COVID-00004.png": ("COVID-00004", "SARS"),
    }
    assert listing.notes[0].startswith("metadata.csv: 3 rows, 0 of them without an image")


def test_actualmed_names_files_in_the_column_imagename(metadata: Callable[..., Path]) -> None:
    root = metadata("patientid|finding|view|modality|imagename", ["ANON5|No finding|PA|X-ray|CR.1.2.png"], "CR.1.2.png")
    assert read(Covidx(root).records()) == {"CR.1.2.png": ("ANON5", "No finding")}


def test_a_metadata_table_of_another_kind_is_refused_with_its_columns(metadata: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="has no column 'finding'; its columns: patientid, filename"):
        Covidx(metadata("patientid|filename", ["1|a.png"], "a.png")).records()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_table_without_permission_is_named(metadata: Callable[..., Path]) -> None:
    root = metadata(COHEN, [], "a.png")
    (root / "metadata.csv").chmod(0)
    with pytest.raises(UserError, match=r"cannot read .*metadata.csv: Permission denied"):
        Covidx(root).records()


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., Path]:
    """Writes grey images with these paths."""

    def write(*paths: str) -> Path:
        for k, path in enumerate(paths):
            (tmp_path / "x" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), k).save(tmp_path / "x" / path)
        return tmp_path / "x"

    return write


def test_class_folders_give_labels_and_file_names_patients_where_they_say_them(folders: Callable[..., Path]) -> None:
    nest = "X-Ray Image DataSet"
    root = folders(
        f"{nest}/No_findings/00000165_001.png",
        f"{nest}/Pneumonia/00000165_012.png",
        f"{nest}/Covid-19/covid-19-pneumonia-24-day6.jpg",
        f"{nest}/Covid-19/covid-19-pneumonia-24-day12-PA.jpg",
        f"{nest}/Covid-19/1B734A89-A1BF-49A8-A1D3-66FAFA4FAC5D.jpeg",
    )
    listing = Covidx(root).records()
    assert read(listing) == {
        "00000165_001.png": ("165", "No_findings"),
        "00000165_012.png": ("165", "Pneumonia"),
        "covid-19-pneumonia-24-day6.jpg": ("covid-19-pneumonia-24", "Covid-19"),
        "covid-19-pneumonia-24-day12-PA.jpg": ("covid-19-pneumonia-24", "Covid-19"),
        "1B734A89-A1BF-49A8-A1D3-66FAFA4FAC5D.jpeg": (None, "Covid-19"),
    }
    assert {record.official_split for record in listing.records} == {None}
    either = Covidx(root, positive="COVID-19").records()
    assert Counter(record.label for record in either.records) == {"positive": 3, "negative": 2}


def test_class_folders_below_train_and_test_keep_the_published_split(folders: Callable[..., Path]) -> None:
    listing = Covidx(folders("train/covid/a.png", "test/non/b.png", "train/loose.png")).records()
    assert [(r.path.name, r.label, r.official_split) for r in listing.records] == [
        ("b.png", "non", "test"),
        ("a.png", "covid", "train"),
    ]
    assert reasons(listing) == {"loose.png": "lies in no class folder"}


def test_a_published_folder_for_validation_is_no_class(folders: Callable[..., Path]) -> None:
    listing = Covidx(folders("train/covid/a.png", "val/covid/b.png", "test/normal/c.png")).records()
    assert {(r.path.name, r.label, r.official_split) for r in listing.records} == {
        ("a.png", "covid", "train"),
        ("b.png", "covid", "train"),
        ("c.png", "normal", "test"),
    }


def test_class_folders_that_are_no_finding_of_the_chest_are_named(folders: Callable[..., Path]) -> None:
    (note,) = Covidx(folders("Normal/a.png", "Cyst/b.png", "Stone/c.png", "Stone/d.png")).records().notes
    assert note.startswith("3 images lie in class folders that are no finding known of chest X-rays (Cyst, Stone)")


@pytest.mark.parametrize("name", ["COVID", "Lung_Opacity", "Viral Pneumonia", "PNEUMONIA", "TB", "COVID-19", "Edema"])
def test_class_folders_of_chest_x_ray_sets_go_without_a_remark(name: str, folders: Callable[..., Path]) -> None:
    assert Covidx(folders(f"{name}/a.png", "normal/b.png")).records().notes == []


def test_sides_without_a_table_are_no_classes(folders: Callable[..., Path]) -> None:
    with pytest.raises(
        UserError, match=r"no train_split.txt beside train/, no metadata.csv, no class folders .*phantom"
    ):
        Covidx(folders("train/a.png", "test/b.png")).records()


def test_a_layout_that_was_asked_for_is_not_replaced_by_another(folders: Callable[..., Path]) -> None:
    root = folders("ill/a.png", "well/b.png")
    assert len(Covidx(root).records().records) == len(Covidx(root, layout="folders").records().records) == 2
    with pytest.raises(UserError, match=r"^covidx: no metadata.csv under"):
        Covidx(root, layout="metadata").records()
    with pytest.raises(UserError, match=r"^covidx: no other.txt beside train/ under"):
        Covidx(root, train_table="other.txt").records()
