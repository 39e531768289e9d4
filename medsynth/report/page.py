"""Put a judgement, images and curves into report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxtyping import Float
from torch import Tensor

from medsynth.errors import counted
from medsynth.metrics.entries import entries, find
from medsynth.report.charts import line_chart, ratio_strip, spread_chart
from medsynth.report.classes import ClassGrids, class_section
from medsynth.report.document import grid_uri, image_uri, png_uri, write_page
from medsynth.report.embedding_charts import (
    Embedding,
    density_charts,
    density_matrix,
    edge_sheets,
    rotating_scatter,
    scatter_chart,
    script,
    style,
)
from medsynth.report.points import number, ratio
from medsynth.report.truncation import truncation_section
from medsynth.report.verdict import paired, verdict
from medsynth.report.wordings import features_of, wording

FILE = "report.html"
SAME = "For the reason above."
# What was drawn again for the intervals, and what the halves of the real images do not share.
DRAWN = {
    "patients": ("other patients", "of different patients"),
    "volumes": ("other volumes or series, each taken for a patient,", "of different volumes or series"),
    "images": ("other single images, whose patients nobody knows,", "that share no image"),
}
EDGES = 8  # images of each side shown with their edges


@dataclass(frozen=True)
class NearestPair:
    """A synthetic image beside its nearest training image.

    fake, train: (c, h, w) in [-1, 1]; train is None where real images must not be shown.
    distance: 0 to 1, root mean square difference as a share of the grey range, or `nearest_copy`'s when flagged.
    name: of the synthetic image. is_copy: are they the same picture, if mirrored, moved or recoloured?
    is_flagged: are they closer than unseen patients' images hardly ever are?
    """

    fake: Float[Tensor, "c h w"]
    train: Float[Tensor, "c h w"] | None
    distance: float
    name: str
    is_copy: bool
    is_flagged: bool = False


def write_report(
    folder: Path,
    *,
    judgement: Mapping[str, Any],
    run_facts: Mapping[str, Any],
    real_grid: Float[Tensor, "b c h w"] | None,
    fake_grid: Float[Tensor, "b c h w"],
    nearest: Sequence[NearestPair] = (),
    curves: Sequence[Mapping[str, Any]] = (),
    embedding: Embedding | None = None,
    neighbours: Embedding | None = None,
    class_grids: ClassGrids = MappingProxyType({}),
) -> Path:
    """Write `folder`/report.html, whole or not at all, and return its path.

    Args:
        judgement: the content of metrics.json.
        run_facts: `title`, `facts` (name -> text) and `reproduce` (commands), all for people.
        real_grid: real images to look at; None where they must not be shown.
        fake_grid: synthetic images to look at.
        nearest: synthetic images and their nearest training images, closest first.
        curves: rows of metrics.jsonl.
        embedding: features of real and synthetic images along at least three axes; None: no such charts.
        neighbours: the same images as a map of neighbours, shown beside an embedding; None: none.
        class_grids: by class, real images, or None where they must not be shown, and synthetic ones.
    """
    content = {
        **run_facts,
        "verdict": verdict(judgement),
        "rows": table_rows(judgement),
        "has_unseen": any("unseen" in entry for entry in entries(judgement).values()),
        "images": judgement["images"],
        "drawn": DRAWN[judgement["images"].get("drawn", "images")],
        "warnings": judgement["warnings"],
        "real": None if real_grid is None else {"uri": grid_uri(real_grid), "count": len(real_grid)},
        "fake": {"uri": grid_uri(fake_grid), "count": len(fake_grid)},
        "edges": [
            {"side": side, "sheets": None if images is None else _edges(images)}
            for side, images in (("real", real_grid), ("synthetic", fake_grid))
        ],
        "classes": class_section(judgement, class_grids),
        "truncation": truncation_section(judgement),
        "embedding": _embedding(embedding, neighbours),
        "charts": curve_charts(curves, judgement),
        **_nearest(judgement, nearest),
    }
    return write_page(folder / FILE, template="template.html", content=content)


def table_rows(judgement: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a metric, and one below it for each of its parts and for its distance to unseen patients."""
    rows, told = [], set()
    for key, entry in entries(judgement).items():
        name = (entry["extractor"] or {}).get("name")
        rows.append(
            _row(key, entry, tell_extractor=name not in told) | {"insufficient": key in judgement["insufficient"]}
        )
        told |= {name} - {None}
        if entry.get("reason") and [row for row in rows[:-1] if row.get("reason") == entry["reason"]]:
            rows[-1]["reason"] = SAME
        rows += [_level(key, entry, f"level of {name} pixels", part) for name, part in entry.get("levels", {}).items()]
        if (unseen := entry.get("unseen")) is not None:
            part = {"value": unseen["value"], "real_against_real": unseen["real"]}
            rows.append(_level(key, entry, f"to unseen patients, {counted(unseen['n'], 'image')} a side", part))
    return rows


