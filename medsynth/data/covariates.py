"""Continuous conditions of packed slices: their place in the volume, the size of their mask, numbers out of a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from medsynth.data.picture import UNKNOWN, Geometry
from medsynth.data.render import Slice
from medsynth.data.sources.source import Record
from medsynth.data.sources.table import MISSING
from medsynth.errors import UserError

POSITION, AREA = "slice_position", "mask_area_mm2"
RESERVED = frozenset({"file", "number", "seed", "class", "mask", "sha256", "mask_sha256"})  # columns of manifest.csv
NAMED = 10  # images without a value that a warning names; prepare.json has all of them
READ = 256  # masks that are held at once

Masks = Callable[[ndarray], UInt8[ndarray, "b 1 h w"] | None]
"""Reads packed masks by index; None where there is no file of them."""


def covariate_column(
    name: str, records: Sequence[Record], slices: Sequence[Slice], masks: Masks, *, mask_labels: Sequence[int] | None
) -> Float[ndarray, " n"]:
    """The values of one covariate, float64, not-a-number where nobody knows.

    name: "slice_position", from 0 at the first to 1 at the last slice of the volume by its number there;
        "mask_area_mm2", the size on the packed slice of `mask_labels` (None: all but 0); or a column of the source's
        table, whatever its case, that holds numbers.
    Raises UserError where no image has a value.
    """
    if name == POSITION:
        values = np.array([_position(s.geometry) for s in slices])
        remedy = "slices of volumes have one"
    elif name == AREA:
        values = _areas(slices, masks, mask_labels)
        remedy = "it needs masks, and files that say the size of a pixel"
    else:
        values = np.array([_number(record.row, name) for record in records])
        columns = sorted({column for record in records for column in record.row})
        remedy = f"columns of its tables: {', '.join(columns) or 'none'}; {POSITION} and {AREA} need no table"
    if np.isnan(values).all():
        raise UserError(f"data.covariates: no image has a {name}; {remedy}")
    return values


def add_missing(report: dict[str, Any], table: Mapping[str, ndarray], names: Sequence[str]) -> None:
    """Say in prepare.json, `report`, which files of the pack's table lack a covariate, and whether some lack a
    condition."""
    rows = table["copies"] == 0
    files = table["files"][rows]
    if names:
        lacking, sentences = _missing(names, table["covariates"][rows], files.tolist())
        report["without_covariate"] = lacking
        report["warnings"] += sentences
    low = table.get("condition_low", np.zeros((len(rows), 1)))[rows]
    if lost := np.unique(files[np.isnan(low).any(axis=1)]).tolist():
        report["without_condition"] = lost
        report["warnings"].append(f"{len(lost):,} files have no condition, so no image is given one: {_some(lost)}")


def _missing(
    names: Sequence[str], values: Float[ndarray, "n k"], files: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The files that lack each covariate, and a sentence on each for people."""
    lacking = {
        name: list(dict.fromkeys(file for file, value in zip(files, column, strict=True) if np.isnan(value)))
        for name, column in zip(names, values.T, strict=True)
    }
    sentences = [
        f"{len(found):,} files have no {name}, so their images are left out of training: {_some(found)}"
        for name, found in lacking.items()
        if found
    ]
    return {name: found for name, found in lacking.items() if found}, sentences


def _some(files: Sequence[str]) -> str:
    return ", ".join(files[:NAMED]) + (", ... (prepare.json)" if len(files) > NAMED else "")


def _position(geometry: Geometry | None) -> float:
    if geometry is None:
        return math.nan
    # The slices' axis is the stored one along which the step to the next slice points.
    axes, step = geometry.source_affine[:3, :3], geometry.affine[:3, 2]
    axis = int(np.abs(step @ axes / np.linalg.norm(axes, axis=0)).argmax())
    last = geometry.source_shape[axis] - 1
    return geometry.number / last if last else 0.0


def _areas(slices: Sequence[Slice], masks: Masks, labels: Sequence[int] | None) -> Float[ndarray, " n"]:
    """In square millimetres; not-a-number without a mask that is known everywhere, and without geometry."""
    shown = np.zeros(256, dtype=bool)
    shown[slice(1, UNKNOWN) if labels is None else list(labels)] = True
    areas = np.full(len(slices), math.nan)
    known = np.array(
        [i for i, s in enumerate(slices) if s.geometry and s.labels is not None and UNKNOWN not in s.labels]
    )
    for first in range(0, len(known), READ):
        part = known[first : first + READ]
        if (found := masks(part)) is not None:
            areas[part] = shown[found].sum(axis=(1, 2, 3)) * np.array([_pixel_mm2(slices[i]) for i in part])
    return areas


def _pixel_mm2(packed: Slice) -> float:
    """The size of a packed pixel."""
    assert packed.geometry is not None
    row, column, _ = packed.geometry.spacing
    return row * packed.placement[2] * column * packed.placement[3]


def _number(row: Mapping[str, str], name: str) -> float:
    """A number of a row, by its column's name or, where there is none, by that in another case."""
    alike = [column for column in row if column.lower() == name.lower()]
    text = row[name] if name in row else row[alike[0]] if len(alike) == 1 else ""
    try:
        value = math.nan if text in MISSING else float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
