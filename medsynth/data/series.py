"""Who belongs together when no patient is named: slices of one series, and copies of one image.

Likeness is the correlation of thumbnails. On real abdominal CT neighbouring slices of one series correlate above 0.83
and different series below 0.93, so a cut at 0.8 between neighbours finds the series and 0.98 finds copies.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

SERIES_CUT = 0.8  # neighbours below it start a new series
NEAR_CUT = 0.98  # images above it are near-identical
TWIN_CUT = 0.99  # one pair above it joins two series
RAISED_CUTS = (0.99, 0.995, 0.999)  # for groups that grew too large at NEAR_CUT
CHUNK = 512


@dataclass(frozen=True)
class Looks:
    """How n images look, in one order: all that grouping needs.

    thumbnails: (n, pixels) float32, each with mean 0 and norm 1, so that a dot product is a correlation; zeros for an
    image of one colour, which is like nothing.  digests: of the decoded pixels at full size; equal means identical.
    """

    thumbnails: Float[ndarray, "n p"]
    digests: list[str]

    @property
    def flat(self) -> Bool[ndarray, " n"]:
        """Images of a single colour: identical to each other without saying anything about a patient."""
        return np.asarray(~self.thumbnails.any(axis=1))


@dataclass(frozen=True)
class Groups:
    """One group name per image, and what a person should know about how they were found."""

    patients: list[str]
    kind: str
    """What a group is, for people: "patients", "series" or "images with their duplicates"."""
    report: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def normalise(thumbnails: Float[ndarray, "n p"]) -> Float[ndarray, "n p"]:
    """Subtract each row's mean and divide by its norm; rows of one value (std below 1e-4 of white) become 0."""
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    constant = norms < 1e-4 * np.sqrt(thumbnails.shape[1])
    return np.where(constant, 0, centred / np.where(constant, 1, norms)).astype(np.float32)


