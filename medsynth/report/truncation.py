"""What truncation buys: each figure at each threshold, and precision against recall."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from medsynth.metrics.entries import entries, find
from medsynth.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, short, svg, ticks
from medsynth.report.points import number
from medsynth.report.wordings import OF_FEATURES, wording

TALL = 260  # of the chart of precision against recall
TRADED = ("precision", "recall")
Rows = Sequence[Mapping[str, Any]]


def truncation_section(judgement: Mapping[str, Any]) -> dict[str, Any] | None:
    """Table and charts of `judgement["truncation"]`, or the reason for none; None where nobody asked."""
    sweep = judgement.get("truncation")
    if sweep is None:
        return None
    rows = sweep["rows"]
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("truncation", "mode")]
    columns = [name for name in names if any(row.get(name) is not None for row in rows)]
    precision, recall = (next((name for name in columns if name.startswith(kind)), None) for kind in TRADED)
    charts = [
        (column_title(name), steps_chart(rows, name, reference=_reference(judgement, name)))
        for name in columns
        if name not in (precision, recall)
    ]
    if precision and recall:
        charts.insert(0, ("Precision against recall", trade_chart(rows, precision=precision, recall=recall)))
    return {
        "reason": sweep.get("reason"),
        "columns": _short([column_title(name) for name in columns]),
        "rows": [{"name": step_name(row, rows), "cells": [_text(row.get(name)) for name in columns]} for row in rows],
        "charts": [{"title": title, "svg": chart} for title, chart in charts if chart],
    }


def column_title(name: str) -> str:
    """The title of a figure of the sweep, with or without the name of its features."""
    return OF_FEATURES[name].title if name in OF_FEATURES else wording(name).title


def _short(titles: list[str]) -> list[str]:
    """Titles without the features they are of, where that leaves them different."""
    cut = [title.partition(",")[0] for title in titles]
    return cut if len(set(cut)) == len(cut) else titles


def step_name(row: Mapping[str, Any], rows: Rows) -> str:
    """How a threshold is called: "none", "0.8", or "0.8 resample" where there are several modes."""
    if row["truncation"] is None:
        return "none"
    modes = {other.get("mode") for other in rows if other["truncation"] is not None}
    return f"{row['truncation']:g}" + (f" {row['mode']}" if len(modes) > 1 else "")


def trade_chart(rows: Rows, *, precision: str, recall: str) -> Markup:
    """Precision over recall, a named point a threshold, joined in their order; empty without two points."""
    points = [(row[recall], row[precision], step_name(row, rows)) for row in rows if _known(row, precision, recall)]
    if len(points) < 2:
        return Markup("")
    x_ticks, y_ticks = _spanned([x for x, _, _ in points]), _spanned([y for _, y, _ in points])

    def x_of(x: float) -> float:
        return LEFT + 14 + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - 14 - RIGHT)

    def y_of(y: float) -> float:
        return TALL - 44 - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (TALL - 44 - TOP)

    x_marks, y_marks = [(x_of(t), short(t)) for t in x_ticks], [(y_of(t), short(t)) for t in y_ticks]
    parts = list(axes(x_marks, y_marks, height=TALL - 18))
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:g}" y="{TALL - 7}" text-anchor="middle">recall</text>')
    middle = (TALL - 44 + TOP) / 2
    turned = f'transform="rotate(-90 12 {middle:g})"'
    parts.append(f'<text x="12" y="{middle:g}" text-anchor="middle" {turned}>precision</text>')
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y, _ in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    for x, y, name in points:
        is_left = x_of(x) + 8 + 7 * len(name) > WIDTH
        parts.append(f'<circle class="dot" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3.2"/>')
        at = f'x="{x_of(x) + (-8 if is_left else 8):.1f}" y="{y_of(y) - 6:.1f}"'
        parts.append(f'<text class="name" {at} text-anchor="{"end" if is_left else "start"}">{escape(name)}</text>')
    told = ", ".join(f"{name}: {short(y)} and {short(x)}" for x, y, name in points)
    return svg(parts, f"precision and recall at each truncation: {told}", WIDTH, TALL)


def steps_chart(rows: Rows, name: str, *, reference: float | None = None) -> Markup:
    """A figure at each threshold, in their order, with a dashed line at its real-against-real value."""
    points = [(place, row[name]) for place, row in enumerate(rows) if _known(row, name)]
    if len(points) < 2:
        return Markup("")
    values = [value for _, value in points] + ([] if reference is None else [reference])
    y_ticks = _spanned(values)
    step = (WIDTH - LEFT - RIGHT) / len(rows)

    def x_of(place: int) -> float:
        return LEFT + (place + 0.5) * step

    def y_of(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    names = [step_name(row, rows) for row in rows]
    x_marks = [(x_of(place), str(escape(text))) for place, text in enumerate(names)]
    parts = list(axes(x_marks, [(y_of(tick), short(tick)) for tick in y_ticks]))
    if reference is not None:
        y = f"{y_of(reference):.1f}"
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
    path = " ".join(f"{x_of(place):.1f},{y_of(value):.1f}" for place, value in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    parts += [f'<circle class="dot" cx="{x_of(p):.1f}" cy="{y_of(value):.1f}" r="2.6"/>' for p, value in points]
    told = ", ".join(f"{names[place]}: {short(value)}" for place, value in points)
    return svg(parts, f"{column_title(name)} at each truncation: {told}", WIDTH, HEIGHT)


def _known(row: Mapping[str, Any], *names: str) -> bool:
    return all(row.get(name) is not None and math.isfinite(row[name]) for name in names)


def _spanned(values: Sequence[float]) -> list[float]:
    return ticks(min(values), max(values))


def _text(value: float | None) -> str:
    return "–" if value is None else number(value)


def _reference(judgement: Mapping[str, Any], name: str) -> float | None:
    """Of the whole judgement, on as many images or more: where the sweep's count differs, a figure may be higher.

    A name without features is that of the first extractor's.
    """
    kinds = {name, "fid"} if name == "frechet" else {name}
    known = (key.rpartition("_")[0] for key in entries(judgement))
    found = find(judgement, next((one for one in known if one == name or one.partition("_")[0] in kinds), name))
    return found["real_against_real"] if found else None
