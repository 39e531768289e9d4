from collections.abc import Callable
from pathlib import Path

import pytest

from medsynth.data.sources.kidney_ct import KidneyCT
from medsynth.errors import UserError

NEST = Path("CT-KIDNEY-DATASET") / "CT-KIDNEY-DATASET"


@pytest.mark.parametrize("nest", [Path(), Path("one"), NEST])
def test_class_folders_are_found_at_any_depth(nest: Path, tmp_path: Path, kidney_tree: Callable[..., Path]) -> None:
    kidney_tree(tmp_path / nest, patients=1, slices=12)
    records = KidneyCT(tmp_path).records().records
    assert len(records) == 48
    assert [record.number for record in records if record.label == "Stone"] == list(range(1, 13))
    assert {record.label for record in records} == {"Cyst", "Normal", "Stone", "Tumor"}


def test_folders_in_other_capitals_are_the_same_class(tmp_path: Path) -> None:
    (tmp_path / "TUMOR").mkdir()
    (tmp_path / "TUMOR" / "Tumor- (7).JPG").touch()
    (tmp_path / "TUMOR" / ".hidden.jpg").touch()
    assert [(r.label, r.number) for r in KidneyCT(tmp_path).records().records] == [("Tumor", 7)]


def test_the_table_is_compared_whatever_its_capitals(tmp_path: Path, kidney_tree: Callable[..., Path]) -> None:
    kidney_tree(tmp_path / NEST, patients=1, slices=2)
    rows = ["CT/CYST/Cyst- (1).png", "CT/CYST/Cyst- (99).png", "CT\\TUMOR\\Tumor- (2).png", ""]
    text = "Unnamed: 0,path,Class\n" + "".join(f"{i},{row},x\n" for i, row in enumerate(rows))
    (tmp_path / NEST / "kidneyData.csv").write_text(text)
    source = KidneyCT(tmp_path)
    (note,) = source.records().notes
    assert "4 rows, 2 of them without a file; 6 files without a row" in note


def test_a_table_of_another_kind_is_said_to_be_ignored(tmp_path: Path, kidney_tree: Callable[..., Path]) -> None:
    kidney_tree(tmp_path, patients=1, slices=1)
    (tmp_path / "kidneyData.csv").write_bytes(b"\xff\xfea,b\n1,2\n")
    source = KidneyCT(tmp_path)
    (note,) = source.records().notes
    assert "has no column 'path'" in note
    assert note.endswith("it was not compared with the files")


def test_other_folders_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "glioma").mkdir()
    (tmp_path / "glioma" / "a.png").touch()
    with pytest.raises(UserError, match="no folder named Cyst, Normal, Stone, Tumor under"):
        KidneyCT(tmp_path).records()


def test_a_loop_of_links_ends(tmp_path: Path, kidney_tree: Callable[..., Path]) -> None:
    kidney_tree(tmp_path, patients=1, slices=1)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(KidneyCT(tmp_path).records().records) == 4
