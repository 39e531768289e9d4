"""Find the Pack that fits a data config, or have it made: once, by one process, whole or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medsynth.data.pack import Pack, cache_folder
from medsynth.data.packing import Copies, digest, make_pack
from medsynth.data.progress import Say
from medsynth.data.settings import Settings, build, plain, read_settings
from medsynth.errors import UserError, say


def prepare_pack(
    data: Mapping[str, Any], *, resolution: int, augment: Mapping[str, Any] | None = None, progress: Say = say,
    warn: bool = True,
) -> Pack:  # fmt: skip
    """The Pack for a data config, found under the cache folder or made there.

    data: the config of the `data` group.  resolution: side in pixels.  progress: where lines for people go.
    augment: the config of the `augment` group; with `copies` above 0 the pack holds, beside each training image, as
    many transformed copies of it.  warn: whether to tell the warnings of a pack that is made now.
    Any number of processes may ask at once: one makes it, the others wait. Raises UserError.
    """
    config = plain(data)
    if config.get("phantom"):
        config["root"] = str(phantom_root(config, progress=progress))
    settings = read_settings(config, resolution=resolution)
    copies = _copies(augment, flips=config["flips"])
    files = settings.source.files()
    described = {**settings.describe(), **({"copies": copies.config} if copies else {})}
    key = digest({**described, "files": [_identity(path, settings.root) for path in files]})
    shelf = cache_folder() / "packs" / f"{settings.name}-{digest(settings.describe_split())[:8]}"
    folder = shelf / f"{resolution}-{key[:12]}"
    if not (folder / "pack.json").exists():
        with _locked(shelf, progress=progress):
            if not (folder / "pack.json").exists():
                warnings = _make(settings, copies, folder=folder, key=key, progress=progress)
                for warning in warnings if warn else ():
                    progress(f"warning: {warning}")
    return Pack.open(
        folder,
        intensity=settings.decoder.intensity.config(),
        mask_channel=settings.mask_channel,
        mask_labels=settings.mask_labels,
    )


def _copies(augment: Mapping[str, Any] | None, *, flips: str) -> Copies | None:
    """What `augment.copies` asks for; None for augmentation while training."""
    config = dict(augment or {})
    count = config.pop("copies", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise UserError(f"augment.copies={count} must be a whole number of at least 0")
    if count == 0:
        return None
    augmentation = build(config, "augment")
    if augmentation is None:
        raise UserError(f"augment.copies={count} needs an augmentation: augment=affine_mild or affine_strong")
    return Copies(count, augmentation, flips, {"count": count, "augment": config, "flips": flips})


def phantom_root(config: Mapping[str, Any], *, progress: Say) -> Path:
    """The folder of this config's phantoms, written once: files in the dataset's own layout."""
    from medsynth.data.phantoms import NAMES, write_phantoms

    if config["phantom"] is not True:
        raise UserError(f"data.phantom={config['phantom']} must be true or false")
    if config["name"] not in NAMES:
        raise UserError(f"there is no phantom of '{config['name']}'; choose one of {', '.join(NAMES)}")
    settings = {
        "patients": config["phantom_patients"],
        "size": config["phantom_size"],
        "seed": config["phantom_seed"],
    }
    shelf = cache_folder() / "phantoms"
    folder = shelf / f"{config['name']}-{digest(settings)[:8]}"
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


def _identity(path: Path, root: Path) -> list[Any]:
    """What changes when a file changes."""
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)  # a table may lie elsewhere
    try:
        stat = path.stat()
    except OSError:  # a dangling link: the reader will name it
        return [name, -1, -1]
    return [name, stat.st_size, stat.st_mtime_ns]


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


def _make(settings: Settings, copies: Copies | None, *, folder: Path, key: str, progress: Say) -> list[str]:
    """Write the pack beside its place and rename it; returns its warnings. Only called with the shelf's lock held."""
    for left_over in folder.parent.glob(".partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder.parent / f".partial-{folder.name}"
    partial.mkdir()
    try:
        warnings = make_pack(settings, partial, home=folder, key=key, copies=copies, progress=progress)
    except OSError as error:
        raise UserError(f"cannot make the pack {folder}: {error}; MEDSYNTH_CACHE chooses another place") from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return warnings
