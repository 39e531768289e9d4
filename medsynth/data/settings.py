"""A `data` config, checked: all that decides what a Pack holds."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsynth.augment import FLIPS
from medsynth.data.covariates import AREA, POSITION, RESERVED
from medsynth.data.intensity import Intensity
from medsynth.data.pack import FORMAT
from medsynth.data.picture import UNKNOWN
from medsynth.data.render import FITS, Decoder
from medsynth.data.sources.source import Source
from medsynth.data.splits import SPLITS
from medsynth.errors import UserError

BALANCES = ("none", "oversample", "weighted")  # see order.py
KEYS = frozenset(
    ("name", "root", "source", "phantom", "phantom_patients", "phantom_size", "phantom_seed", "channels", "bits", "fit",
     "intensity", "flips", "white", "split", "workers", "balance", "covariates", "mask_channel", "mask_labels",
     "content")  # stands in the config of a run: what its pack held
)  # fmt: skip
LIFTED = frozenset(
    ("slices", "slice_range", "min_area_mm2", "organ_labels", "lesion_labels", "plane", "crop", "margin_mm", "images",
     "masks", "not_finite", "unit", "modality", "target", "condition", "window", "labels", "table", "file_column",
     "label_column", "patient_column", "on_bad", "layout", "views", "positive", "train_table", "test_table")
)  # fmt: skip  # settings of a source or codec that stand at the top of the group and are interpolated into it

READING = frozenset(
    ("slices", "slice_range", "min_area_mm2", "organ_labels", "lesion_labels", "plane", "crop", "margin_mm",
     "not_finite", "images", "masks", "unit", "target", "condition", "image", "on_bad")
)  # fmt: skip  # settings of a source that say what is read, not who is who


@dataclass(frozen=True)
class Settings:
    """What a Pack is made from and how."""

    name: str
    root: Path
    source: Source
    source_config: dict[str, Any]
    decoder: Decoder
    shares: dict[str, float]
    seed: int
    covariates: tuple[str, ...] = ()
    mask_channel: bool = False
    mask_labels: tuple[int, ...] | None = None

    def describe(self) -> dict[str, Any]:
        """What identifies a pack beside its files. The window of 16-bit CT is no part of it, nor is the
        mask channel: they act on reading."""
        decoder = {key: value for key, value in asdict(self.decoder).items() if key != "intensity"}
        return {
            "format": FORMAT,
            **self.describe_split(),
            "source": self.source_config,
            "white": self.source.white,
            "decoder": {**decoder, "intensity": self.decoder.stored.config()},
            **({"covariates": self.covariates} if self.covariates else {}),
            **({"mask_labels": self.mask_labels} if AREA in self.covariates else {}),
        }

    def describe_split(self) -> dict[str, Any]:
        """What identifies an assignment to splits: packs that agree on it share one splits.csv, whatever they read of
        each file."""
        source = {key: value for key, value in self.source_config.items() if key not in READING}
        return {"root": str(self.root), "source": source, "split": self.shares, "seed": self.seed}


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain Python; a key it cannot have is refused."""
    from omegaconf import DictConfig, OmegaConf

    config: Any = OmegaConf.to_container(data, resolve=True) if isinstance(data, DictConfig) else dict(data)
    if unknown := sorted(set(config) - KEYS - LIFTED):
        raise UserError(f"data.{unknown[0]} is not a setting of data; known: {', '.join(sorted(KEYS | LIFTED))}")
    return config


