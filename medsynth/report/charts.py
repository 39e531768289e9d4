"""Charts as inline SVG: they scale, print, follow the page's colours and need no script."""

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 26
MOST_POINTS = 240  # of a curve: more cannot be seen

Points = Sequence[tuple[float, float]]


def line_chart(points: Points, *, title: str, reference: float | None = None) -> Markup:
    """A curve over images seen, with a dashed line at `reference` (the real-against-real value) if there is one."""
    points = thinned([p for p in points if all(map(math.isfinite, p))])
    if not points:
        return Markup("")
    values = [y for _, y in points] + ([] if reference is None else [reference])
    x_ticks, y_ticks = ticks(0.0, max(x for x, _ in points)), ticks(min(values), max(values))
    x_end = max(x_ticks[-1], max(x for x, _ in points)) or 1

    def x_of(x: float) -> float:
        return LEFT + x / x_end * (WIDTH - LEFT - RIGHT)

    def y_of(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = list(axes([(x_of(t), short(t)) for t in x_ticks], [(y_of(t), short(t)) for t in y_ticks]))
    if reference is not None:
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(reference):.1f}" '
                     f'y2="{y_of(reference):.1f}"/>')  # fmt: skip
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    if len(points) <= 30:
        parts += [f'<circle class="dot" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.6"/>' for x, y in points]
    last = points[-1]
    told = f"{title}: {short(points[0][1])} at {short(points[0][0])} images, {short(last[1])} at {short(last[0])}"
    return svg(parts, told, WIDTH, HEIGHT)


def ratio_strip(ratio: float | None) -> Markup:
    """Where a ratio to real-against-real lies between a tenth and a thousand, on a logarithmic line marked at 1."""
    if ratio is None or ratio <= 0:
        return Markup("")
    width, height, low, high = 120, 18, -1.0, 3.0

    def x_of(power: float) -> float:
        return 6 + (min(max(power, low), high) - low) / (high - low) * (width - 12)

    one, here = x_of(0.0), x_of(math.log10(ratio))
    parts = [f'<line class="axis" x1="6" x2="{width - 6}" y1="9" y2="9"/>']
    parts += [
        f'<line class="tick" x1="{x_of(p):.1f}" x2="{x_of(p):.1f}" y1="7" y2="11"/>' for p in (-1.0, 1.0, 2.0, 3.0)
    ]
    parts.append(f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="3" y2="15"/>')
    parts.append(f'<line class="span" x1="{one:.1f}" x2="{here:.1f}" y1="9" y2="9"/>')
    parts.append(f'<circle class="dot" cx="{here:.1f}" cy="9" r="4"/>')
    return svg(parts, f"{ratio:.3g} times the real-against-real value", width, height, css="strip")


def difference_strip(value: float, ends: Sequence[float] | None, *, reach: float, label: str) -> Markup:
    """A difference and its interval on a line from -reach to reach, marked at 0; hollow where the interval holds 0."""
    width, height, middle = 170, 18, 85.0
    scale = (middle - 8) / (reach or 1.0)
    parts = [f'<line class="axis" x1="6" x2="{width - 6}" y1="9" y2="9"/>']
    parts.append(f'<line class="one" x1="{middle:g}" x2="{middle:g}" y1="2" y2="16"/>')
    is_clear = ends is not None and (ends[0] > 0 or ends[1] < 0)
    if ends is not None:
        low, high = (middle + scale * end for end in ends)
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="9" y2="9"/>')
        parts += [f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="12"/>' for x in (low, high)]
    parts.append(f'<circle class="{"dot" if is_clear else "hollow"}" cx="{middle + scale * value:.1f}" cy="9" r="4"/>')
    return svg(parts, label, width, height, css="strip difference")


def spread_chart(rows: Sequence[tuple[str, Sequence[float]]], *, title: str) -> Markup:
    """Distances as rows: thin line from 5 % to 95 %, thick from 25 % to 75 %, a stroke at the median, dots at the ends.

    Args:
        rows: a name and its least, 5 %, 25 %, 50 %, 75 %, 95 % and greatest value.
    """
    width, row_height, left = 640, 40, 176
    height = len(rows) * row_height + BOTTOM
    marks = ticks(0.0, max(values[-1] for _, values in rows))

    def x_of(value: float) -> float:
        return left + value / marks[-1] * (width - left - 16)

    bottom = height - BOTTOM
    parts = []
    for mark in marks:
        x = x_of(mark)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{short(mark)}</text>')
    for number, (name, values) in enumerate(rows):
        y = number * row_height + row_height / 2
        least, p5, p25, median, p75, p95, most = map(x_of, values)
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line class="whisker" x1="{p5:.1f}" x2="{p95:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<rect class="box" x="{p25:.1f}" width="{max(1, p75 - p25):.1f}" y="{y - 7}" height="14" rx="2"/>'
        )
        parts.append(f'<line class="median" x1="{median:.1f}" x2="{median:.1f}" y1="{y - 9}" y2="{y + 9}"/>')
        parts += [f'<circle class="end" cx="{x:.1f}" cy="{y}" r="2"/>' for x in (least, most)]
    medians = ", ".join(f"{name} median {short(values[3])}" for name, values in rows)
    return svg(parts, f"{title}: {medians}", width, height, css="spread")


def thinned(points: Points) -> Points:
    """At most 240 points: each the mean of its neighbours."""
    step = math.ceil(len(points) / MOST_POINTS)
    if step <= 1:
        return points
    parts = [points[start : start + step] for start in range(0, len(points), step)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from at or below `low` to at or above `high`."""
    if not high > low:
        pad = abs(high) * 0.1 or 1.0
        low, high = low - pad * (low != 0), high + pad
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis: 200000 -> "200k", 0.25 -> "0.25"."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e3:
        return f"{value / 1e3:.3g}k"
    return "0" if abs(value) < 1e-12 else f"{value:.3g}"


def axes(
    x_marks: Sequence[tuple[float, str]], y_marks: Sequence[tuple[float, str]], *, height: int = HEIGHT
) -> Iterator[str]:
    """Lines across at the marks of y, and the names of all marks, for a chart of the usual width."""
    for y, text in y_marks:
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for x, text in x_marks:
        if x <= WIDTH - RIGHT + 1:
            yield f'<text x="{x:.1f}" y="{height - 7}" text-anchor="middle">{text}</text>'


def svg(parts: Sequence[str], label: str, width: int, height: int, *, css: str = "chart") -> Markup:
    """The whole chart; `label` tells it to whom cannot see it."""
    opening = f'<svg class="{css}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{opening}{''.join(parts)}</svg>")
