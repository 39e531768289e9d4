"""Names of patients: the salt, who makes it, and what it decides."""

import multiprocessing
import re
import stat
from pathlib import Path

import pytest

from medsynth.data.identity import pseudonym
from medsynth.errors import UserError


def test_a_name_says_nothing_of_the_identifier() -> None:
    name = pseudonym("Doe^Jane")
    assert re.fullmatch("p-[0-9a-f]{12}", name)
    assert pseudonym("Doe^Jane") == name != pseudonym("Doe^John")


def test_the_salt_decides_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pseudonym("PAT-1")
    monkeypatch.setenv("MEDSYNTH_SALT", "one " * 40)
    first = pseudonym("PAT-1")
    monkeypatch.setenv("MEDSYNTH_SALT", "two")
    assert len({kept, first, pseudonym("PAT-1")}) == 3
    monkeypatch.setenv("MEDSYNTH_SALT", "one " * 40)
    assert pseudonym("PAT-1") == first


def test_the_salt_of_the_cache_is_the_users_alone(cache: Path) -> None:
    pseudonym("PAT-1")
    salt = cache / "salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert len(salt.read_text()) == 32
    assert sorted(path.name for path in cache.iterdir()) == ["salt"]


def test_processes_that_start_at_once_agree(cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        names = set(pool.map(pseudonym, ["PAT-1"] * 64, chunksize=1))
    assert names == {pseudonym("PAT-1")}
    assert [path.name for path in cache.iterdir()] == ["salt"]


def test_an_empty_salt_is_no_salt(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = pseudonym("PAT-1")
    monkeypatch.setenv("MEDSYNTH_SALT", "")
    assert pseudonym("PAT-1") == name
    (cache / "salt").write_text("")
    with pytest.raises(UserError, match="is empty"):
        pseudonym("PAT-1")


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"set MEDSYNTH_SALT or MEDSYNTH_CACHE"):
        pseudonym("PAT-1")
