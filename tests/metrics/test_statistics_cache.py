"""The cache of real statistics: the same in, the same out; another key never hits; damage costs a line, not a run."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from medsynth.metrics import statistics_cache
from medsynth.metrics.frechet import moments
from medsynth.metrics.statistics_cache import (
    StatisticsCache,
    StatisticsKey,
    moments_from_arrays,
    moments_to_arrays,
    statistics_folder,
)

KEY = StatisticsKey("content", "reference", 256, "random", "5c5f8f", "64x64 bilinear, antialiased")


def arrays(seed=0, size=10):
    random = np.random.default_rng(seed)
    return {
        "mean": random.normal(size=size),
        "features": random.normal(size=(size, 3)).astype(np.float32),
        "count": np.array(7),
        "thumbnails": random.integers(0, 256, (size, 4)).astype(np.uint8),
    }


def same(first, second):
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name]) for name in first
    )


@pytest.fixture
def cache(tmp_path):
    return StatisticsCache(tmp_path / "statistics")


def never():
    raise AssertionError("measured although it was kept")


def test_what_was_kept_comes_back_bit_for_bit(cache):
    assert cache.load(KEY) is None
    assert same(cache.remember(KEY, arrays), arrays())
    assert same(cache.remember(KEY, never), arrays())


@pytest.mark.parametrize(
    "change",
    [
        {"content": "another pack"},
        {"part": "held_out"},
        {"count": 2000},
        {"extractor": "own"},
        {"sha256": "other weights"},
        {"resize": "32x32 bilinear, antialiased"},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_anything_that_matters_misses(cache, change):
    cache.save(KEY, arrays())
    assert cache.load(replace(KEY, **change)) is None
    assert cache.load(KEY) is not None


def test_another_version_of_the_statistics_misses(cache, monkeypatch):
    cache.save(KEY, arrays())
    monkeypatch.setattr(statistics_cache, "VERSION", statistics_cache.VERSION + 1)
    assert cache.load(KEY) is None


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"not a zip", flip],
    ids=["half", "empty", "text", "bit"],
)
def test_a_damaged_file_is_measured_again_and_says_so_in_one_line(cache, damage, capsys):
    cache.save(KEY, arrays(size=1000))
    (path,) = cache.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(cache.remember(KEY, lambda: arrays(seed=1)), arrays(seed=1))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is damaged or unreadable" in said
    assert "measuring the real images again" in said
    assert same(cache.remember(KEY, never), arrays(seed=1))


def test_a_file_under_another_ones_name_is_not_taken_for_it(cache, capsys):
    cache.save(KEY, arrays())
    other = replace(KEY, content="another pack")
    (cache.folder / KEY.file()).rename(cache.folder / other.file())
    assert cache.load(other) is None
    assert "it holds statistics of something else" in capsys.readouterr().err


def test_no_pickle_goes_in_or_out(cache, tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")

    with pytest.raises(ValueError, match="statistics are arrays of numbers"):
        cache.save(KEY, {"x": np.array([Bomb()], dtype=object)})
    cache.folder.mkdir()
    hostile = {"x": np.array([Bomb()], dtype=object), "facts": np.array(KEY.facts())}
    np.savez(cache.folder / KEY.file(), **hostile)
    assert cache.load(KEY) is None
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


def test_the_least_recently_read_goes_when_space_is_short(tmp_path):
    keys = [replace(KEY, content=str(k)) for k in range(4)]
    values = {"x": np.zeros(1000)}
    cache = StatisticsCache(tmp_path, most_bytes=30_000)
    for age, key in enumerate(keys[:3]):
        cache.save(key, values)
        os.utime(tmp_path / key.file(), (1000 + age, 1000 + age))
    assert cache.load(keys[0]) is not None  # read just now: 1 is the oldest
    cache.save(keys[3], values)
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000


def test_what_exceeds_the_bound_by_itself_is_not_kept(tmp_path):
    cache = StatisticsCache(tmp_path / "statistics", most_bytes=100)
    assert same(cache.remember(KEY, arrays), arrays())
    assert not cache.folder.exists()


def test_a_kept_file_is_whole_and_alone(cache):
    cache.save(KEY, arrays())
    assert [path.name for path in cache.folder.iterdir()] == [KEY.file()]


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = StatisticsCache(tmp_path / "file" / "statistics")
    assert same(cache.remember(KEY, arrays), arrays())
    assert "statistics of the real images are not kept" in capsys.readouterr().err


def test_moments_survive_bit_for_bit(cache):
    found = moments(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)))
    cache.save(KEY, moments_to_arrays(found))
    stored = cache.load(KEY)
    assert stored is not None
    read = moments_from_arrays(stored)
    assert read.count == 20
    assert torch.equal(read.mean, found.mean)
    assert torch.equal(read.scatter, found.scatter)


def test_it_lies_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path))
    assert statistics_folder() == StatisticsCache().folder == tmp_path / "statistics"
