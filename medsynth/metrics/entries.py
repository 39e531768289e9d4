"""The entries of metrics.json: how a metric is named, what stands beside its value, and how to read them back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """A metric's value before it is named.

    value: None when it could not be computed, for `reason`.
    real: the same metric of real images against other real images.
    interval: where the value would lie with other patients, 95 %; None where nobody asked or nothing can be said.
    deviations: of the draws behind the interval, from their mean: they compare two sets judged by the same real images.
    levels: parts of the value by name (pyramid levels), of which `real_levels` is the real-against-real counterpart.
    resize: how images reached the extractor; None without one. extractor: its name and sha256.
    counts: real and synthetic images behind the value where `metrics.count` does not decide that, as of pairs of one
        name; None: those of the whole judgement.
    extra: further facts of this metric.
    """

    value: float | None
    real: float | None = None
    interval: tuple[float, float] | None = None
    deviations: Float[Tensor, " rounds"] | None = field(default=None, repr=False, compare=False)
    reason: str | None = None
    resize: str | None = None
    extractor: Mapping[str, str] | None = None
    counts: tuple[int, int] | None = None
    levels: Mapping[str, float] | None = None
    real_levels: Mapping[str, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, real: "Finding | None") -> "Finding":
        """This finding with the same metric of real images against real ones, when there is one."""
        return self if real is None else replace(self, real=real.value, real_levels=real.levels)


def count_name(count: int) -> str:
    """256 -> "256", 1000 -> "1k", 10_000 -> "10k"."""
    return f"{count // 1000}k" if count >= 1000 and count % 1000 == 0 else str(count)


def metric_key(name: str, count: int) -> str:
    """The key of a metric judged on `count` images: `<distance>_<extractor>_<count>`."""
    return f"{name}_{count_name(count)}"


def entry(finding: Finding, *, n_real: int, n_fake: int, real_split: str) -> dict[str, Any]:
    """What metrics.json holds of a metric; `ratio` is value over real-against-real, null unless both are positive.

    n_real, n_fake: images of the whole judgement.
    """
    value, real = finding.value, finding.real
    n_real, n_fake = finding.counts or (n_real, n_fake)
    both = value is not None and real is not None and value >= 0 and real > 0
    made: dict[str, Any] = {
        "value": value,
        "real_against_real": real,
        "ratio": value / real if both else None,  # type: ignore[operator]
        "n_real": n_real,
        "n_fake": n_fake,
        "real_split": real_split,
        "resize": finding.resize,
        "extractor": dict(finding.extractor) if finding.extractor else None,
    }
    if finding.interval is not None:
        made["interval"] = list(finding.interval)
    if finding.reason is not None:
        made["reason"] = finding.reason
    if finding.levels is not None:
        real_levels = finding.real_levels or {}
        made["levels"] = {
            name: {"value": part, "real_against_real": real_levels.get(name)} for name, part in finding.levels.items()
        }
    return made | dict(finding.extra)


def entries(judgement: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every entry of a judgement by its key, those under `insufficient` included."""
    own = {key: value for key, value in judgement.items() if isinstance(value, dict) and "value" in value}
    return own | dict(judgement.get("insufficient", {}))


def find(judgement: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
    """The entry of the first of these metrics (names without count) that has a value."""
    found = entries(judgement)
    for name in names:
        for key, value in found.items():
            if key.rpartition("_")[0] == name and value["value"] is not None:
                return value
    return None


def scalars(judgement: Mapping[str, Any]) -> dict[str, float]:
    """The values of a judgement by key, for loggers; metrics without a value are left out."""
    return {key: value["value"] for key, value in entries(judgement).items() if value["value"] is not None}