def _row(key: str, entry: Mapping[str, Any], *, tell_extractor: bool) -> dict[str, Any]:
    name = key.rpartition("_")[0]
    words, extractor, around = wording(name), entry["extractor"], entry.get("interval")
    told = ratio(name, entry, interval=around)
    how = [f"{extractor['name']} {extractor['sha256'][:8]}"] if extractor and tell_extractor else []
    how += [f"at {entry['resize']}"] if entry["resize"] and tell_extractor else []
    how += [f"within {entry['k']} neighbours"] if "k" in entry else []
    how += [counted(entry["pairs"], "pair")] if isinstance(entry.get("pairs"), int) else []
    return {
        "key": key,
        "title": words.title,
        "tells": words.tells,
        "better": words.better,
        "value": _text(entry["value"]) + (f" {entry['unit']}" if entry.get("unit") else ""),
        "interval": _range(around) if around else "",
        "real": _text(entry["real_against_real"]),
        "ratio": _text(told),
        "strip": ratio_strip(told),
        "reason": entry.get("reason"),
        "how": ", ".join(how + _copies(entry)),
    }


def _copies(entry: Mapping[str, Any]) -> list[str]:
    """What stands beside a sign of memorisation: how it varies among new patients, and how many are beyond doubt."""
    if "normal" not in entry:
        return []
    normal = [f"new patients: {_range(entry['normal'])}"] if entry["normal"] else []
    return [*normal, *([f"beyond doubt: {entry['copies']:,}"] if "copies" in entry else [])]


def _level(key: str, entry: Mapping[str, Any], level: str, part: Mapping[str, float | None]) -> dict[str, Any]:
    """A part of a metric, which has a ratio where the metric's interval lets it have one."""
    told = ratio(key.rpartition("_")[0], part, interval=entry.get("interval"))
    texts = {"value": _text(part["value"]), "real": _text(part["real_against_real"]), "ratio": _text(told)}
    return {"level": level, "strip": ratio_strip(told), **texts}


def _range(ends: Sequence[float]) -> str:
    return " to ".join(map(number, ends))


def _text(value: float | None) -> str:
    return "–" if value is None else number(value)


def curve_charts(curves: Sequence[Mapping[str, Any]], judgement: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A chart for every `val/...` and `train/...` column of metrics.jsonl, in the order they first appear."""
    columns = dict.fromkeys(key for row in curves for key in row if key.startswith(("train/", "val/")))
    known = entries(judgement)
    charts = []
    for column in sorted(columns, key=lambda name: name.startswith("train/")):
        points = [
            (float(row["images_seen"]), float(row[column]))
            for row in curves
            if isinstance(row.get(column), int | float)
        ]
        reference = known.get(column.removeprefix("val/"), {}).get("real_against_real")
        chart = line_chart(points, title=column, reference=reference)
        if chart:
            charts.append({"title": column, "svg": chart, "has_reference": reference is not None})
    return charts


def _nearest(judgement: Mapping[str, Any], nearest: Sequence[NearestPair]) -> dict[str, Any]:
    """Distances to training images and the closest pairs; nothing of images that are meant to be like real ones."""
    if paired(judgement):
        return {"spread": None, "pairs": []}
    return {
        "spread": _spread(judgement),
        "pairs": [_pair(pair) for pair in nearest],
        "pairs_have_real": any(pair.train is not None for pair in nearest),
        "pairs_flagged": any(pair.is_flagged for pair in nearest),
    }


def _spread(judgement: Mapping[str, Any]) -> Any:
    found = find(judgement, "nearest_train")
    if not found:
        return None
    unseen = found.get("n_unseen", 0) - found.get("copies_unseen", 0)
    names = {"fake": f"synthetic ({found['n_fake']:,})", "unseen": f"unseen patients ({unseen:,})"}
    rows = [(names[name], values) for name, values in found["quantiles"].items()]
    return spread_chart(rows, title="distance to the nearest training image")


def _edges(images: Float[Tensor, "b c h w"]) -> dict[str, str]:
    return {name: png_uri(sheet) for name, sheet in edge_sheets(images[:EDGES], columns=EDGES // 2).items()}


def _embedding(shown: Embedding | None, neighbours: Embedding | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    return {
        "features": features_of(shown.extractor),
        "scatter": scatter_chart(shown),
        "rotating": rotating_scatter(shown),
        "densities": density_charts(shown),
        "matrix": density_matrix(shown),
        "neighbours": neighbours and {"method": neighbours.method, "scatter": scatter_chart(neighbours)},
        "style": style(),
        "script": script(),
    }


def _pair(pair: NearestPair) -> dict[str, Any]:
    return {
        "fake": image_uri(pair.fake),
        "train": None if pair.train is None else image_uri(pair.train),
        "distance": number(pair.distance),
        "name": pair.name,
        "is_copy": pair.is_copy,
        "is_flagged": pair.is_flagged,
    }
