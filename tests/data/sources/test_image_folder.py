import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.image_folder import ImageFolder
from medsynth.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Writes noise images with these paths below a folder."""

    def write(*paths: str) -> Path:
        rng = np.random.default_rng(0)
        for path in paths:
            (tmp_path / "x" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "x" / path)
        return tmp_path / "x"

    return write


def labels(source: ImageFolder) -> dict[str, str | None]:
    return {record.path.name: record.label for record in source.records().records}


def test_a_flat_folder_has_no_labels(images: Callable[..., Path], config: Callable[..., dict[str, Any]]) -> None:
    root = images("a.png", "b.jpg", "c.TIFF")
    assert labels(ImageFolder(root)) == {"a.png": None, "b.jpg": None, "c.TIFF": None}
    pack = prepare_pack(config("image_folder", root), resolution=16, progress=lambda text: None)
    assert pack.provides == {"image"}
    assert pack.class_names == []
    assert (pack.labels == -1).all()


def test_the_first_folder_is_the_class_below_an_archives_nesting(images: Callable[..., Path]) -> None:
    root = images("data/data/ill/a.png", "data/data/ill/deep/b.png", "data/data/well/c.png")
    assert labels(ImageFolder(root)) == {"a.png": "ill", "b.png": "ill", "c.png": "well"}


def test_images_beside_class_folders_are_refused_with_both_ways_on(images: Callable[..., Path]) -> None:
    root = images("a.png", "ill/b.png", "well/c.png")
    with pytest.raises(UserError, match=r"1 images beside folders with 2; .*data\.source\.labels=none"):
        ImageFolder(root).records()
    assert labels(ImageFolder(root, labels="none")) == {"a.png": None, "b.png": None, "c.png": None}


def test_a_table_gives_labels_and_patients_whatever_the_spelling(images: Callable[..., Path]) -> None:
    root = images("s/A.png", "s/b.png", "t/c.png", "t/d.png")
    (root / "table.csv").write_text("image,finding,who\nS\\a.jpg,ill,1\nb,well,1\nt/c.png,ill,2\ngone.png,ill,3\n")
    source = ImageFolder(root, table="table.csv", file_column="image", label_column="finding", patient_column="who")
    records = {r.path.name: (r.label, r.patient) for r in source.records().records}
    assert records == {"A.png": ("ill", "1"), "b.png": ("well", "1"), "c.png": ("ill", "2"), "d.png": ("t", None)}
    assert source.records().notes == ["table.csv: 4 rows, 1 of them without a file; 1 files without a row"]


def test_files_whose_rows_contradict_each_other_are_rejected_with_the_reason_and_the_others_kept(
    images: Callable[..., Path], config: Callable[..., dict[str, Any]]
) -> None:
    root = images(*(f"{k}.png" for k in range(20)))
    rows = [f"{k}.png,{'ab'[k % 2]},{k}" for k in range(20)]
    (root / "t.csv").write_text("\n".join(["file,label,patient", *rows, "3.png,b,99", "4.png,b,4", "5.png,b,5"]))
    source = {
        "_target_": "medsynth.data.sources.image_folder.ImageFolder",
        "table": "t.csv",
        "patient_column": "patient",
    }
    pack = prepare_pack(config("image_folder", root, source=source), resolution=16, progress=lambda text: None)
    assert set(pack.files) == {f"{k}.png" for k in range(20)} - {"3.png", "4.png"}
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert {entry["file"]: entry["reason"] for entry in report["rejected"]} == {
        "3.png": "t.csv says patient=3 and patient=99 of 3.png; keep the row that is right",
        "4.png": "t.csv says label=a and label=b of 4.png; keep the row that is right",
    }
    assert "t.csv: 3 rows repeat the key of another" in report["notes"]


def test_patients_of_the_table_decide_the_splits(
    images: Callable[..., Path], config: Callable[..., dict[str, Any]]
) -> None:
    root = images(*(f"{k:02}.png" for k in range(60)))
    rows = [f"{k:02}.png,p{k % 12}" for k in range(60)]
    (root / "table.csv").write_text("\n".join(["file,patient", *rows]))
    source = {
        "_target_": "medsynth.data.sources.image_folder.ImageFolder",
        "table": "table.csv",
        "label_column": None,
        "patient_column": "patient",
    }
    pack = prepare_pack(config("image_folder", root, source=source), resolution=16, progress=lambda text: None)
    assert set(pack.patients) == {f"p{k}" for k in range(12)}
    for patient in set(pack.patients):
        mine = set(np.flatnonzero(pack.patients == patient))
        assert sum(bool(mine & set(indices)) for indices in pack.splits.values()) == 1
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert report["groups"]["kind"] == "patients"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "absent.csv"}, "no such file"),
        ({"table": "table.csv", "file_column": "name"}, "has no column 'name'; its columns: file, label"),
        ({"table": "table.csv"}, "no row names one of the 1 images"),
        ({"labels": "csv"}, "must be one of folders, none"),
    ],
)
def test_a_wrong_table_is_named(arguments: dict[str, str], message: str, images: Callable[..., Path]) -> None:
    root = images("a.png")
    (root / "table.csv").write_text("file,label\nother.png,x\n")
    with pytest.raises(UserError, match=message):
        ImageFolder(root, **arguments).records()  # type: ignore[arg-type]
