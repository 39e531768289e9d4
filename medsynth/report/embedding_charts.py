"""Charts of embeddings: scatter plots in two and three dimensions, densities, and sheets of edge maps.

A page that shows them holds `style()` once, and `script()` once behind them for the rotation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup, escape
from numpy import ndarray
from PIL import Image
from torch import Tensor

from medsynth.metrics.edges import canny, sobel
from medsynth.metrics.embedding import Frame, density, frame, line_density, mass_levels, overlap
from medsynth.report.contours import contours
from medsynth.viz.grid import grid

SIDE = 340.0  # of one panel, in the chart's own unit
GAP, TOP, BELOW, LEFT = 24.0, 34.0, 26.0, 26.0
MOST_DOTS, MOST_TURNING = 1000, 400  # shown of each set, flat and in three dimensions: the first, images come at random
YAW, PITCH, DISTANCE = 0.6, 0.3, 5.0  # radians, and of the eye from the middle in half sides of the cube
DOT = 5.5
ROOM = 50  # that half the name of an axis takes
DASH = "h.01"  # a line so short is its caps alone: a dot. Readers of PDF leave out square caps of lines of no length
WORDS = {"real": "real", "fake": "synthetic"}


@dataclass(frozen=True)
class Embedding:
    """Real and synthetic images as points in one basis.

    real, fake: (n, k) and (m, k) along k >= 2 components.
    shares: of the real variance along each, 0 to 1; empty where axes have no such meaning (t-SNE, UMAP).
    extractor: whose features they are. method: what placed them, t-SNE or UMAP; empty: principal components.
    """

    real: Float[Tensor, "n k"]
    fake: Float[Tensor, "m k"]
    shares: Sequence[float] = ()
    extractor: str = ""
    method: str = ""

    def name(self, axis: int) -> str:
        """How an axis is called."""
        if not self.shares:
            return f"dimension {axis + 1}"
        return f"component {axis + 1} ({100 * self.shares[axis]:.0f}%)"

    @cached_property
    def frames(self) -> dict[tuple[int, int], Frame]:
        """What is shown of each pair of axes, the same in every chart."""
        axes = range(self.real.shape[1])
        return {(i, j): frame(self.real[:, [i, j]], self.fake[:, [i, j]]) for i in axes for j in axes if i != j}


def style() -> Markup:
    """The rules of these charts for a page's <style>, over the variables of template.html."""
    return Markup(files("medsynth.report").joinpath("embedding.css").read_text("utf-8"))


def script() -> Markup:
    """What rotates three-dimensional charts, for a <script> behind them."""
    return Markup(files("medsynth.report").joinpath("rotate.js").read_text("utf-8"))


# ----------------------------------------------------------------------------------------------------- charts


def scatter_chart(shown: Embedding) -> Markup:
    """Both sets along the first two axes: real ones round, synthetic ones square."""
    panel = _Panel(LEFT, TOP, SIDE * 1.1, SIDE, shown.frames[0, 1])
    parts = [*_keys(shown), panel.border(), *panel.names(shown.name(0), shown.name(1))]
    parts += [panel.dots(getattr(shown, side)[:MOST_DOTS, :2], side) for side in WORDS]
    label = f"{len(shown.real):,} real and {len(shown.fake):,} synthetic images along the first two axes"
    return _svg(parts, label, LEFT + SIDE * 1.1 + 2, TOP + SIDE + BELOW)


def density_chart(shown: Embedding, side: str) -> Markup:
    """The density of one set, `side` "real" or "fake": the lines hold 30, 60 and 90 % of it."""
    panel = _Panel(LEFT, TOP, SIDE, SIDE, shown.frames[0, 1])
    points = getattr(shown, side)[:, :2]
    parts = [_title(panel, f"{WORDS[side]} ({len(points):,})"), panel.border(), *panel.levels(points, side)]
    parts += panel.names(shown.name(0), shown.name(1))
    return _svg(parts, f"density of {WORDS[side]} images", LEFT + SIDE + 2, TOP + SIDE + BELOW)


def density_charts(shown: Embedding) -> Markup:
    """The densities of real and synthetic images side by side in one frame."""
    parts = []
    for number, side in enumerate(WORDS):
        panel = _Panel(LEFT + number * (SIDE + GAP), TOP, SIDE, SIDE, shown.frames[0, 1])
        points = getattr(shown, side)[:, :2]
        parts += [_title(panel, f"{WORDS[side]} ({len(points):,})"), panel.border(), *panel.levels(points, side)]
        parts += panel.names(shown.name(0), shown.name(1) if number == 0 else "")
    return _svg(parts, _overlap_words(shown, 0, 1), LEFT + 2 * SIDE + GAP + 2, TOP + SIDE + BELOW)


