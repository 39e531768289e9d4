"""Which of several judged sets is better: differences of figures, and how far they would move with other patients."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from medsynth.metrics.bootstrap import interval
from medsynth.metrics.entries import Finding, metric_key


def differences(found: Mapping[str, Mapping[str, Finding]], *, count: int) -> dict[str, list[dict[str, Any]]]:
    """Every figure of every set less that of each later one, with its 95 % interval where both have one.

    The intervals are paired: each draw of real patients stands against all sets at once, so that what these patients
    do to all figures alike cancels, and only the synthetic images are drawn independently. An interval that leaves out
    0 tells two sets apart; two overlapping intervals of single figures do not say that they cannot be told apart.

    Args:
        found: by name of the set, the findings of one `Yardstick` for each, by metric; `Yardstick.find` with names that
            differ.
        count: images judged, part of the keys.

    Returns:
        By key of the metric: `first`, `second`, `value` (first less second), and `interval` or None.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for (first, a), (second, b) in combinations(found.items(), 2):
        for metric, one in a.items():
            other = b.get(metric)
            if other is None or one.value is None or other.value is None:
                continue
            value, around = one.value - other.value, None
            if one.deviations is not None and other.deviations is not None:
                around = list(interval(value, one.deviations - other.deviations))
            row = {"first": first, "second": second, "value": value, "interval": around}
            made.setdefault(metric_key(metric, count), []).append(row)
    return made
