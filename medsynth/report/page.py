"""Put a judgement, images and curves into report.html."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxtyping import Float
from jinja2 import Environment, StrictUndefined
from PIL import Image
from torch import Tensor

from medsynth.metrics.entries import entries, find
from medsynth.report.charts import line_chart, ratio_strip, spread_chart
from medsynth.report.verdict import number, verdict
from medsynth.viz.grid import grid

FILE = "report.html"


@dataclass(frozen=True)
class NearestPair:
    """A synthetic image beside its nearest training image.

    fake, train: (c, h, w) in [-1, 1]; train is None where real images must not be shown.
    distance: root mean square difference as a share of the grey range, 0 to 1.
    name: of the synthetic image. is_copy: are they the same picture?
    """

    fake: Float[Tensor, "c h w"]
    train: Float[Tensor, "c h w"] | None
    distance: float
    name: str
    is_copy: bool


@dataclass(frozen=True)
class Wording:
    """How a metric is called in a report, what it tells, and which direction is better."""

    title: str
    tells: str
    better: str = "lower is closer to real"


WORDINGS = {
    "fid": Wording("Fréchet inception distance (FID)", "Features of a network trained on photographs."),
    "kid": Wording("Kernel inception distance (KID)", "As FID, without its bias for few images."),
    "frechet_random": Wording("Fréchet distance, random features", "Texture, brightness and layout as one Gaussian."),
    "kid_random": Wording("Kernel distance, random features", "The same features, unbiased for few images."),
    "swd": Wording("Sliced Wasserstein distance ×10³", "Patches: the finest level is sharpness, the coarsest anatomy."),
    "ms_ssim": Wording("MS-SSIM between pairs", "How alike two images of one set are.", "near the real value is best"),
    "nearest_train": Wording(
        "Distance to the nearest training image", "Root mean square, as a share of the grey range.", "near 0 is a copy"
    ),
}


def write_report(
    folder: Path,
    *,
    judgement: Mapping[str, Any],
    run_facts: Mapping[str, Any],
    real_grid: Float[Tensor, "b c h w"] | None,
    fake_grid: Float[Tensor, "b c h w"],
    nearest: Sequence[NearestPair] = (),
    curves: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `folder`/report.html, whole or not at all, and return its path.

    Args:
        judgement: the content of metrics.json.
        run_facts: `title`, `facts` (name -> text) and `reproduce` (commands), all for people.
        real_grid: real images to look at; None where they must not be shown.
        fake_grid: synthetic images to look at.
        nearest: synthetic images and their nearest training images, closest first.
        curves: rows of metrics.jsonl.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("medsynth.report").joinpath("template.html").read_text("utf-8"))
    html = template.render(
        title=run_facts["title"],
        facts=run_facts["facts"],
        reproduce=run_facts["reproduce"],
        verdict=verdict(judgement),
        rows=table_rows(judgement),
        images=judgement["images"],
        warnings=judgement["warnings"],
        real=None if real_grid is None else {"uri": grid_uri(real_grid), "count": len(real_grid)},
        fake={"uri": grid_uri(fake_grid), "count": len(fake_grid)},
        charts=curve_charts(curves, judgement),
        spread=_spread(judgement),
        pairs=[_pair(pair) for pair in nearest],
        pairs_have_real=any(pair.train is not None for pair in nearest),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    partial = path.with_suffix(".partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)
    return path


def table_rows(judgement: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a metric, and one below it for each of its parts."""
    rows = []
    for key, entry in entries(judgement).items():
        wording = WORDINGS.get(key.rpartition("_")[0], Wording(key, ""))
        rows.append(_row(key, entry, wording) | {"insufficient": key in judgement["insufficient"]})
        for name, part in entry.get("levels", {}).items():
            rows.append(_level(name, part))
    return rows


def _row(key: str, entry: Mapping[str, Any], wording: Wording) -> dict[str, Any]:
    extractor = entry["extractor"]
    how = [f"{extractor['name']} {extractor['sha256'][:8]}"] if extractor else []
    how += [f"at {entry['resize']}"] if entry["resize"] else []
    return {
        "key": key,
        "title": wording.title,
        "tells": wording.tells,
        "better": wording.better,
        "value": _text(entry["value"]),
        "real": _text(entry["real_against_real"]),
        "ratio": _text(entry["ratio"]),
        "strip": ratio_strip(entry["ratio"]),
        "count": f"{entry['n_real']:,} / {entry['n_fake']:,}",
        "reason": entry.get("reason"),
        "how": ", ".join(how),
    }


def _level(name: str, part: Mapping[str, float | None]) -> dict[str, Any]:
    value, real = part["value"], part["real_against_real"]
    ratio = value / real if value is not None and real else None
    texts = {"value": _text(value), "real": _text(real), "ratio": _text(ratio)}
    return {"level": f"level of {name} pixels", "strip": ratio_strip(ratio), **texts}


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


def _spread(judgement: Mapping[str, Any]) -> Any:
    found = find(judgement, "nearest_train")
    if not found:
        return None
    names = {"fake": f"synthetic ({found['n_fake']:,})", "unseen": f"unseen patients ({found.get('n_unseen', 0):,})"}
    rows = [(names[name], values) for name, values in found["quantiles"].items()]
    return spread_chart(rows, title="distance to the nearest training image")


def _pair(pair: NearestPair) -> dict[str, Any]:
    return {
        "fake": image_uri(pair.fake),
        "train": None if pair.train is None else image_uri(pair.train),
        "distance": number(pair.distance),
        "name": pair.name,
        "is_copy": pair.is_copy,
    }


def grid_uri(images: Float[Tensor, "b c h w"]) -> str:
    """Images as one sheet of up to eight columns."""
    return png_uri(grid(images, columns=min(8, len(images))))


def image_uri(image: Float[Tensor, "c h w"]) -> str:
    """One image."""
    return png_uri(grid(image[None], columns=1))


def png_uri(image: Image.Image) -> str:
    """An image inside the page: a data URI of its PNG, without metadata."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
