"""The contact sheet shows every class, every split, masks and conditions, of as many patients as there are."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsynth.data.contact_sheet import (
    COLOURS,
    GAP,
    LINE,
    MARGIN,
    TILE,
    TITLE,
    _outline,
    choose,
    contact_sheet,
    rows_of,
)
from medsynth.data.contact_sheet import write_contact_sheet as write
from medsynth.data.intensity import Intensity
from medsynth.data.pack import Pack
from medsynth.data.picture import UNKNOWN, Picture
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.source import Listing, Load, Record, Source

SLICES = 5
BOX = 6  # pixels a side of the labelled square on the last slice of a patient


class Made(Source):
    """Files of classes, each a patient of five slices with growing masks."""

    origin = "made up by this test"

    def __init__(self, root: str | Path, *, masks: bool, conditions: int, modalities: int, unpaired: bool) -> None:
        self.root, self.masks, self.conditions, self.modalities = Path(root), masks, conditions, modalities
        self.unpaired, self.channels = unpaired, (modalities,)

    def files(self) -> list[Path]:
        return sorted(self.root.rglob("*.txt"))

    def records(self) -> Listing:
        classes = {path.parent for path in self.files()}
        domains = ["condition" if self.unpaired and k % 2 else "target" for k in range(len(self.files()))]
        return Listing([Record(path, label=path.parent.name if len(classes) > 1 else None, patient=path.stem,
                               domain=domain) for path, domain in zip(self.files(), domains, strict=True)])  # fmt: skip

    def read(self, record: Record, intensity: Intensity) -> Iterator[Load]:
        yield from (partial(self.slice, int(record.path.stem), number) for number in range(SLICES))

    def slice(self, patient: int, number: int) -> Picture:
        values = (
            np.random.default_rng(SLICES * patient + number).random((16, 16, self.modalities)).astype(np.float32) / 2
        )
        mask = np.zeros((16, 16), np.uint8)
        mask[4 : 4 + BOX, 4 : 4 + BOX] = number > 1
        mask[4 : 5 + number, 4 : 5 + number] = 2 if number == 4 else mask[4 : 5 + number, 4 : 5 + number]
        condition = np.ones((16, 16, self.conditions), np.float32) if self.conditions else None
        codecs = [_grey()] * self.modalities
        return Picture(values if self.modalities > 1 else values[..., 0], mode="L", size=(16, 16), codecs=codecs,
                       mask=mask if self.masks else None, condition=condition,
                       condition_codecs=[_grey()] * self.conditions)  # fmt: skip


def _grey() -> Intensity:
    from medsynth.data.intensity import Grey

    return Grey()


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Pack]:
    def make(*, classes: int = 2, patients: int = 10, copies: int = 0, **changes: Any) -> Pack:
        for k in range(classes * patients):
            path = tmp_path / "made" / f"class {k // patients}" / f"{k}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        options = {"masks": False, "conditions": 0, "modalities": 1, "unpaired": False} | changes
        config = {
            "name": "made", "root": str(tmp_path / "made"), "phantom": False, "channels": options["modalities"],
            "source": {"_target_": f"{__name__}.Made", **options}, "bits": 8, "fit": "pad", "flips": "none",
            "intensity": {"_target_": "medsynth.data.intensity.Grey"}, "white": None, "workers": 0,
            "split": {"train": 0.6, "val": 0.2, "test": 0.2, "seed": 0},
        }  # fmt: skip
        augment = {"_target_": "medsynth.augment.affine.Affine", "rotation": 9.0, "zoom": 0.1, "shift": 0.1,
                   "shear": 0.0, "copies": copies}  # fmt: skip
        return prepare_pack(config, resolution=16, augment=augment, progress=lambda text: None)

    return make


def tile(sheet: Image.Image, row: int, place: int, pictures: int = 1) -> np.ndarray:
    """The pixels of one picture of the sheet; place counts pictures."""
    cell, inside = divmod(place, pictures)
    left = TITLE + cell * (pictures * TILE + GAP) + inside * TILE
    top = MARGIN + 3 * LINE + row * (LINE + TILE + GAP)
    return np.asarray(sheet)[top : top + TILE, left : left + TILE]


def test_rows_are_classes_with_images_of_every_split(packed: Callable[..., Pack]) -> None:
    pack = packed()
    rows = rows_of(pack)
    assert [row.title.splitlines()[0] for row in rows] == ["class 0", "class 1"]
    assert rows[0].title.splitlines()[1:] == ["50 images", "10 groups"]
    for label, row in enumerate(rows):
        assert [split for split, _ in row.cells] == ["train"] * 8 + ["val"] * 2 + ["test"] * 2
        assert all(pack.labels[i] == label and i in pack.splits[split] for split, i in row.cells)


def test_without_classes_rows_are_splits(packed: Callable[..., Pack]) -> None:
    rows = rows_of(packed(classes=1))
    assert [row.title.splitlines()[0] for row in rows] == ["train", "val", "test"]
    assert len(rows[0].cells) == 12


def test_images_of_different_patients_come_before_further_ones_of_the_same(packed: Callable[..., Pack]) -> None:
    pack = packed(classes=1)
    train = pack.splits["train"]
    chosen = choose(pack, train, 4)
    assert len(set(pack.patients[chosen])) == 4
    many = choose(pack, train, 20)
    assert len(set(many)) == 20
    assert set(pack.patients[many]) == set(pack.patients[train])
    assert choose(pack, train[:3], 12) == choose(pack, train[:3], 3)


def test_the_slice_that_shows_most_of_the_mask_stands_for_its_patient(packed: Callable[..., Pack]) -> None:
    pack = packed(masks=True)
    assert all(index % SLICES >= 2 for index in choose(pack, pack.splits["train"], 6))


def test_a_tile_is_the_packed_image(packed: Callable[..., Pack]) -> None:
    pack = packed()
    shown = tile(contact_sheet(pack), 0, 0)
    stored = np.asarray(pack.images[rows_of(pack)[0].cells[0][1], 0])
    factor = TILE // 16
    assert np.array_equal(shown[::factor, ::factor, 0], stored)
    assert (shown == shown[..., :1]).all()


def test_masks_are_outlines_in_the_colour_of_their_label(packed: Callable[..., Pack]) -> None:
    pack = packed(masks=True)
    shown, plain = tile(contact_sheet(pack), 0, 0), (TILE // 16 * 4, TILE // 16 * (4 + BOX))
    colours = {tuple(pixel) for pixel in shown.reshape(-1, 3).tolist()}
    assert COLOURS[0] in colours or COLOURS[1] in colours
    assert tuple(shown[plain[0], plain[0] + 8]) in COLOURS[:2]
    middle = shown[plain[0] + 4 : plain[0] + 8, plain[0] + 4 : plain[0] + 8]
    assert (middle == middle[..., :1]).all()  # what is inside an outline is still seen


def test_outlines_are_one_line_a_border_and_let_a_crowded_image_show_through() -> None:
    grey, mask = np.full((TILE, TILE, 3), 100, np.uint8), np.zeros((TILE, TILE), np.uint8)
    mask[10:30, 10:20], mask[10:30, 20:30] = 1, 2
    few = grey.copy()
    _outline(few, mask)
    assert [tuple(few[15, column]) for column in (10, 19, 20, 21, 29)] == [
        COLOURS[0], (100, 100, 100), COLOURS[1], (100, 100, 100), COLOURS[1],
    ]  # fmt: skip
    crowded = grey.copy()
    _outline(crowded, np.indices((TILE, TILE)).sum(0).astype(np.uint8) // 4 % 2)
    share = np.abs(crowded.astype(int) - 100).max() / np.abs(np.array(COLOURS[0]) - 100).max()
    assert 0.1 < share < 0.3
    unknown = grey.copy()
    _outline(unknown, np.where(mask == 2, UNKNOWN, mask).astype(np.uint8))
    assert tuple(unknown[15, 19]) == COLOURS[0]
    assert (unknown[15, 20:] == 100).all()


def test_conditions_and_channels_stand_beside_the_image(packed: Callable[..., Pack]) -> None:
    sheet = contact_sheet(packed(conditions=1))
    assert (tile(sheet, 0, 1, pictures=2) == 255).all()
    assert tile(sheet, 0, 0, pictures=2).max() < 255


def test_modalities_stand_beside_each_other(packed: Callable[..., Pack]) -> None:
    pack = packed(modalities=2)
    stored = pack.images[rows_of(pack)[0].cells[0][1], 1]
    assert np.array_equal(tile(contact_sheet(pack), 0, 1, pictures=2)[:: TILE // 16, :: TILE // 16, 0], stored)


def test_the_other_set_and_augmented_copies_have_rows(packed: Callable[..., Pack]) -> None:
    assert rows_of(packed(unpaired=True, patients=11))[-1].title.startswith("other set")
    last = rows_of(packed(copies=1))[-1]
    assert last.title.startswith("augmented copies")
    assert len(last.cells) == 12


def test_it_is_written_as_png_over_an_older_one(packed: Callable[..., Pack], tmp_path: Path) -> None:
    pack = packed()
    path = tmp_path / "sheet.png"
    path.write_text("old")
    assert write(pack, path) == path
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == contact_sheet(pack).size
    assert not list(tmp_path.glob(".*.png"))
