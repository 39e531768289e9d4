"""A growing .npy file: cut back, filled where something is missing, finished whole."""

from pathlib import Path

import numpy as np
import pytest

from medsynth.data.arrays import ArrayFile

SHAPE = (1, 2, 3)


def value(number: int) -> np.ndarray:
    return np.full(SHAPE, number, np.uint16)


def test_what_was_appended_is_loaded(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "a.npy", np.dtype("u2"), SHAPE)
    for number in range(1000):
        file.append(value(number))
    file.finish()
    file.close()
    loaded = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert loaded.dtype == np.uint16
    np.testing.assert_array_equal(loaded[:, 0, 0, 0], range(1000))


def test_a_cut_takes_back_what_came_after_it(tmp_path: Path) -> None:
    cut, straight = (ArrayFile(tmp_path / f"{name}.npy", np.dtype("u2"), SHAPE) for name in "ab")
    for number in range(5):
        cut.append(value(number))
    cut.cut(2)
    cut.append(value(9))
    for number in (0, 1, 9):
        straight.append(value(number))
    assert cut.finish() == straight.finish()
    for file in (cut, straight):
        file.close()
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_missing_slices_are_filled_also_before_the_first(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "m.npy", np.dtype("u2"), None, missing=255)
    for item in (None, None, value(7), None):
        file.append(item)
    file.finish()
    file.close()
    assert np.load(tmp_path / "m.npy")[:, 0, 0, 0].tolist() == [255, 255, 7, 255]


def test_nothing_but_missing_slices_is_no_file(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "m.npy", np.dtype("u2"), None, missing=255)
    file.append(None)
    file.cut(0)
    file.finish()
    assert not list(tmp_path.iterdir())


def test_without_the_only_slices_that_were_there_it_is_as_if_they_had_never_been(tmp_path: Path) -> None:
    cut, straight = (ArrayFile(tmp_path / f"{name}.npy", np.dtype("u2"), None, missing=255) for name in "ab")
    for item in (None, None, value(7), None):
        cut.append(item)
    cut.cut(2)
    assert cut.read(np.array([0])) is None
    assert not list(tmp_path.iterdir())
    for file in (cut, straight):
        file.append(None)
    straight.cut(0)
    for _ in range(3):
        straight.append(None)
    assert cut.finish() == straight.finish()
    assert not list(tmp_path.iterdir())
    cut.append(np.zeros((9,), np.uint16))  # of another shape than what was cut
    cut.finish()
    cut.close()
    assert np.load(tmp_path / "a.npy").shape == (4, 9)


def test_what_was_written_can_be_read_before_the_end(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "a.npy", np.dtype("u2"), SHAPE)
    for number in range(4):
        file.append(value(number))
    found = file.read(np.array([3, 1]))
    assert found is not None
    assert found[:, 0, 0, 0].tolist() == [3, 1]
    file.close()


def test_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "a.npy", np.dtype("u2"), SHAPE)
    file.append(value(0))
    with pytest.raises(ValueError, match="takes uint16"):
        file.append(value(0).astype(np.uint8))
    file.close()
