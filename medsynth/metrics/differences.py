"""Which of several judged sets is better: differences of figures, and how far they would move with other patients."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from medsynth.metrics.bootstrap import interval
from medsynth.metrics.entries import Finding, metric_key


def differences(found: Mapping[str, Mapping[str, Finding]], *, count: int) -> dict[str, list[dict[str, Any]]]:
    """Every figure of every set less that of each later one, with its 95 % interval.

    The intervals are paired: each draw of real patients stands against all sets at once, so that what these patients
    do to all figures alike cancels, and only the synthetic images are drawn independently. An interval that leaves out
    0 tells two sets apart; two overlapping intervals of single figures do not say that they cannot be told apart.

    Args:
        found: by name of the set, the findings of one `Yardstick` for each, by metric; `Yardstick.find` with names that
            differ.
        count: images judged, part of the keys.

    Returns:
        By key of the metric, those with intervals alone: `first`, `second`, `value` (first less second), `interval`.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for (first, a), (second, b) in combinations(found.items(), 2):
        for metric, one in a.items():
            other = b.get(metric)
            if other is None or one.deviations is None or other.deviations is None:
                continue
            assert one.value is not None
            assert other.value is not None
            value = one.value - other.value
            around = list(interval(value, one.deviations - other.deviations))
            row = {"first": first, "second": second, "value": value, "interval": around}
            made.setdefault(metric_key(metric, count), []).append(row)
    return made
