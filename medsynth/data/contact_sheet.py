"""What a Pack holds as one picture, to be looked at before training. It shows real patients: keep it with the pack."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from medsynth.data.pack import Pack
from medsynth.data.picture import UNKNOWN
from medsynth.data.render import quantise

COLUMNS = 12
SHARES = {"train": 8, "val": 2, "test": 2}  # of COLUMNS
ROWS = 24
TILE = 128  # pixels a side on the sheet
CANDIDATES = 9  # slices of a patient among which the one with most labelled pixels is shown
MARGIN, GAP, LINE, TITLE = 8, 4, 18, 150  # pixels
FULL = 0.05  # of a tile's pixels: outlines that take no more hide nothing and keep their full colour
T = TypeVar("T")
COLOURS = ((255, 90, 70), (90, 200, 255), (255, 210, 60), (130, 230, 110), (220, 130, 255), (255, 150, 30))


@dataclass(frozen=True)
class Row:
    """A line of the sheet: its title, and the split and index of each image that stands in it."""

    title: str
    cells: list[tuple[str, int]]


def write_contact_sheet(pack: Pack, path: Path) -> Path:
    """Write the sheet as PNG, beside its place and renamed; returns `path`."""
    beside = path.with_name(f".{os.getpid()}-{path.name}")  # others may write the same sheet
    contact_sheet(pack).save(beside, format="PNG")
    return beside.replace(path)


def contact_sheet(pack: Pack) -> Image.Image:
    """The sheet as an RGB picture.

    Rows are classes, or splits where there are fewer than two classes; a further row shows the other set of an unpaired
    dataset, and one augmented copies. Images in a row come from different patients as far as there are enough. Outlines
    are masks, a colour a label. Channels that are no colours, and conditions, stand side by side in a cell.
    """
    rows = rows_of(pack)
    across, height = len(_pictures(pack, 0)) * TILE + GAP, LINE + TILE + GAP
    columns = max([len(row.cells) for row in rows], default=0)
    size = TITLE + max(columns * across, 6 * TILE) + MARGIN, 2 * MARGIN + 2 * LINE + len(rows) * height
    sheet = Image.new("RGB", size, (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, pack, rows)
    for number, row in enumerate(rows):
        _draw_row(sheet, draw, pack, row, top=MARGIN + 2 * LINE + number * height, across=across)
    return sheet


def rows_of(pack: Pack) -> list[Row]:
    """What stands where: ROWS rows at most, none without images."""
    pictures = _pictures(pack, 0)
    share = {split: max(1, count // len(pictures)) for split, count in SHARES.items()}
    whole = max(2, COLUMNS // len(pictures))
    rows = []
    if len(pack.class_names) > 1:
        for label, name in [*enumerate(pack.class_names), (-1, "(no label)")]:
            rows.append(_row(pack, name, {s: i[pack.labels[i] == label] for s, i in pack.splits.items()}, share))
    else:
        rows += [_row(pack, split, {split: images}, {split: whole}) for split, images in pack.splits.items()]
    rows.append(_row(pack, "other set", pack.others, share))
    rows.append(_row(pack, "augmented copies", {"train": np.flatnonzero(pack.copies > 0)}, {"train": whole}))
    return [row for row in rows if row.cells][:ROWS]


def _row(pack: Pack, name: str, images: Mapping[str, Int[ndarray, " n"]], counts: Mapping[str, int]) -> Row:
    every = np.concatenate(list(images.values()))
    title = f"{name}\n{len(every):,} images\n{len(set(pack.patients[every])):,} groups"
    return Row(title, [(split, i) for split, chosen in images.items() for i in choose(pack, chosen, counts[split])])


def choose(pack: Pack, images: Int[ndarray, " n"], count: int) -> list[int]:
    """`count` of these images, of as many patients as there are; of each the slice that shows most of the mask, or the
    middle one."""
    patients = dict.fromkeys(pack.patients[images].tolist())
    chosen = [_telling(pack, images[pack.patients[images] == name]) for name in _evenly(list(patients), count)]
    rest = [int(i) for i in images if i not in chosen]
    return chosen + _evenly(rest, count - len(chosen))


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` items from the first to the last, or all where there are fewer."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(count, len(items))).tolist()]


def _telling(pack: Pack, images: Int[ndarray, " n"]) -> int:
    candidates = _evenly(images.tolist(), CANDIDATES)
    if pack.masks is not None:
        masks = np.asarray(pack.masks[candidates])
        areas = ((masks > 0) & (masks != UNKNOWN)).sum(axis=(1, 2, 3))
        if areas.max() > 0:
            return candidates[int(areas.argmax())]
    return candidates[len(candidates) // 2]


def _draw_heading(draw: ImageDraw.ImageDraw, pack: Pack, rows: Sequence[Row]) -> None:
    """The name, and the colour of each label that is shown."""
    font = ImageFont.load_default(13)
    images = int((pack.copies == 0).sum())
    text = (
        f"{pack.name} at {pack.resolution}x{pack.resolution}: {images:,} images. May show real patients: keep it here."
    )
    if (classes := len(pack.class_names)) > len(rows):
        text += f" {len(rows)} of {classes:,} classes are shown."
    draw.text((MARGIN, MARGIN), text, fill=(255, 255, 255), font=font)
    shown = [index for row in rows for _, index in row.cells]
    labels = np.unique(pack.masks[shown]).tolist() if pack.masks is not None else []
    for place, label in enumerate(label for label in labels if label not in (0, UNKNOWN)):
        draw.text((MARGIN + 70 * place, MARGIN + LINE), f"label {label}", fill=_colour(label), font=font)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, pack: Pack, row: Row, *, top: int, across: int) -> None:
    font = ImageFont.load_default(13)
    draw.multiline_text((MARGIN, top + LINE), row.title, fill=(255, 255, 255), font=font)
    for place, (split, index) in enumerate(row.cells):
        left = TITLE + place * across
        if place == 0 or row.cells[place - 1][0] != split:
            draw.text((left, top), split, fill=(170, 170, 170), font=font)
        for k, picture in enumerate(_pictures(pack, index)):
            sheet.paste(Image.fromarray(picture), (left + k * TILE, top + LINE))


def _pictures(pack: Pack, index: int) -> list[UInt8[ndarray, "t t 3"]]:
    """An image, its condition and its mask as tiles: the mask as outlines on the image."""
    views = [pack.array([index])[0]]
    if pack.conditions is not None:
        views.append(pack.floats(np.asarray(pack.conditions[index])))
    planes = [plane for view in views for plane in (view[None] if len(view) == 3 else view[:, None])]
    tiles = [_tile(quantise(plane, bits=8)) for plane in planes]
    if pack.masks is not None:
        mask = Image.fromarray(np.asarray(pack.masks[index, 0])).resize((TILE, TILE), Image.Resampling.NEAREST)
        _outline(tiles[0], np.asarray(mask))
    return tiles


def _tile(plane: UInt8[ndarray, "c h w"]) -> UInt8[ndarray, "t t 3"]:
    """Small images are enlarged pixel by pixel, so that one sees them as they are; large ones are averaged."""
    image = Image.fromarray(np.moveaxis(np.broadcast_to(plane, (3, *plane.shape[1:])), 0, -1).copy())
    how = Image.Resampling.NEAREST if image.width <= TILE else Image.Resampling.BOX
    return np.array(image.resize((TILE, TILE), how))


def _outline(tile: UInt8[ndarray, "t t 3"], mask: UInt8[ndarray, "t t"]) -> None:
    """Paint the pixels of each label that touch a lower one, so that a border is one line; the more of the tile they
    take, the more of the image shows through."""
    known = np.where(mask == UNKNOWN, 0, mask)
    padded = np.pad(known, 1, mode="edge")
    around = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    edge = np.any([neighbour < known for neighbour in around], axis=0)
    weight = FULL / max(FULL, float(edge.mean()))
    colours = np.array([_colour(label) for label in known[edge].tolist()]).reshape(-1, 3)
    tile[edge] = np.rint(weight * colours + (1 - weight) * tile[edge]).astype(np.uint8)


def _colour(label: int) -> tuple[int, int, int]:
    return COLOURS[(label - 1) % len(COLOURS)]