class Union:
    """Disjoint sets of the numbers 0..n-1."""

    def __init__(self, n: int) -> None:
        self.parents = list(range(n))

    def root(self, i: int) -> int:
        """The number that stands for i's set, the smallest in it."""
        while self.parents[i] != i:
            self.parents[i] = self.parents[self.parents[i]]
            i = self.parents[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one set of those of i and j."""
        a, b = sorted((self.root(i), self.root(j)))
        self.parents[b] = a

    def roots(self) -> Int[ndarray, " n"]:
        """The standing number of every number."""
        return np.array([self.root(i) for i in range(len(self.parents))], dtype=np.int64)


def identical(looks: Looks) -> dict[str, list[int]]:
    """The images of every digest that occurs more than once; images of one colour are left out."""
    places: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(~looks.flat):
        places[looks.digests[i]].append(int(i))
    return {digest: images for digest, images in places.items() if len(images) > 1}


def walk_series(thumbnails: Float[ndarray, "n p"], *, cut: float = SERIES_CUT) -> Int[ndarray, " n"]:
    """Number the series of images that stand in slice order: a correlation of neighbours below `cut` starts a new one.

    An image of one colour says nothing: it stays in the running series, and the next is compared with the one before.
    """
    series = np.zeros(len(thumbnails), dtype=np.int64)
    last: Float[ndarray, " p"] | None = None
    for i, thumbnail in enumerate(thumbnails):
        series[i] = series[i - 1] if i else 0
        if not thumbnail.any():
            continue
        if last is not None and float(thumbnail @ last) < cut:
            series[i] += 1
        last = thumbnail
    return series


def group_series(labels: Sequence[str], numbers: Sequence[int | None], looks: Looks) -> Groups:
    """Stand series in for patients: walk each class in file-number order, then join near-identical series.

    labels, numbers: class and file number of each image; images without a number come last in their given order.
    Two series become one when they share an identical image, when at least half of the smaller one's slices have a
    near-identical slice in the other, or when one pair of slices is nearly the same image; the last is refused, and
    named, where the group would hold over half of a class, so that a chain of likenesses cannot swallow the dataset.
    """
    order = sorted(range(len(labels)), key=lambda i: (labels[i], numbers[i] is None, numbers[i] or 0))
    series = np.zeros(len(labels), dtype=np.int64)
    names: list[str] = []
    for label in sorted(set(labels)):
        mine = [i for i in order if labels[i] == label]
        walked = walk_series(looks.thumbnails[mine])
        series[mine] = walked + len(names)
        for k in range(int(walked.max()) + 1):
            ends = [numbers[mine[j]] for j in np.flatnonzero(walked == k)[[0, -1]]]
            names.append(f"{label} {ends[0]}-{ends[1]}" if None not in ends else f"{label} unnumbered {k}")
    names = _unique(names)
    roots, joined, refused = _join_series(series, labels, looks)
    report = {
        "series_per_class": {c: len({int(s) for s, lab in zip(series, labels, strict=True) if lab == c}) for c in
                             sorted(set(labels))},
        "joined": [f"{names[a]} = {names[b]}: {why}" for a, b, why in joined],
        "images_in_identical_sets": sum(len(images) for images in identical(looks).values()),
    }  # fmt: skip
    warnings = [
        f"series '{names[a]}' and '{names[b]}' hold a near-identical slice but stay apart: joined, they would be over "
        f"half of a class"
        for a, b in refused
    ]
    return Groups([names[roots[s]] for s in series], "series", report, warnings)


def group_patients(patients: Sequence[str | None], names: Sequence[str], looks: Looks) -> Groups:
    """Patients as the dataset names them; two who share an identical image are one, and images without a patient are
    grouped by likeness among themselves."""
    known = [i for i, patient in enumerate(patients) if patient is not None]
    unknown = [i for i, patient in enumerate(patients) if patient is None]
    result = [patient or "" for patient in patients]
    warnings: list[str] = []
    if unknown:
        rest = Looks(looks.thumbnails[unknown], [looks.digests[i] for i in unknown])
        alike = group_duplicates([names[i] for i in unknown], rest)
        warnings += [f"{len(unknown):,} images name no patient: grouped by likeness", *alike.warnings]
        for i, group in zip(unknown, alike.patients, strict=True):
            result[i] = f"image {group}"
    first: dict[str, int] = {}
    numbers = [first.setdefault(name, len(first)) for name in result]
    union, joined = Union(len(first)), 0
    for images in identical(looks).values():
        for other in images[1:]:
            joined += union.root(numbers[images[0]]) != union.root(numbers[other])
            union.join(numbers[images[0]], numbers[other])
    if joined:
        warnings.append(f"{joined:,} patients share an identical image with another and count as one")
    title = list(first)
    report = {"named_patients": len({patients[i] for i in known}), "joined_by_identical_images": joined}
    return Groups([title[union.root(k)] for k in numbers], "patients", report, warnings)


def _unique(names: list[str]) -> list[str]:
    """Append a count to names that occur again (two files can carry one number)."""
    seen: dict[str, int] = defaultdict(int)
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _join_series(
    series: Int[ndarray, " n"], labels: Sequence[str], looks: Looks
) -> tuple[Int[ndarray, " s"], list[tuple[int, int, str]], list[tuple[int, int]]]:
    """Roots of the joined series, the joins with their reason, and the refused ones."""
    count = int(series.max()) + 1
    union, joined, refused = Union(count), [], []
    for images in identical(looks).values():
        for other in images[1:]:
            a, b = int(series[images[0]]), int(series[other])
            if union.root(a) != union.root(b):
                union.join(a, b)
                joined.append((a, b, "identical images"))
    shares, best = series_likeness(series, looks.thumbnails)
    sizes = np.bincount(series, minlength=count)
    smaller = np.where(sizes[:, None] <= sizes[None, :], shares, shares.T)
    classes = sorted(set(labels))
    table = np.zeros((count, len(classes)), dtype=np.int64)
    np.add.at(table, (series, np.array([classes.index(label) for label in labels])), 1)
    pairs = np.argwhere(np.triu((smaller >= 0.5) | (best >= TWIN_CUT), 1))
    for a, b in sorted(pairs.tolist(), key=lambda pair: (-smaller[tuple(pair)], -best[tuple(pair)])):
        if union.root(a) == union.root(b):
            continue
        roots = union.roots()
        together = table[(roots == union.root(a)) | (roots == union.root(b))].sum(axis=0)
        if smaller[a, b] < 0.5 and bool((2 * together > table.sum(axis=0)).any()):
            refused.append((a, b))
            continue
        union.join(a, b)
        joined.append((a, b, f"{smaller[a, b]:.0%} of the slices near-identical, best correlation {best[a, b]:.4f}"))
    return union.roots(), joined, refused


def series_likeness(
    series: Int[ndarray, " n"], thumbnails: Float[ndarray, "n p"]
) -> tuple[Float[ndarray, "s s"], Float[ndarray, "s s"]]:
    """For every two series: the share of a's slices that have a near-identical slice in b, and the best correlation."""
    count = int(series.max()) + 1
    order = np.argsort(series, kind="stable")
    starts = np.searchsorted(series[order], np.arange(count))
    shares, best = np.zeros((count, count)), np.full((count, count), -1.0)
    for first, correlation in _correlations(thumbnails[order]):
        rows = series[order][first : first + len(correlation)]
        top = np.maximum.reduceat(correlation, starts, axis=1)  # (rows, s)
        np.maximum.at(best, rows, top)
        np.add.at(shares, rows, (top >= NEAR_CUT).astype(np.float64))
    return shares / np.bincount(series, minlength=count)[:, None], best


def _correlations(thumbnails: Float[ndarray, "n p"]) -> Iterator[tuple[int, Float[ndarray, "rows n"]]]:
    """Chunks of the correlation matrix with the number of their first row; memory stays at CHUNK rows."""
    for first in range(0, len(thumbnails), CHUNK):
        yield first, thumbnails[first : first + CHUNK] @ thumbnails.T


def components(
    thumbnails: Float[ndarray, "n p"], digests: Sequence[str], *, cut: float
) -> Int[ndarray, " n"]:  # fmt: skip
    """Join images with a correlation of at least `cut` or equal digests, transitively; equal numbers are one group."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(thumbnails)
    places: dict[str, int] = {}
    groups = np.array([places.setdefault(d, i) for i, d in enumerate(digests)], dtype=np.int64)
    for first, correlation in _correlations(thumbnails):
        rows, columns = np.nonzero(correlation >= cut)
        edges = np.unique(np.stack([groups[rows + first], groups[columns]]), axis=1)
        graph = coo_matrix((np.ones(edges.shape[1], dtype=np.int8), edges), shape=(n, n))
        groups = connected_components(graph, directed=False)[1].astype(np.int64)[groups]
    return groups


def group_duplicates(names: Sequence[str], looks: Looks, *, cut: float = NEAR_CUT) -> Groups:
    """Put identical and near-identical images together; every other image is a group of its own.

    Likeness chains: within a group of more than max(50, 2 %) of the images the cut is raised step by step, up to
    identical pixels alone, until the group falls apart or no step is left.
    """
    flat = looks.flat
    digests = [f"flat {i}" if flat[i] else digest for i, digest in enumerate(looks.digests)]
    groups = components(looks.thumbnails, digests, cut=cut)
    limit = max(50, len(names) // 50)
    raised: list[str] = []
    for step in (*RAISED_CUTS, 2.0):  # no correlation reaches 2: only identical pixels are left
        counts = np.bincount(groups)
        for group in np.flatnonzero(counts > limit):
            inside = np.flatnonzero(groups == group)
            raised.append(f"{counts[group]:,} images around {names[inside[0]]}: cut raised to {min(step, 1.0)}")
            finer = components(looks.thumbnails[inside], [digests[i] for i in inside], cut=step)
            groups[inside] = groups.max() + 1 + finer
    first: dict[int, str] = {}
    patients = [first.setdefault(int(g), name) for g, name in zip(groups, names, strict=True)]
    sizes = np.bincount(np.unique(groups, return_inverse=True)[1])
    report = {
        "groups_of_more_than_one": int((sizes > 1).sum()),
        "surplus_identical_images": sum(len(images) - 1 for images in identical(looks).values()),
        "surplus_near_identical_images": int((sizes - 1).sum()),
        "largest_group": int(sizes.max()),
        "cut_apart": raised,
    }
    warning = (
        f"{len(raised):,} clusters of alike images are too large for copies of one image and were cut apart "
        "(groups.cut_apart): slices of one patient may stand in several splits unless patients are named"
    )
    return Groups(patients, "images with their duplicates", report, [warning] if raised else [])
