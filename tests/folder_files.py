"""Folders of pictures that tests write: image files, NIfTI volumes, and what medsynth.generate exports."""

import json
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image

from medsynth.checkpoint import LoadedRun
from medsynth.export import Exporter


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """HU from -400 to 400: random columns of brightness under some noise."""
    stream = np.random.default_rng(seed)
    return stream.integers(-300, 300, shape) + stream.integers(-100, 100, shape[-1])


def png(path: Path, pixels: np.ndarray) -> Path:
    """Grey levels as a file, 8 or 16 bits by their type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pngs(folder: Path, count: int, *, seed: int = 0, side: int = 16, bits: int = 8) -> Path:
    """Pictures `slice (k).png` of random grey levels."""
    stream = np.random.default_rng(seed)
    for number in range(count):
        pixels = stream.integers(0, 2**bits, (side, side)).astype(np.uint8 if bits == 8 else np.uint16)
        png(folder / f"slice ({number}).png", pixels)
    return folder


def nifti(path: Path, values: np.ndarray, *, affine: np.ndarray | None = None) -> Path:
    """A volume (x, y, z) whose slices are axial in RAS, or lie as `affine` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def volumes(folder: Path, count: int, *, slices: int = 5, seed: int = 0, ends: str = ".nii.gz") -> Path:
    """Volumes `v<k>` of 16x16 pixels a slice."""
    for number in range(count):
        values = noise(16, 16, slices, seed=100 * seed + number).astype(np.int16)
        nifti(folder / f"v{number}{ends}", values)
    return folder


def exported(folder: Path, images: torch.Tensor, *, format: str, ranges: list[list[float]], **labels: str) -> Path:
    """Images (n, c, h, w) in [-1, 1] as medsynth.generate writes those of a run; channels beyond `ranges` are masks."""
    checkpoint = folder.parent / f"{folder.name}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"no weights")
    told = {
        "config": {"data": {"name": "test", "mask_channel": images.shape[1] > len(ranges)}, "model": {}},
        "checkpoint": checkpoint,
        "images_seen": 1,
        "class_names": sorted(set(labels.values())),
        "pack_content": "0",
        "intensity": {"_target_": "medsynth.data.intensity.Window"},
        "ranges": ranges,
        "spacing": [1.0, 1.0, 1.0],
    }
    run = object.__new__(LoadedRun)  # without a model
    run.__dict__.update(told)
    exporter = Exporter(folder, run=run, seed=0, format=format, bits=8)
    for number, image in enumerate(images):
        label = labels.get(f"n{number}")
        exporter.write(image, number, **({"label": label} if label else {}))
    exporter.close()
    assert json.loads((folder / "provenance.json").read_text())["ranges"] == ranges
    return folder
