"""Put several judged runs beside each other into comparison.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from medsynth.metrics.entries import entries
from medsynth.report.charts import difference_strip
from medsynth.report.document import grid_uri, write_page
from medsynth.report.points import number
from medsynth.report.ranking import Difference, Ranking, compare, rankings
from medsynth.report.verdict import verdict
from medsynth.report.wordings import wording

FILE = "comparison.html"


def write_comparison(
    folder: Path,
    *,
    comparison: Mapping[str, Any],
    run_facts: Mapping[str, Any],
    grids: Mapping[str, Float[Tensor, "_b _c _h _w"]],
) -> Path:
    """Write `folder`/comparison.html, whole or not at all, and return its path.

    Args:
        comparison: `runs` (by name, the content of metrics.json, all judged by the same real images), `differences` (by
            metric key, of each pair: `first`, `second`, `value` of first less second, `interval` or None) and
            `warnings`.
        run_facts: `title`, `facts` (name -> text) and `reproduce` (commands), all for people.
        grids: by run, synthetic images to look at.
    """
    runs, found = comparison["runs"], rankings(comparison)
    content = {
        **run_facts,
        "verdict": compare(comparison),
        "warnings": comparison["warnings"],
        "runs": [_run(name, judgement) for name, judgement in runs.items()],
        "rows": [_row(ranking, runs) for ranking in found if ranking.order],
        "missing": [wording(ranking.name).title for ranking in found if not ranking.order],
        "differences": [_differences(ranking) for ranking in found if ranking.differences],
        "is_pair": len(runs) == 2,
        "grids": [{"name": name, "uri": grid_uri(images), "count": len(images)} for name, images in grids.items()],
    }
    return write_page(folder / FILE, template="comparison.html", content=content)


def _run(name: str, judgement: Mapping[str, Any]) -> dict[str, Any]:
    alone, images = verdict(judgement), judgement["images"]
    counts = f"{images['n_real']:,} real, {images['n_fake']:,} synthetic"
    return {"name": name, "headline": alone.headline, "tone": alone.tone, "counts": counts}


def _row(ranking: Ranking, runs: Mapping[str, Any]) -> dict[str, Any]:
    """A metric: its value and interval of each run, and the best of them where that is clear."""
    words, cells = wording(ranking.name), []
    for name, judgement in runs.items():
        entry = entries(judgement).get(ranking.key, {"value": None})
        value, around, unit = entry["value"], entry.get("interval"), entry.get("unit")
        cells.append(
            {
                "run": name,
                "value": "–" if value is None else number(value) + (f" {unit}" if unit else ""),
                "interval": " to ".join(map(number, around)) if around and value is not None else "",
                "is_best": name == ranking.best,
            }
        )
    return {
        "key": ranking.key,
        "title": words.title,
        "better": words.better,
        "cells": cells,
        "real": "–" if ranking.real is None else number(ranking.real),
        "insufficient": any(ranking.key in judgement["insufficient"] for judgement in runs.values()),
    }


def _differences(ranking: Ranking) -> dict[str, Any]:
    """A metric's paired differences, drawn on one scale."""
    ends = [abs(end) for one in ranking.differences for end in (one.value, *(one.interval or ()))]
    reach = max(ends)
    return {
        "title": wording(ranking.name).title,
        "key": ranking.key,
        "rows": [_difference(one, ranking, reach) for one in ranking.differences],
    }


def _difference(one: Difference, ranking: Ranking, reach: float) -> dict[str, Any]:
    pair = f"{one.first} − {one.second}"
    return {
        "pair": pair,
        "value": number(one.value),
        "interval": " to ".join(map(number, one.interval)) if one.interval else "",
        "strip": difference_strip(one.value, one.interval, reach=reach, label=f"{pair}: {one.text}"),
        "reading": _reading(one, ranking),
        "is_clear": one.is_clear,
    }


def _reading(one: Difference, ranking: Ranking) -> str:
    if one.interval is None:
        return "no interval"
    if not one.is_clear:
        return "cannot be told apart"
    for first, second in ((one.first, one.second), (one.second, one.first)):
        if ranking.beats(first, second):
            return f"{first} is better"
    return "they differ"
