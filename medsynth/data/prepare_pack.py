"""Find the Pack that fits a data config, or make it: list, decode, group, split, check, write beside, rename."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from medsynth.data.decode import FITS, BadImage, Decoder, Slice, decode, strict_pillow
from medsynth.data.fingerprint import fingerprint
from medsynth.data.intensity import Intensity
from medsynth.data.pack import FORMAT, Pack, cache_folder
from medsynth.data.series import Groups, Looks, normalise
from medsynth.data.sources.source import Record, Source
from medsynth.data.splits import Assignment, assign, check_leaks, format_assignment, read_assignment
from medsynth.errors import UserError, say

Say = Callable[[str], None]
KEYS = frozenset(
    ("name", "root", "source", "phantom", "phantom_patients", "phantom_size", "phantom_seed", "channels", "bits", "fit",
     "intensity", "flips", "white", "split", "workers", "content")
)  # fmt: skip  # `content` stands in the config of a run: what its pack held
WINDOW = 256  # files in flight: bounds memory where decoding outruns writing


@dataclass(frozen=True)
class Settings:
    """All of a data config that decides what a Pack holds."""

    name: str
    root: Path
    source: Source
    source_config: dict[str, Any]
    decoder: Decoder
    shares: dict[str, float]
    seed: int

    def describe(self) -> dict[str, Any]:
        """What identifies a pack beside its files."""
        decoder = {k: v for k, v in asdict(self.decoder).items() if k != "intensity"}
        return {
            "format": FORMAT,
            **self.describe_split(),
            "decoder": {**decoder, "intensity": self.decoder.intensity.config()},
        }

    def describe_split(self) -> dict[str, Any]:
        """What identifies an assignment to splits: packs that agree on it share one splits.csv."""
        return {"root": str(self.root), "source": self.source_config, "split": self.shares, "seed": self.seed}


def prepare_pack(data: Mapping[str, Any], *, resolution: int, progress: Say = say) -> Pack:
    """The Pack for a data config, found under the cache folder or made there.

    data: the config of the `data` group.  resolution: side in pixels.  progress: where lines for people go.
    Any number of processes may ask at once: one makes it, the others wait. Raises UserError.
    """
    config = _plain(data)
    if config.get("phantom"):
        config["root"] = str(phantom_root(config, progress=progress))
    settings = read_settings(config, resolution=resolution)
    records = list_records(settings)
    key = _hash({**settings.describe(), "files": [_identity(r, settings.root) for r in records]})
    shelf = cache_folder() / "packs" / f"{settings.name}-{_hash(settings.describe_split())[:8]}"
    folder = shelf / f"{resolution}-{key[:12]}"
    if not (folder / "pack.json").exists():
        with _locked(shelf, progress=progress):
            if not (folder / "pack.json").exists():
                _make(settings, records, folder=folder, key=key, progress=progress)
    return Pack.open(folder)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain Python; a key it cannot have is refused."""
    from omegaconf import DictConfig, OmegaConf

    config: Any = OmegaConf.to_container(data, resolve=True) if isinstance(data, DictConfig) else dict(data)
    unknown = sorted(set(config) - KEYS)
    if unknown:
        raise UserError(f"data.{unknown[0]} is not a setting of data; known: {', '.join(sorted(KEYS))}")
    return config


def read_settings(config: Mapping[str, Any], *, resolution: int) -> Settings:
    """Check a plain data config and build its source and codec. Raises UserError naming the key."""
    if config["root"] is None:
        raise UserError("data.root is null; set data.root=DIR, or data.phantom=true for procedural images")
    name, root = config["name"], Path(str(config["root"])).expanduser().absolute()
    if not re.fullmatch(r"[\w-]+", name):  # it names a folder of the cache
        raise UserError(f"data.name={name} must be made of letters, digits, - and _")
    allowed = {"channels": (1, 3), "bits": (8, 16), "fit": FITS}
    for key, choices in allowed.items():
        if config[key] not in choices:
            raise UserError(f"data.{key}={config[key]} must be one of {', '.join(map(str, choices))}")
    white = config.get("white")
    if white is not None and not (isinstance(white, int | float) and white > 0):
        raise UserError(f"data.white={config['white']} must be above 0 or null")
    shares = {split: float(config["split"][split]) for split in ("train", "val", "test")}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6 or shares["train"] == 0:
        raise UserError(f"data.split={shares} must be shares from 0 to 1 that add up to 1, with some for train")
    source = build(config["source"], "data.source", root=root)
    intensity: Intensity = build(config["intensity"], "data.intensity")
    if not root.is_dir():
        raise UserError(
            f"{name}: no folder {root} (data.root). {source.origin}. "
            "Set data.root=DIR, or data.phantom=true for procedural images"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"{name}: no permission to read the folder {root} (data.root)")
    if intensity.unit not in ("any", source.unit):
        raise UserError(
            f"data.intensity needs values in {intensity.unit}, but {name} gives {source.unit}; "
            "use medsynth.data.intensity.Grey or Percentile"
        )
    white = None if white is None else float(white)
    decoder = Decoder(resolution, config["channels"], config["bits"], config["fit"], intensity, white)
    return Settings(name, root, source, dict(config["source"]), decoder, shares, int(config["split"].get("seed", 0)))


