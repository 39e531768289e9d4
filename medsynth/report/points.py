"""A point of a verdict, and how its figures are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["good", "mixed", "poor", "unknown", "figures"]  # figures: there is no bar to hold them against


@dataclass(frozen=True)
class Point:
    """One aspect of the verdict: its name, how it turned out, and a sentence with the figures behind it."""

    aspect: str
    tone: Tone
    text: str


def times(ratio: float) -> str:
    """1.04 -> "is about equal to", 3.2 -> "is 3.2 times"."""
    if 0.95 <= ratio < 1.05:
        return "is about equal to"
    return f"is {ratio:,.0f} times" if ratio >= 10 else f"is {ratio:.1f} times"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that is readable."""
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}" if value else "0"


def ratio(name: str, figure: Mapping[str, Any], *, interval: Sequence[float] | None) -> float | None:
    """Value over real-against-real of a metric, without count; None unless both are positive.

    A kernel distance has no bias: between real images it is 0 but for chance, and a ratio to it could be anything. So
    it has a ratio only where the real value exceeds half the width of the interval, and none without an interval.
    """
    value, real = figure["value"], figure["real_against_real"]
    if value is None or real is None or value < 0 or real <= 0:
        return None
    if name.partition("_")[0] == "kid" and (interval is None or real <= (interval[1] - interval[0]) / 2):
        return None
    return value / real
