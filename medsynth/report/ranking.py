"""Which of several runs is better by a metric, and whether their paired difference is more than chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsynth.metrics.entries import entries
from medsynth.report.memorised import memorisation
from medsynth.report.points import Point, Tone, number
from medsynth.report.verdict import Verdict, verdict
from medsynth.report.wordings import Toward, wording

CHANCE = 0.05  # of a 95 % interval to leave out 0 where runs do not differ
# What the verdict tells of, and the metrics that tell it: of each kind the first that the runs have.
ASPECTS = {"Fidelity": ("kid", "frechet", "fid"), "Detail": ("spectrum",), "Diversity": ("ms_ssim", "recall"),
           "Usable images": ("usable",), "Memorisation": ("duplicates", "membership")}  # fmt: skip
COUNTABLE = ("distance", "share", "score", "length", "error")  # titles with these take an article


@dataclass(frozen=True)
class Difference:
    """The value of `first` less that of `second`, with the interval of draws that both share; None: no interval."""

    first: str
    second: str
    value: float
    interval: tuple[float, float] | None

    @property
    def is_clear(self) -> bool:
        """Does the interval leave out 0?"""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def text(self) -> str:
        """The value, its interval in brackets."""
        around = " to ".join(map(number, self.interval)) if self.interval else "no interval"
        return f"{number(self.value)} ({around})"

    def turned(self) -> "Difference":
        """The same of `second` less `first`."""
        around = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Difference(self.second, self.first, -self.value, around)


@dataclass(frozen=True)
class Ranking:
    """Runs by one metric.

    key, name: of the metric, with and without count. order: runs with a value, the best first; in the order of the
    comparison where the metric ranks nobody. values: by run, None where it could not be computed.
    real: the metric of real images against real ones. differences: of pairs of runs, once each.
    """

    key: str
    name: str
    order: tuple[str, ...]
    values: Mapping[str, float | None]
    real: float | None
    differences: tuple[Difference, ...]

    def between(self, first: str, second: str) -> Difference | None:
        """The difference of two runs, this way round; None where nobody computed it."""
        for one in self.differences:
            if (one.first, one.second) == (first, second):
                return one
            if (one.second, one.first) == (first, second):
                return one.turned()
        return None

    def beats(self, first: str, second: str) -> bool:
        """Is `first` better, and by more than chance?"""
        found, values = self.between(first, second), (self.values[first], self.values[second])
        if found is None or not found.is_clear or None in values:
            return False
        return better(*values, toward=wording(self.name).toward, real=self.real) > 0  # type: ignore[arg-type]

    @property
    def best(self) -> str | None:
        """The first run, if it is better than the runner-up by more than chance."""
        return self.order[0] if len(self.order) > 1 and self.beats(*self.order[:2]) else None


def better(first: float, second: float, *, toward: Toward | None, real: float | None) -> int:
    """1 when `first` is better, -1 when `second` is, 0 when neither is or nobody can say.

    Values that should be high are good from the real value on; of two on either side of the value they should be near,
    a difference does not tell which is nearer.
    """
    match toward:
        case "low":
            apart = second - first
        case "high":
            apart = first - second if real is None else min(first, real) - min(second, real)
        case "real" if real is not None and (first - real) * (second - real) >= 0:
            apart = abs(second - real) - abs(first - real)
        case _:
            return 0
    return (apart > 0) - (apart < 0)


def rankings(comparison: Mapping[str, Any]) -> list[Ranking]:
    """One of each metric of the runs, in the order of the first run's judgement."""
    found = {run: entries(judgement) for run, judgement in comparison["runs"].items()}
    keys = list(dict.fromkeys(key for one in found.values() for key in one))
    return [_ranking(key, found, comparison["differences"].get(key, ())) for key in keys]


def _ranking(key: str, found: Mapping[str, Any], differences: Sequence[Mapping[str, Any]]) -> Ranking:
    name = key.rpartition("_")[0]
    values = {run: one[key]["value"] if key in one else None for run, one in found.items()}
    real = next((one[key]["real_against_real"] for one in found.values() if key in one), None)
    known = [run for run, value in values.items() if value is not None]
    return Ranking(
        key=key,
        name=name,
        order=tuple(sorted(known, key=lambda run: _badness(values[run], wording(name).toward, real))),
        values=values,
        real=real,
        differences=tuple(
            Difference(one["first"], one["second"], one["value"], one["interval"] and tuple(one["interval"]))
            for one in differences
        ),
    )