def read_settings(config: Mapping[str, Any], *, resolution: int) -> Settings:
    """Check a plain data config and build its source and codec. Raises UserError naming the key."""
    if not config["root"]:
        raise UserError("data.root is empty; set data.root=DIR, or data.phantom=true for procedural images")
    name, root = config["name"], Path(str(config["root"])).expanduser().absolute()
    if not re.fullmatch(r"[\w-]+", name):  # it names a folder of the cache
        raise UserError(f"data.name={name} must be made of letters, digits, - and _")
    _check_choices(config)
    shares = {split: config["split"][split] for split in SPLITS}
    numbers = all(isinstance(share, int | float) for share in shares.values())
    if not numbers or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6 or shares["train"] == 0:
        raise UserError(f"data.split={shares} must be shares from 0 to 1 that add up to 1, with some for train")
    shares = {split: float(share) for split, share in shares.items()}
    if not isinstance(seed := config["split"].get("seed", 0), int):
        raise UserError(f"data.split.seed={seed} must be a whole number")
    source: Source = build(config["source"], "data.source", root=root)
    if config.get("white") is not None and type(source).read is not Source.read:
        raise UserError(f"data.white={config['white']} is of image files, and {name} reads none: set data.white=null")
    covariates, mask_channel, mask_labels = _conditions(config)
    source.columns = [name for name in covariates if name not in (POSITION, AREA)]
    source.white = None if config.get("white") is None else float(config["white"])
    intensity: Intensity = build(config["intensity"], "data.intensity")
    if config["channels"] not in source.channels:
        raise UserError(
            f"data.channels={config['channels']} must be {' or '.join(map(str, source.channels))} with data={name}"
        )
    _check_root(name, root, source)
    if intensity.unit not in ("any", source.unit):
        raise UserError(
            f"data.intensity needs values in {intensity.unit}, but {name} gives {source.unit}; "
            "use medsynth.data.intensity.Grey or Percentile"
        )
    decoder = Decoder(resolution, config["channels"], config["bits"], config["fit"], intensity)
    return Settings(
        name, root, source, dict(config["source"]), decoder, shares, seed, covariates, mask_channel, mask_labels
    )


def _conditions(config: Mapping[str, Any]) -> tuple[tuple[str, ...], bool, tuple[int, ...] | None]:
    """Names of covariates, whether masks are a channel, and which of their labels. Raises UserError naming the key."""
    names = config.get("covariates") or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"data.covariates={names} must be a list of names: data.covariates=[age,{POSITION}]")
    if wrong := next((name for name in names if name in RESERVED or names.count(name) > 1), None):
        raise UserError(f"data.covariates={names}: {wrong} stands there twice, or is a column of manifest.csv")
    if not isinstance(mask_channel := config.get("mask_channel", False), bool):
        raise UserError(f"data.mask_channel={mask_channel} must be true or false")
    labels = config.get("mask_labels")
    is_list = isinstance(labels, list | tuple) and len(labels) > 0
    if labels is not None and not (is_list and all(type(label) is int and 0 < label < UNKNOWN for label in labels)):
        raise UserError(f"data.mask_labels={labels} must be labels from 1 to {UNKNOWN - 1}, or null for all but 0")
    return tuple(names), mask_channel, None if labels is None else tuple(labels)


def _check_choices(config: Mapping[str, Any]) -> None:
    for key, choices in {"bits": (8, 16), "fit": FITS, "balance": BALANCES, "flips": FLIPS}.items():
        if config.get(key, choices[0]) not in choices:
            raise UserError(f"data.{key}={config[key]} must be one of {', '.join(map(str, choices))}")
    if not isinstance(workers := config.get("workers", 0), int) or workers < 0:
        raise UserError(f"data.workers={workers} must be a whole number of at least 0")
    white = config.get("white")
    if white is not None and not (isinstance(white, int | float) and white > 0):
        raise UserError(f"data.white={config['white']} must be above 0 or null")


def _check_root(name: str, root: Path, source: Source) -> None:
    if root.is_file():
        raise UserError(f"{name}: data.root={root} is a file; unpack an archive and give its folder")
    if not root.is_dir():
        raise UserError(
            f"{name}: no folder {root} (data.root). {source.origin}. "
            "Set data.root=DIR, or data.phantom=true for procedural images"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"{name}: no permission to read the folder {root} (data.root)")


def build(config: Mapping[str, Any], key: str, **extra: Any) -> Any:
    """Instantiate a config with a `_target_`; what is wrong with it is named under `key`."""
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    try:
        return instantiate(config, **extra, _convert_="all")
    except HydraException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{key} ({config.get('_target_')}): {reason}") from error
