from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsynth.data.splits import EXCLUDED, assign, check_leaks, format_assignment, read_assignment
from medsynth.errors import UserError

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
PATIENTS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from("abc")), min_size=1, max_size=120)
SEEDS = st.integers(0, 5)


def names(pairs: list[tuple[int, str]], *, by_class: bool) -> tuple[list[str], list[str]]:
    labels = [label for _, label in pairs]
    return [f"{label if by_class else ''}{p}" for p, label in pairs], labels


def homes(patients: list[str], splits: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        if split != EXCLUDED:
            found.setdefault(patient, set()).add(split)
    return found


@given(PATIENTS, st.booleans(), SEEDS)
def test_no_patient_stands_in_two_splits(pairs: list[tuple[int, str]], by_class: bool, seed: int) -> None:
    patients, labels = names(pairs, by_class=by_class)
    result = assign(patients, labels, shares=SHARES, seed=seed)
    assert all(len(where) == 1 for where in homes(patients, result.splits).values())
    assert not result.excluded


@given(PATIENTS, SEEDS)
def test_each_class_of_three_patients_has_one_in_every_split_and_smaller_ones_are_named(
    pairs: list[tuple[int, str]], seed: int
) -> None:
    patients, labels = names(pairs, by_class=True)
    result = assign(patients, labels, shares=SHARES, seed=seed)
    for label in set(labels):
        mine = {p for p in patients if p[0] == label}
        held = {s for p, s in zip(patients, result.splits, strict=True) if p in mine}
        assert (held == {"train", "val", "test"}) == (len(mine) >= 3)
        assert (label in result.small_classes) == (len(mine) < 3)


def test_shares_are_met_within_a_patient_of_images_each() -> None:
    patients = [f"{i // 3}" for i in range(3000)]
    counts = Counter(assign(patients, ["x"] * 3000, shares=SHARES, seed=0).splits)
    assert counts["train"] == pytest.approx(2400, abs=3)
    assert counts["val"] == pytest.approx(300, abs=3)


def test_the_order_of_files_does_not_matter_and_the_seed_does() -> None:
    patients = [f"{i // 2}" for i in range(200)]
    first = homes(patients, assign(patients, ["x"] * 200, shares=SHARES, seed=0).splits)
    turned = homes(patients[::-1], assign(patients[::-1], ["x"] * 200, shares=SHARES, seed=0).splits)
    other = homes(patients, assign(patients, ["x"] * 200, shares=SHARES, seed=1).splits)
    assert first == turned != other


@given(PATIENTS, PATIENTS, SEEDS)
def test_adding_files_moves_nobody(old: list[tuple[int, str]], new: list[tuple[int, str]], seed: int) -> None:
    patients, labels = names(old, by_class=True)
    before = assign(patients, labels, shares=SHARES, seed=seed).splits
    more, more_labels = names(old + new, by_class=True)
    earlier = [*before, *[None] * len(new)]
    after = assign(more, more_labels, shares=SHARES, seed=seed, earlier=earlier)
    assert after.splits[: len(old)] == before
    assert all(len(where) == 1 for where in homes(more, after.splits).values())


def test_a_new_file_that_ties_train_to_test_takes_the_images_out_of_training() -> None:
    result = assign(["p"] * 4, ["x"] * 4, shares=SHARES, seed=0, earlier=["train", "test", None, EXCLUDED])
    assert result.splits == [EXCLUDED, "test", "test", EXCLUDED]
    assert result.excluded == [0, 3]


@given(PATIENTS, st.lists(st.booleans(), min_size=120, max_size=120), SEEDS)
def test_a_published_test_split_stays_and_its_patients_leave_training(
    pairs: list[tuple[int, str]], tested: list[bool], seed: int
) -> None:
    patients, labels = names(pairs, by_class=False)
    fixed = ["test", *("test" if t else "train" for t in tested[1 : len(pairs)])]
    in_test = {p for p, f in zip(patients, fixed, strict=True) if f == "test"}
    result = assign(patients, labels, shares=SHARES, seed=seed, fixed=fixed)
    for patient, split, published in zip(patients, result.splits, fixed, strict=True):
        assert (split == "test") == (published == "test")
        assert (split == EXCLUDED) == (published == "train" and patient in in_test)
    assert all(len(where) == 1 for where in homes(patients, result.splits).values())


def test_a_published_training_split_alone_is_divided_in_three() -> None:
    result = assign([str(i) for i in range(50)], ["x"] * 50, shares=SHARES, seed=0, fixed=["train"] * 50)
    assert Counter(result.splits) == {"train": 40, "val": 5, "test": 5}


def test_a_leak_is_found_by_patient_and_by_image() -> None:
    assert check_leaks(["train", "test"], ["p", "p"], ["a", "b"], [False, False]) == ["patient p"]
    assert check_leaks(["train", "test"], ["p", "q"], ["a", "a"], [False, False]) == ["image a"]
    assert check_leaks(["train", EXCLUDED], ["p", "p"], ["a", "a"], [False, False]) == []
    assert check_leaks(["train", "test"], ["p", "q"], ["a", "a"], [True, True]) == []


def test_an_assignment_survives_its_file(tmp_path: Path) -> None:
    rows = {'a, "b".png': ("p 1", "train"), "c.png": ("q", EXCLUDED)}
    (tmp_path / "splits.csv").write_text(format_assignment(rows))
    assert read_assignment(tmp_path / "splits.csv") == rows
    assert read_assignment(tmp_path / "absent.csv") == {}


def test_a_damaged_assignment_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("file,patient,split\na,p,train\nb,p,tarin\n")
    with pytest.raises(UserError, match=r"line 3 is not 'file,patient,split'"):
        read_assignment(tmp_path / "splits.csv")
