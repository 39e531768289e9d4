"""What was measured on real images, kept in the cache folder: the second judgement by the same images need not look."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from medsynth.errors import in_short, say
from medsynth.metrics.frechet import Moments
from medsynth.metrics.inception import cached_weights

VERSION = 3  # raise it whenever what is measured, or how, changes: older files are then never read again
MOST_BYTES = 2 * 1024**3  # of all files together; those that were not read for the longest time go first
FACTS = "facts"  # the member of a file that says what it holds
Arrays = dict[str, ndarray]


@dataclass(frozen=True)
class StatisticsKey:
    """All that statistics of real images depend on; a change of any part is another file.

    content: digest of the pack, or of a folder's files. part: which of its images, such as "reference". count: how many
    at most. extractor, sha256, resize: its own; all "" for statistics of images without an extractor.
    seed: of random choices, such as patches.
    """

    content: str
    part: str
    count: int
    extractor: str = ""
    sha256: str = ""
    resize: str = ""
    seed: int = 0

    def facts(self) -> str:
        """The key as JSON, this version of the statistics included."""
        return json.dumps({**asdict(self), "version": VERSION}, sort_keys=True)

    def file(self) -> str:
        """The name of its file."""
        words = [word for word in (self.part, self.extractor) if word]
        readable = "".join(letter if letter.isalnum() else "-" for letter in "-".join(words))[:40]
        return f"{readable}-{hashlib.sha256(self.facts().encode()).hexdigest()[:24]}.npz"


def statistics_folder() -> Path:
    """Where statistics lie: `statistics` in the cache folder (`MEDSYNTH_CACHE`)."""
    return cached_weights().parents[1] / "statistics"


@dataclass(frozen=True)
class StatisticsCache:
    """Named arrays by key, as .npz files without pickle; processes may read and write at once.

    A file that is damaged, or cannot be written, costs one line and the measurement, never the judgement.

    folder: None takes `statistics_folder()`. most_bytes: see MOST_BYTES; 0 keeps nothing.
    """

    folder: Path = field(default_factory=statistics_folder)
    most_bytes: int = MOST_BYTES

    def remember(self, key: StatisticsKey, measure: Callable[[], Mapping[str, ndarray]]) -> Arrays:
        """The arrays of a key: read, or measured now and kept."""
        found = self.load(key)
        if found is None:
            found = dict(measure())
            self.save(key, found)
        return found

    def load(self, key: StatisticsKey) -> Arrays | None:
        """The arrays of a key, equal bit for bit to those saved; None when there are none, or no whole ones."""
        path = self.folder / key.file()
        try:
            # Opened here: np.load forgets to close a file that is no whole archive.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                if stored[FACTS].item() != key.facts():
                    raise ValueError("it holds statistics of something else")
                arrays = {name: stored[name] for name in stored.files if name != FACTS}  # checks each member's CRC
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            say(f"{path} is damaged or unreadable ({in_short(error)}); measuring the real images again")
            return None
        with suppress(OSError):  # a cache that others own can still be read
            os.utime(path)
        return arrays

    def save(self, key: StatisticsKey, arrays: Mapping[str, ndarray]) -> None:
        """Keep the arrays of a key, and let the oldest files go where all together exceed `most_bytes`.

        Arrays that exceed it by themselves are not kept. Raises ValueError for arrays of objects.
        """
        if FACTS in arrays or any(array.dtype.hasobject for array in arrays.values()):
            raise ValueError(f"statistics are arrays of numbers, and none is called {FACTS}")
        if sum(array.nbytes for array in arrays.values()) > self.most_bytes:
            return
        path = self.folder / key.file()
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **{**arrays, FACTS: np.array(key.facts())})  # type: ignore[arg-type]
            partial.replace(path)
            self._shrink(keep=path)
        except OSError as error:
            say(f"statistics of the real images are not kept: {error.strerror} ({self.folder})")
        finally:
            with suppress(OSError):
                partial.unlink()

    def _shrink(self, *, keep: Path) -> None:
        """Remove files, least recently read first, until all fit; `keep` stays."""
        found = []
        for path in self.folder.glob("*.npz*"):  # with what killed processes left
            try:
                status = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((path == keep, status.st_mtime_ns, path, status.st_size))
        total = sum(size for *_, size in found)
        for kept, _, path, size in sorted(found):
            if kept or total <= self.most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size


def moments_to_arrays(moments: Moments) -> Arrays:
    """Moments as arrays for a cache, float64."""
    return {"count": np.array(moments.count), "mean": moments.mean.numpy(), "scatter": moments.scatter.numpy()}


def moments_from_arrays(arrays: Mapping[str, ndarray]) -> Moments:
    """The moments that `moments_to_arrays` was given."""
    mean, scatter = (torch.from_numpy(arrays[name]) for name in ("mean", "scatter"))
    return Moments(int(arrays["count"]), mean, scatter)
