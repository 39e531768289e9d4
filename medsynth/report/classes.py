"""Each class by itself: its figures in a row, what they say, and its images side by side."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from medsynth.metrics.entries import metric_key
from medsynth.report.document import grid_uri
from medsynth.report.points import Point, number, ratio
from medsynth.report.verdict import diversity, fidelity
from medsynth.report.wordings import features_of, wording

ClassGrids = Mapping[str, tuple[Float[Tensor, "_n c h w"] | None, Float[Tensor, "_m c h w"]]]


def class_section(judgement: Mapping[str, Any], grids: ClassGrids) -> dict[str, Any] | None:
    """The table of `judgement["classes"]` and the images of each class; None without either.

    Args:
        grids: by class, real images, or None where they must not be shown, and synthetic ones.
    """
    classes = judgement.get("classes", {})
    if not classes and not grids:
        return None
    distance = _first(classes, "frechet", "fid", "kid")
    names = [distance, *(_first(classes, kind) for kind in ("precision", "recall")), "ms_ssim"]
    columns = [name for name in names if name is not None]
    return {
        "columns": [wording(name).title.partition(",")[0] for name in columns],
        "features": features_of(distance.partition("_")[2] or "inception") if distance else "",
        "rows": [_row(name, found, columns) for name, found in classes.items()],
        "images": [_images(name, *shown) for name, shown in grids.items()],
    }


def _first(classes: Mapping[str, Any], *kinds: str) -> str | None:
    """The first metric of the first of these kinds."""
    names = list(dict.fromkeys(name for found in classes.values() for name in found["metrics"]))
    return next((name for kind in kinds for name in names if name.split("_")[0] == kind), None)


def _row(name: str, found: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    metrics = found["metrics"]
    entries = [metrics.get(column) or {"value": None, "real_against_real": None} for column in columns]
    ratios = [ratio(column, entry, interval=None) for column, entry in zip(columns, entries, strict=True)]
    is_judged = any(entry["value"] is not None for entry in entries)
    reasons = [entry["reason"] for entry in metrics.values() if entry.get("reason")]
    return {
        "name": name,
        "counts": f"{found['n_real']:,} real, {found['n_fake']:,} synthetic",
        "reason": None if is_judged else (reasons or ["there are no figures"])[0],
        "cells": [
            {"value": _text(entry["value"]), "real": _text(entry["real_against_real"]), "ratio": _text(told)}
            for entry, told in zip(entries, ratios, strict=True)
        ],
        "points": points(found) if is_judged else [],
    }


def points(found: Mapping[str, Any]) -> list[Point]:
    """Fidelity and diversity of a class in words, by the rules of the whole verdict."""
    keyed = {metric_key(name, found["n_fake"]): entry for name, entry in found["metrics"].items()}
    return [fidelity(keyed), diversity(keyed)]


def _images(name: str, real: Float[Tensor, "_n c h w"] | None, fake: Float[Tensor, "_m c h w"]) -> dict[str, Any]:
    return {
        "name": name,
        "real": None if real is None else {"uri": grid_uri(real), "count": len(real)},
        "fake": {"uri": grid_uri(fake), "count": len(fake)},
    }


def _text(value: float | None) -> str:
    return "–" if value is None else number(value)
