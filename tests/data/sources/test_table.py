from pathlib import Path

import pytest

from medsynth.data.sources.table import read_rows, read_table, rows_by
from medsynth.errors import UserError


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", 'id,name\n1,"Müller, A"\n2\n'), ("a.TSV", "id\tname\r\n1\t Müller, A\r\n2\t\r\n")],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_tables_of_any_hand_give_the_same_rows(name: str, text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    columns, rows = read_table(tmp_path / name)
    assert columns == ["id", "name"]
    assert rows == [{"id": "1", "name": "Müller, A"}, {"id": "2", "name": ""}]


def test_a_missing_column_and_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(UserError, match=r"a\.csv has no column 'id'; its columns: none"):
        read_rows(tmp_path / "a.csv", ["id"])
    with pytest.raises(UserError, match=r"cannot read .*b\.csv: No such file"):
        read_rows(tmp_path / "b.csv", [])


def test_rows_of_one_key_are_merged_unless_they_say_different_things() -> None:
    rows = [
        {"id": "a", "label": "", "age": "1"},
        {"id": "a", "label": "ill", "age": "2"},
        {"id": "b", "label": "ill", "age": "3"},
        {"id": "b", "label": "n/a", "age": "3"},
        {"id": "b", "label": "well", "age": "3"},
        {"id": "", "label": "well", "age": "4"},
    ]
    keyed = rows_by(lambda row: row["id"], rows, says=["label", None], table="t.csv")
    assert keyed.rows == {"a": {"id": "a", "label": "ill", "age": ""}}
    assert keyed.contradictions == {"b": "t.csv says label=ill and label=well of b"}
    assert keyed.notes == ["t.csv: 3 rows repeat the key of another"]
    assert rows_by(lambda row: row["id"], rows, says=[], table="t.csv").rows.keys() == {"a", "b"}
    assert rows_by(lambda row: row["id"], rows[1:3], says=["label"], table="t.csv").notes == []