def build(config: Mapping[str, Any], key: str, **extra: Any) -> Any:
    """Instantiate a config with a `_target_`; what is wrong with it is named under `key`."""
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    try:
        return instantiate(config, **extra)
    except HydraException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{key} ({config.get('_target_')}): {reason}") from error


def phantom_root(config: Mapping[str, Any], *, progress: Say) -> Path:
    """The folder of this config's phantoms, written once: files in the dataset's own layout."""
    from medsynth.data.phantoms import write_phantoms

    settings = {
        "patients": config["phantom_patients"],
        "size": config["phantom_size"],
        "seed": config["phantom_seed"],
    }
    shelf = cache_folder() / "phantoms"
    folder = shelf / f"{config['name']}-{_hash(settings)[:8]}"
    if folder.exists():
        return folder
    with _locked(shelf, progress=progress):
        if not folder.exists():
            progress(f"writing {config['name']} phantoms ({settings['patients']} patients a class) to {folder}")
            partial = shelf / f".partial-{folder.name}"
            shutil.rmtree(partial, ignore_errors=True)
            write_phantoms(config["name"], partial, **settings)
            partial.rename(folder)
    return folder


def list_records(settings: Settings) -> list[Record]:
    """The source's records. Raises UserError for a folder without images."""
    records = settings.source.records()
    if not records:
        raise UserError(f"{settings.name}: no image in {settings.root} (data.root). {settings.source.origin}")
    return records


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _identity(record: Record, root: Path) -> list[Any]:
    """What changes when a file or what is known about it changes."""
    try:
        stat = record.path.stat()
    except OSError:  # a dangling link: the decoder will name it
        return [_relative(record, root), -1, -1]
    known = (record.label, record.patient, record.number, record.official_split)
    return [_relative(record, root), stat.st_size, stat.st_mtime_ns, *known]


def _relative(record: Record, root: Path) -> str:
    return record.path.relative_to(root).as_posix()


class _locked:
    """Hold the lock of a cache folder, saying so when another process has it. A killed process frees its lock."""

    def __init__(self, folder: Path, *, progress: Say) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".lock").touch()
        except OSError as error:
            raise UserError(
                f"cannot write to the cache folder {folder}: {error.strerror}; set MEDSYNTH_CACHE"
            ) from error
        self.lock, self.progress = FileLock(folder / ".lock"), progress

    def __enter__(self) -> None:
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            self.progress(f"waiting for another process that prepares {Path(self.lock.lock_file).parent}")
            self.lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self.lock.release()