def density_matrix(shown: Embedding) -> Markup:
    """Every pair of axes: both densities in each panel below the diagonal, and along each axis on it."""
    count, side, gap = shown.real.shape[1], 220.0, 10.0
    parts = list(_keys(shown))
    for row in range(count):
        for column in range(row + 1):
            where = shown.frames[column, row] if row != column else shown.frames[column, column - 1 if column else 1]
            panel = _Panel(LEFT + column * (side + gap), TOP + row * (side + gap), side, side, where)
            parts.append(panel.border())
            below, beside = row == count - 1, column == 0
            parts += panel.names(shown.name(column) if below else "", shown.name(row) if beside and row else "")
            for name in WORDS:
                points = getattr(shown, name)
                drawn = panel.levels(points[:, [column, row]], name) if row != column else ()
                parts += drawn
            if row == column:
                parts += panel.profiles({name: getattr(shown, name)[:, row] for name in WORDS})
    whole = count * (side + gap) - gap
    return _svg(parts, "; ".join(_overlap_words(shown, i, i + 1) for i in range(count - 1)), LEFT + whole + 2,
                TOP + whole + BELOW)  # fmt: skip


def rotating_scatter(shown: Embedding) -> Markup:
    """Both sets along the first three axes in a cube that `script` lets one turn; without it, and on paper, it stands.

    Each axis fills the cube by itself. k >= 3.
    """
    sets = {side: getattr(shown, side)[:MOST_TURNING, :3].double() for side in WORDS}
    both = torch.cat(list(sets.values()))
    low, high = both.min(dim=0).values, both.max(dim=0).values
    half = ((high - low) / 2).clamp(min=1e-12)
    scale = SIDE * 0.32  # so that no corner leaves the chart, however it is turned
    view = _View(SIDE / 2 + 24, scale)
    parts = [view.line(*ends) for ends in _cube()]
    for axis in range(3):
        at = [-1.06, -1.06, -1.06]
        at[axis] = 1.2
        parts.append(view.text(at, shown.name(axis)))
    dots = [
        (side, [round(1000 * value) / 1000 for value in place])
        for side, points in sets.items()
        for place in ((points - (low + high) / 2) / half).tolist()
    ]
    dots.sort(key=lambda dot: view.seen(dot[1])[2])
    parts.append(f"<g>{''.join(view.dot(place, side) for side, place in dots)}</g>")
    extent = SIDE + 48
    parts += _keys(shown, extent + 8)
    data = {"yaw": YAW, "pitch": PITCH, "middle": view.middle, "scale": scale, "distance": DISTANCE}
    data |= {"size": DOT, "room": ROOM}
    attributes = "".join(f' data-{name}="{value:g}"' for name, value in data.items()) + ' tabindex="0"'
    label = "real and synthetic images along three axes; arrow keys turn it, Home turns it back"
    return _svg(parts, label, extent, extent + 20, css="cloud rotatable", attributes=attributes)


def edge_sheets(images: Float[Tensor, "b c h w"], *, columns: int = 8) -> dict[str, Image.Image]:
    """Sheets of images, of their Sobel steepness and of their Canny edges, by name, for one and the same images."""
    shown = {"images": images, "sobel": sobel(images) * 2 - 1, "canny": canny(images).float() * 2 - 1}
    return {name: grid(maps, columns=min(columns, len(images))) for name, maps in shown.items()}


# ----------------------------------------------------------------------------------------------------- panels