def _badness(value: float | None, toward: Toward | None, real: float | None) -> float:
    assert value is not None
    match toward:
        case "low":
            return value
        case "high":
            return -value if real is None else -min(value, real)
        case "real" if real is not None:
            return abs(value - real)
    return 0.0


# ---------------------------------------------------------------------------------------------------- in words


def compare(comparison: Mapping[str, Any]) -> Verdict:
    """Which run is best, by what, and how sure that is. Raises nothing for runs that share no metric."""
    found = rankings(comparison)
    chosen = {aspect: _of_kind(found, kinds) for aspect, kinds in ASPECTS.items()}
    points = [_point(aspect, one) for aspect, one in chosen.items() if one is not None]
    points += [*_copies(comparison["runs"]), _chance(found)]
    headline, tone = _headline(chosen["Fidelity"], len(comparison["runs"]))
    if (leader := chosen["Fidelity"]) and leader.best:
        alone = verdict(comparison["runs"][leader.best])
        if alone.tone == "poor":
            headline, tone = f"{headline} But of {leader.best} by itself: {alone.headline}", "poor"
    return Verdict(headline, tone, points)


def _of_kind(found: Sequence[Ranking], kinds: Sequence[str]) -> Ranking | None:
    """The first metric of the first kind by which runs were compared."""
    known = [one for one in found if one.differences and len(one.order) > 1]
    return next((one for kind in kinds for one in known if kind in (one.name, one.name.split("_")[0])), None)


def _headline(leader: Ranking | None, runs: int) -> tuple[str, Tone]:
    if leader is None:
        return "The runs have no distance that could be compared.", "unknown"
    if leader.best:
        return sentence(leader), "good"
    if runs == 2:
        return f"{' and '.join(leader.values)} cannot be told apart by these images.", "unknown"
    return f"No run is clearly the best by these images; the first by {called(leader)} is {leader.order[0]}.", "unknown"


def _point(aspect: str, ranking: Ranking) -> Point:
    return Point(aspect, "good" if ranking.best else "unknown", sentence(ranking))


def sentence(ranking: Ranking) -> str:
    """The best run against each other, with the paired differences."""
    first, *others = ranking.order
    if len(others) == 1:
        found = ranking.between(first, others[0])
        if found is None:
            return f"{first} and {others[0]} were not compared by {called(ranking)}."
        figures = f": {found.text}"
        if ranking.beats(first, others[0]):
            return f"{first} is better than {others[0]} by {called(ranking)}{figures}."
        if found.interval is None and found.value:
            return f"{first} comes before {others[0]} by {called(ranking)}, nobody knows if by chance{figures}."
        if found.is_clear:
            return f"{first} and {others[0]} differ by {called(ranking)}, but neither is better{figures}."
        return f"{first} and {others[0]} cannot be told apart by {called(ranking)}{figures}."
    worse = [other for other in others if ranking.beats(first, other)]
    open_ones = [other for other in others if other not in worse]
    if not open_ones:
        return f"{first} is better than all others by {called(ranking)}; than the next, {others[0]}: {_text(ranking)}."
    told = f"better than {listed(worse)}, but " if worse else ""
    return f"{first} is first by {called(ranking)}: {told}not clearly better than {listed(open_ones)}."


def _text(ranking: Ranking) -> str:
    found = ranking.between(*ranking.order[:2])
    return found.text if found else "not compared"


def called(ranking: Ranking) -> str:
    """The title of the metric within a sentence: "the kernel distance (random features)"."""
    title, _, features = wording(ranking.name).title.replace(" ×10³", "").partition(", ")
    is_countable = any(noun in title.lower() for noun in COUNTABLE)
    title = title[0].lower() + title[1:] if title[1:2].islower() and not title.startswith("Fréchet") else title
    return ("the " if is_countable else "") + title + (f" ({features})" if features else "")


def listed(names: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _copies(runs: Mapping[str, Any]) -> Iterator[Point]:
    """A run whose images copy training images is told of whatever else it is best by."""
    for name, judgement in runs.items():
        if (point := memorisation(judgement)).tone == "poor":
            yield Point(f"Copies: {name}", "poor", point.text)


def _chance(found: Sequence[Ranking]) -> Point:
    tried = [one for ranking in found for one in ranking.differences if one.interval is not None]
    clear, expected = sum(one.is_clear for one in tried), CHANCE * len(tried)
    if not tried:
        return Point("Chance", "unknown", "No difference has an interval, so none can be told from chance.")
    text = (
        f"{clear:,} of {len(tried):,} paired differences leave out 0. Between runs that are equally good "
        f"about {expected:.1f} would at 95%: a single one says little."
    )
    return Point("Chance", "good" if clear > 2 * expected else "unknown", text)
