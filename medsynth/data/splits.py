"""Who trains, who validates, who tests: by patient, stable when files are added, checked after writing."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from numpy import ndarray

from medsynth.errors import UserError
from medsynth.seeds import fold

SPLITS = ("train", "val", "test")
EXCLUDED = "excluded"


@dataclass(frozen=True)
class Assignment:
    """The split of every image ("train", "val", "test" or "excluded"), the classes too small for three splits, and
    the images taken out of a split because their patient also stands in one with precedence."""

    splits: list[str]
    small_classes: list[str] = field(default_factory=list)
    excluded: list[int] = field(default_factory=list)


def assign(
    patients: Sequence[str],
    labels: Sequence[str],
    *,
    shares: Mapping[str, float],
    seed: int,
    fixed: Sequence[str | None] | None = None,
    earlier: Sequence[str | None] | None = None,
) -> Assignment:
    """Assign whole patients to splits.

    Patients come in the order of hash(seed, patient); each goes to the split furthest below its share of images in the
    patient's class (its most frequent one). Each class of three or more patients then has one in every split.

    shares: of "train", "val" and "test", adding up to 1; a split of share 0 stays empty.
    fixed: split published with the dataset, by image; "train" still gives patients to "val". Published test images stay
    test; a patient who is also elsewhere is taken out there.  earlier: split of a former run, by image; nobody moves.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, patient in enumerate(patients):
        members[patient].append(i)
    classes = {p: Counter(labels[i] for i in images).most_common(1)[0][0] for p, images in members.items()}
    tested = [fixed is not None and fixed[i] == "test" for i in range(len(patients))]
    before = earlier if earlier is not None else [None] * len(patients)
    homes: dict[str, str] = {}
    for patient, images in members.items():
        held = {before[i] for i in images} | {"test" for i in images if tested[i]}
        if home := next((split for split in ("test", "val", "train") if split in held), None):
            homes[patient] = home
    settled = set(homes)
    order = sorted(members.keys() - settled, key=lambda p: (fold(seed, "split", p), p))
    published = any(tested)
    _fill(homes, order, members, classes, _without_test(shares) if published else shares)
    small = _cover(homes, settled, members, classes, [s for s in SPLITS if shares[s] > 0], locked_test=published)
    splits = [homes[patient] for patient in patients]
    crosses = [published and split == "test" and not tested[i] for i, split in enumerate(splits)]
    excluded = [i for i, s in enumerate(splits) if crosses[i] or before[i] not in (None, s)]
    for i in excluded:
        splits[i] = EXCLUDED
    return Assignment(splits, small, excluded)


def _without_test(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of train and val where the dataset publishes its test split."""
    rest = shares["train"] + shares["val"]
    return {"train": shares["train"] / rest, "val": shares["val"] / rest, "test": 0.0}


def _fill(
    homes: dict[str, str],
    patients: Sequence[str],
    members: Mapping[str, list[int]],
    classes: Mapping[str, str],
    shares: Mapping[str, float],
) -> None:
    """Give each patient, in order, to the split furthest below its share of images in the patient's class."""
    totals, held = Counter[str](), Counter[tuple[str, str]]()
    for patient, images in members.items():
        if shares["test"] > 0 or homes.get(patient) != "test":
            totals[classes[patient]] += len(images)
        if patient in homes:
            held[classes[patient], homes[patient]] += len(images)
    for patient in patients:
        label = classes[patient]
        open_splits = [s for s in SPLITS if shares[s] > 0]
        homes[patient] = max(open_splits, key=lambda s: shares[s] * totals[label] - held[label, s])
        held[label, homes[patient]] += len(members[patient])


def _cover(
    homes: dict[str, str],
    settled: set[str],
    members: Mapping[str, list[int]],
    classes: Mapping[str, str],
    wanted: Sequence[str],
    *,
    locked_test: bool,
) -> list[str]:
    """Move the smallest patients so that each class with enough of them has one in every split; names the others.

    Patients settled before stay, and a published test split is left alone.
    """
    small = []
    targets = [s for s in wanted if not (locked_test and s == "test")]
    for label in sorted(set(classes.values())):
        mine = [p for p in homes if classes[p] == label and not (locked_test and homes[p] == "test")]
        if len(mine) < len(targets):
            small.append(label)
            continue
        for split in targets:
            counts = Counter(homes[p] for p in mine)
            if counts[split]:
                continue
            free = [p for p in mine if p not in settled and counts[homes[p]] > 1]
            if free:
                homes[min(free, key=lambda p: (len(members[p]), p))] = split
        if any(all(homes[p] != split for p in mine) for split in targets):
            small.append(label)
    return small


def check_leaks(
    splits: Sequence[str], patients: Sequence[str], digests: Sequence[str], flat: Sequence[bool] | ndarray
) -> list[str]:
    """Patients, and identical images, that stand in more than one split; images of one colour prove nothing."""
    found: dict[str, set[str]] = defaultdict(set)
    for split, patient, digest, single in zip(splits, patients, digests, flat, strict=True):
        if split == EXCLUDED:
            continue
        found[f"patient {patient}"].add(split)
        if not single:
            found[f"image {digest}"].add(split)
    return sorted(name for name, where in found.items() if len(where) > 1)


def read_assignment(path: Path) -> dict[str, tuple[str, str]]:
    """File -> (patient, split) of an earlier run; empty when there was none. Raises UserError for a damaged file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    known = {*SPLITS, EXCLUDED}
    for line, row in enumerate(rows, start=2):
        if row.get("file") is None or row.get("patient") is None or row.get("split") not in known:
            raise UserError(f"{path} line {line} is not 'file,patient,split'; mend or delete the file")
    return {row["file"]: (row["patient"], row["split"]) for row in rows}


def format_assignment(rows: Mapping[str, tuple[str, str]]) -> str:
    """The text of splits.csv, sorted by file; files that are gone for now keep their place."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "patient", "split"))
    writer.writerows((file, *rows[file]) for file in sorted(rows))
    return text.getvalue()