@dataclass(frozen=True)
class _Panel:
    """A rectangle of a chart that shows a frame."""

    x: float
    y: float
    width: float
    height: float
    frame: Frame

    def at(self, points: Tensor) -> Float[ndarray, "n 2"]:
        low, high = (np.array(corner) for corner in (self.frame.low, self.frame.high))
        part = (points.cpu().double().numpy() - low) / (high - low)
        return np.stack([self.x + part[:, 0] * self.width, self.y + (1 - part[:, 1]) * self.height], axis=1)

    def border(self) -> str:
        return f'<rect class="frame" x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}"/>'

    def names(self, across: str, upward: str) -> Iterator[str]:
        x, y = self.x + self.width / 2, self.y + self.height / 2
        if across:
            yield f'<text x="{x:g}" y="{self.y + self.height + 18:g}" text-anchor="middle">{escape(across)}</text>'
        if upward:
            turned = f'transform="rotate(-90 {self.x - 10:g} {y:g})"'
            yield f'<text x="{self.x - 10:g}" y="{y:g}" text-anchor="middle" {turned}>{escape(upward)}</text>'

    def dots(self, points: Tensor, side: str) -> str:
        path = "".join(f"M{x:.1f} {y:.1f}{DASH}" for x, y in self.at(points))
        return f'<path class="dots {side}" d="{path}"/>'

    def levels(self, points: Tensor, side: str) -> Iterator[str]:
        """Contours of the points' density; the points themselves when they have none."""
        values = density(points, self.frame)
        if values is None:
            yield self.dots(points[:MOST_DOTS], side)
            return
        steps = values.shape[0] - 1
        for level in mass_levels(values):
            path = "".join(
                "M" + "L".join(f"{self.x + x / steps * self.width:.1f} {self.y + (1 - y / steps) * self.height:.1f}"
                               for x, y in outline) + "Z"
                for outline in contours(values, level)
            )  # fmt: skip
            yield f'<path class="level {side}" d="{path}"/>'

    def profiles(self, sets: dict[str, Tensor]) -> Iterator[str]:
        """Densities along x, of one height scale; sets without spread are left out."""
        found = {side: line_density(values, self.frame.low[0], self.frame.high[0]) for side, values in sets.items()}
        known = {side: values for side, values in found.items() if values is not None}
        top = max((float(values.max()) for values in known.values()), default=1.0)
        for side, values in known.items():
            places = np.linspace(self.x, self.x + self.width, len(values))
            heights = self.y + self.height * (1 - 0.92 * values / top)
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(places, heights, strict=True))
            yield f'<polyline class="profile {side}" points="{path}"/>'


@dataclass(frozen=True)
class _View:
    """Places in the cube [-1, 1]^3 as rotate.js shows them at first."""

    middle: float
    scale: float

    def seen(self, place: Sequence[float]) -> tuple[float, float, float]:
        """x, y and how near: 1 in the middle."""
        x, y, z = place
        right, back = math.cos(YAW) * x + math.sin(YAW) * z, math.cos(YAW) * z - math.sin(YAW) * x
        up, depth = math.cos(PITCH) * y - math.sin(PITCH) * back, math.cos(PITCH) * back + math.sin(PITCH) * y
        near = DISTANCE / (DISTANCE + depth)
        return self.middle + self.scale * near * right, self.middle - self.scale * near * up, near

    def line(self, start: Sequence[float], end: Sequence[float]) -> str:
        (x1, y1, _), (x2, y2, _) = self.seen(start), self.seen(end)
        where = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        return f'<line class="cage" {where} data-from="{_thousandths(start)}" data-to="{_thousandths(end)}"/>'

    def text(self, place: Sequence[float], text: str) -> str:
        x, y, _ = self.seen(place)
        x = min(max(x, ROOM), 2 * self.middle - ROOM)
        at = f'x="{x:.1f}" y="{y + 4:.1f}" data-at="{_thousandths(place)}"'
        return f'<text {at} text-anchor="middle">{escape(text)}</text>'

    def dot(self, place: Sequence[float], side: str) -> str:
        x, y, near = self.seen(place)
        at = f'd="M{x:.1f} {y:.1f}{DASH}" stroke-width="{DOT * near:.1f}"'
        return f'<path class="{side}" {at} data-at="{_thousandths(place)}"/>'


def _thousandths(place: Sequence[float]) -> str:
    return " ".join(f"{1000 * value:.0f}" for value in place)


def _cube() -> list[tuple[list[float], list[float]]]:
    corners = [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
    return [(a, b) for a in corners for b in corners if a < b and sum(p != q for p, q in zip(a, b, strict=True)) == 1]


def _keys(shown: Embedding, y: float = 14.0) -> Iterator[str]:
    """What is round and what is square, in a line at height y."""
    x = LEFT + 6
    for side, word in WORDS.items():
        text = f"{word} ({len(getattr(shown, side)):,})"
        yield f'<path class="key {side}" d="M{x:g} {y:g}{DASH}"/><text x="{x + 11:g}" y="{y + 4.2:g}">{text}</text>'
        x += 34 + 7 * len(text)


def _title(panel: _Panel, text: str) -> str:
    return f'<text class="name" x="{panel.x:g}" y="{panel.y - 12:g}">{escape(text)}</text>'


def _overlap_words(shown: Embedding, i: int, j: int) -> str:
    where = shown.frames[i, j]
    first, second = (density(points[:, [i, j]], where) for points in (shown.real, shown.fake))
    if first is None or second is None:
        return "densities of real and synthetic images"
    share = 100 * overlap(first, second)
    return f"densities of real and synthetic images along {shown.name(i)} and {shown.name(j)} overlap by {share:.0f}%"


def _svg(
    parts: Sequence[str], label: str, width: float, height: float, *, css: str = "cloud", attributes: str = ""
) -> Markup:
    opening = (
        f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}"{attributes}>'
    )
    return Markup(f"{opening}{''.join(parts)}</svg>")