def _make(settings: Settings, records: Sequence[Record], *, folder: Path, key: str, progress: Say) -> None:
    """Write the pack beside its place and rename it. Only called with the shelf's lock held."""
    for left_over in folder.parent.glob(".partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder.parent / f".partial-{folder.name}"
    partial.mkdir()
    try:
        slices, kept, rejected, pixels = _pack_pixels(settings, records, partial / "images.npy", progress=progress)
        looks = Looks(normalise(np.stack([s.thumbnail for s in slices])), [s.digest for s in slices])
        groups = settings.source.groups(kept, looks)
        assignment = _split(settings, kept, groups, folder.parent / "splits.csv")
        facts = _write_table(partial, settings, kept, slices, groups, assignment, key=key, pixels=pixels)
        _check_written(partial, settings, looks)
        report = fingerprint(
            facts, records=kept, slices=slices, looks=looks, groups=groups, assignment=assignment, rejected=rejected,
            source=settings.source, folder=folder,
        )  # fmt: skip
        (partial / "prepare.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (partial / "pack.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot make the pack {folder}: {error}; MEDSYNTH_CACHE chooses another place") from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for warning in report["warnings"]:
        progress(f"warning: {warning}")


def _pack_pixels(
    settings: Settings, records: Sequence[Record], path: Path, *, progress: Say
) -> tuple[list[Slice], list[Record], list[dict[str, str]], str]:
    """Decode all files into one .npy: slices without their pixels, their records, the rejected, and a pixel digest."""
    slices: list[Slice] = []
    kept: list[Record] = []
    rejected: list[dict[str, str]] = []
    hashed = hashlib.sha256()
    shape = (settings.decoder.channels, settings.decoder.resolution, settings.decoder.resolution)
    progress(f"packing {settings.name} at {shape[1]}x{shape[2]}: {len(records):,} files from {settings.root}")
    told = time.monotonic()
    with path.open("wb") as file:
        start = _write_header(file, (len(records), *shape), settings.decoder.bits)
        for done, (record, result) in enumerate(_decoded(records, settings.decoder), start=1):
            if isinstance(result, Slice):
                raw = result.pixels.tobytes()
                hashed.update(raw)
                file.write(raw)
                slices.append(replace(result, pixels=result.pixels[:, :0, :0].copy()))  # a view would keep them all
                kept.append(record)
            else:
                rejected.append({"file": _relative(record, settings.root), "reason": str(result)})
            if time.monotonic() - told > 5:
                told = time.monotonic()
                progress(f"  {done:,} of {len(records):,} files")
        file.seek(0)
        if _write_header(file, (len(slices), *shape), settings.decoder.bits) != start:
            raise OSError(f"the header of {path.name} changed its length")
    _tell_rejected(settings, rejected, total=len(records), progress=progress)
    return slices, kept, rejected, hashed.hexdigest()


def _tell_rejected(settings: Settings, rejected: list[dict[str, str]], *, total: int, progress: Say) -> None:
    """Name the rejected files. Raises UserError when nothing is left."""
    if len(rejected) == total:
        raise UserError(
            f"{settings.name}: none of the {total:,} files in {settings.root} could be read; "
            f"the first, {rejected[0]['file']}: {rejected[0]['reason']}"
        )
    if rejected:
        progress(f"rejected {len(rejected):,} of {total:,} files (all in prepare.json):")
    for entry in rejected[:10]:
        progress(f"  {entry['file']}: {entry['reason']}")


def _write_header(file: Any, shape: tuple[int, ...], bits: int) -> int:
    """Write the .npy header and return its end; NumPy pads it so that a smaller first dimension fits the same space."""
    descr = np.lib.format.dtype_to_descr(np.dtype(np.uint8 if bits == 8 else np.uint16))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.tell()


def _decoded(records: Sequence[Record], decoder: Decoder) -> Iterator[tuple[Record, Slice | BadImage]]:
    """The records with what became of them, in order. Threads do: Pillow decodes without the interpreter lock."""

    def attempt(record: Record) -> Slice | BadImage:
        try:
            return decode(record.path, decoder)
        except BadImage as reason:
            return reason

    with strict_pillow(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for first in range(0, len(records), WINDOW):
            chunk = records[first : first + WINDOW]
            yield from zip(chunk, pool.map(attempt, chunk), strict=True)


def _split(settings: Settings, records: Sequence[Record], groups: Groups, path: Path) -> Assignment:
    """Assign splits, honouring and extending splits.csv."""
    earlier = read_assignment(path)
    files = [_relative(r, settings.root) for r in records]
    published = [r.official_split for r in records]
    assignment = assign(
        groups.patients,
        [r.label or "" for r in records],
        shares=settings.shares,
        seed=settings.seed,
        fixed=published if any(published) else None,
        earlier=[earlier.get(file, (None, None))[1] for file in files],
    )
    rows = earlier | {f: (p, s) for f, p, s in zip(files, groups.patients, assignment.splits, strict=True)}
    beside = path.with_suffix(".partial")
    beside.write_text(format_assignment(rows), encoding="utf-8")
    beside.replace(path)
    return assignment


def _check_written(partial: Path, settings: Settings, looks: Looks) -> None:
    """Read the table back. Raises UserError when a patient or an image stands in two splits."""
    with np.load(partial / "table.npz", allow_pickle=False) as table:
        leaks = check_leaks(table["splits"].tolist(), table["patients"].tolist(), looks.digests, looks.flat)
    if leaks:
        raise UserError(f"{settings.name}: {leaks[0]} stands in two splits ({len(leaks):,} such); nothing was kept")


def _write_table(
    partial: Path, settings: Settings, records: Sequence[Record], slices: Sequence[Slice], groups: Groups,
    assignment: Assignment, *, key: str, pixels: str,
) -> dict[str, Any]:  # fmt: skip
    """Write table.npz; returns the content of pack.json."""
    class_names = sorted({r.label for r in records if r.label is not None})
    labels = np.array([class_names.index(r.label) if r.label is not None else -1 for r in records], dtype=np.int64)
    np.savez(
        partial / "table.npz",
        labels=labels,
        patients=np.array(groups.patients),
        files=np.array([_relative(r, settings.root) for r in records]),
        splits=np.array(assignment.splits),
        low=np.array([s.low for s in slices], dtype=np.float32),
        high=np.array([s.high for s in slices], dtype=np.float32),
    )
    decoder = settings.decoder
    return {
        "format": FORMAT,
        "name": settings.name,
        "key": key,
        "content": _hash([pixels, labels.tolist(), class_names, assignment.splits]),
        "class_names": class_names,
        "resolution": decoder.resolution,
        "channels": decoder.channels,
        "bits": decoder.bits,
        "intensity": decoder.intensity.config(),
        "provides": ["image", "label"] if len(class_names) > 0 and not (labels < 0).any() else ["image"],
    }
