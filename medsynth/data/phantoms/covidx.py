"""Phantom of COVIDx: radiographs of analytic chests in train/ and test/ with split files as the genuine ones are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsynth.data.phantoms.canvas import Field, stream
from medsynth.data.phantoms.chest import Chest, Film, exposed, radiograph

LABELS = ("negative", "positive")
PATIENT, FILM = 0, 1  # words of the random streams
MODES = (("L", 0.82), ("RGB", 0.08), ("P", 0.05), ("RGBA", 0.05))


@dataclass(frozen=True)
class Origin:
    """A set that COVIDx took images from: how often, its word in the split files, and how it names them.

    patient, image: the id of patient number k, and the stem of its image number i.  ending: of its grey and RGB files.
    """

    share: float
    source: str
    patient: Callable[[int], str]
    image: Callable[[int, int], str]
    most: int
    ending: str


ORIGINS: dict[str, tuple[Origin, ...]] = {
    "negative": (
        Origin(0.7, "rsna", lambda k: _uuid(k), lambda k, i: _uuid(k), 1, ".png"),
        Origin(0.3, "actmed", lambda k: f"ANON{k}", lambda k, i: f"CR.1.2.840.{2020 + k}.{i}", 3, ".png"),
    ),
    "positive": (
        Origin(0.5, "cohen", lambda k: f"{k}", lambda k, i: f"covid-19-pneumonia-{k}-day{i}", 4, ".jpg"),
        Origin(0.3, "sirm", lambda k: f"COVID {k}", lambda k, i: f"COVID({k})", 1, ".png"),
        Origin(0.2, "fig1", lambda k: f"COVID-{k:05}", lambda k, i: f"COVID-{k:05}{'abc'[i]}", 3, ".jpg"),
    ),
}
"""The rows of sirm break at blanks: "COVID 72 COVID(72).png positive sirm" has five fields."""


def _uuid(number: int) -> str:
    """Ids of rsna are random; these are a fixed function of the number."""
    digits = stream(number).bytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write train/ and test/ with train_split.txt and test_split.txt: `id file label source`, one row an image.

    Every fifth patient of a class is in test/, beginning with the second; `patients` = 1 writes two, one on each side.
    """
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for side in rows:
        (folder / side).mkdir(parents=True, exist_ok=True)
    for label in range(len(LABELS)):
        for index in range(max(2, patients)):
            side = "test" if index % 5 == 1 else "train"
            rows[side] += _write_patient(folder / side, label=label, index=index, size=size, seed=seed)
    for side, lines in rows.items():
        (folder / f"{side}_split.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_patient(home: Path, *, label: int, index: int, size: int, seed: int) -> list[str]:
    """Write a patient's images and return their rows."""
    rng = stream(seed, PATIENT, label, index)
    name = LABELS[label]
    origins = ORIGINS[name]
    origin = origins[rng.choice(len(origins), p=[origin.share for origin in origins])]
    chest = Chest.random(rng, positive=name == "positive")
    number, rows = index + 1, []
    for image in range(int(rng.integers(1, origin.most + 1))):
        words = stream(seed, FILM, label, index, image)
        film = Film.random(words, chest)
        mode = str(words.choice([mode for mode, _ in MODES], p=[share for _, share in MODES]))
        ending = origin.ending if mode in ("L", "RGB") else ".png"  # JPEG has neither a palette nor transparency
        file = f"{origin.image(number, image)}{ending}"
        _write_image(home / file, exposed(words, radiograph(chest, film, size), film.noise), mode)
        rows.append(f"{origin.patient(number)} {file} {name} {origin.source}")
    return rows


def _write_image(path: Path, picture: Field, mode: str) -> None:
    """Write grey levels (clipped to 0..255) in the pixel type `mode`."""
    from PIL import Image

    grey = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    grey.convert(mode).save(path, quality=90)
