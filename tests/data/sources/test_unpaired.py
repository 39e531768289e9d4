from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.series import Groups, Looks, normalise
from medsynth.data.sources.unpaired import Unpaired
from medsynth.errors import UserError

CONFIG = {
    "name": "unpaired",
    "source": {"_target_": "medsynth.data.sources.unpaired.Unpaired"},
    "phantom": False,
    "channels": 1,
    "bits": 8,
    "fit": "pad",
    "intensity": {"_target_": "medsynth.data.intensity.Grey"},
    "flips": "none",
    "white": None,
    "split": {"train": 0.6, "val": 0.2, "test": 0.2, "seed": 0},
    "workers": 0,
}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image of its own noise at each path; a path of the form "new=old" copies the pixels of `old`."""

    def write(*paths: str) -> Path:
        for entry in paths:
            path, _, like = entry.partition("=")
            rng = np.random.default_rng(list((like or path).encode()))
            (tmp_path / "x" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / "x" / path)
        return tmp_path / "x"

    return write


def grouped(source: Unpaired) -> tuple[dict[str, str], Groups]:
    """Path below the root -> group, from the real pixels of the files."""
    records = source.records().records
    pixels = [np.asarray(Image.open(record.path), dtype=np.float32).ravel() for record in records]
    looks = Looks(normalise(np.stack(pixels)), [str(p.tobytes()) for p in pixels])
    groups = source.groups(records, looks)
    return {
        r.path.relative_to(source.root).as_posix(): g for r, g in zip(records, groups.patients, strict=True)
    }, groups


def test_each_image_belongs_to_the_set_of_its_folder(tree: Callable[..., Path]) -> None:
    root = tree("A/a.png", "A/b.jpg", "B/c.TIFF", "C/d.png")
    listing = Unpaired(root).records()
    assert {r.path.name: r.domain for r in listing.records} == {
        "a.png": "condition", "b.jpg": "condition", "c.TIFF": "target"}  # fmt: skip
    assert listing.notes == [
        "2 images of A to be turned into 1 of B",
        "1 images lie in neither A nor B and are not used",
    ]
    swapped = Unpaired(root, target="A", condition="C").records().records
    assert {r.path.name: r.domain for r in swapped} == {"a.png": "target", "b.jpg": "target", "d.png": "condition"}


def test_the_folders_are_found_inside_an_archives_only_folder(tree: Callable[..., Path]) -> None:
    root = tree("t1tot2/A/a.png", "t1tot2/B/b.png")
    assert [r.domain for r in Unpaired(root).records().records] == ["condition", "target"]


def test_folders_of_cyclegan_datasets_are_published_splits(tree: Callable[..., Path]) -> None:
    root = tree("trainA/1.png", "valA/2.png", "testA/1.png", "trainB/1.png", "testB/3.png")
    listing = Unpaired(root).records()
    assert {r.path.relative_to(root).as_posix(): (r.domain, r.official_split) for r in listing.records} == {
        "trainA/1.png": ("condition", "train"),
        "valA/2.png": ("condition", "train"),
        "testA/1.png": ("condition", "test"),
        "trainB/1.png": ("target", "train"),
        "testB/3.png": ("target", "test"),
    }
    assert any("1 images of published val folders count as train" in note for note in listing.notes)
    groups, _ = grouped(Unpaired(root))
    assert groups["trainA/1.png"] == groups["trainB/1.png"] != groups["testA/1.png"]  # numbers start again in test


def test_alike_images_of_one_set_and_equal_ones_of_both_stay_together(tree: Callable[..., Path]) -> None:
    root = tree("A/a.png", "A/b.png=A/a.png", "A/c.png", "B/d.png", "B/e.png=B/d.png", "B/f.png=A/c.png", "B/g.png")
    groups, report = grouped(Unpaired(root))
    together = {frozenset(k for k, g in groups.items() if g == group) for group in groups.values()}
    assert together == {
        frozenset({"A/a.png", "A/b.png"}), frozenset({"B/d.png", "B/e.png"}),
        frozenset({"A/c.png", "B/f.png"}), frozenset({"B/g.png"})}  # fmt: skip
    assert report.kind == "images with their duplicates"


def test_near_identical_images_of_different_sets_may_part(tree: Callable[..., Path]) -> None:
    root = tree("A/a.png", "B/b.png=A/a.png")
    pixels = np.asarray(Image.open(root / "B/b.png")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(root / "B/b.png")
    groups, _ = grouped(Unpaired(root))
    assert groups["A/a.png"] != groups["B/b.png"]


def test_equal_names_and_patient_folders_of_both_sets_stay_together(tree: Callable[..., Path]) -> None:
    groups, _ = grouped(Unpaired(tree("A/k7.png", "B/k7.jpg", "A/p1/1.png", "A/p1/2.png", "B/p1/9.png", "B/p2/1.png")))
    assert groups["A/k7.png"] == groups["B/k7.jpg"]
    assert groups["A/p1/1.png"] == groups["A/p1/2.png"] == groups["B/p1/9.png"] == "p1"
    assert groups["B/p2/1.png"] == "p2"


def test_a_table_names_patients_over_folders(tree: Callable[..., Path]) -> None:
    root = tree("A/s/1.png", "A/s/2.png", "B/3.png")
    (root / "who.csv").write_text("image,subject\nA/s/1.png,x\nA/s/2.png,y\nB/3.png,x\n")
    source = Unpaired(root, table="who.csv", file_column="image", patient_column="subject")
    assert root / "who.csv" in source.files()
    assert [record.patient for record in source.records().records] == ["x", "y", "x"]


def test_a_chain_over_most_images_is_said(tree: Callable[..., Path]) -> None:
    _, report = grouped(Unpaired(tree("A/1.png", "A/2.png=A/1.png", "B/2.png", "B/1.png", "B/5.png")))
    assert any("4 of 5 images are one group" in warning for warning in report.warnings)


def test_slices_without_patients_are_said_to_be_parted(tree: Callable[..., Path]) -> None:
    _, bare = grouped(Unpaired(tree("A/a.png", "B/b.png")))
    assert "no patient is named, so slices of one may stand in two splits" in bare.warnings[0]
    _, named = grouped(Unpaired(tree("A/p/a.png", "B/q/b.png")))
    assert not any("no patient is named" in warning for warning in named.warnings)


@pytest.mark.parametrize(
    ("paths", "arguments", "message"),
    [
        (["A/a.png"], {}, r"no image in a folder B \(data.target\) of .*data.phantom=true"),
        (["A/a.png", "B/b.png"], {"condition": "T1"}, r"no image in a folder T1 \(data.condition\)"),
        (["A/a.png", "B/b.png"], {"condition": "B"}, "must be two different folders"),
    ],
)
def test_missing_folders_are_named(
    paths: list[str], arguments: dict[str, str], message: str, tree: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=message):
        Unpaired(tree(*paths), **arguments).records()


def test_a_pack_holds_both_sets_and_no_group_stands_in_two_splits(tree: Callable[..., Path]) -> None:
    root = tree(*(f"A/p{k % 9}/{k}.png" for k in range(40)), *(f"B/q{k % 9}/{k}.png" for k in range(40)))
    pack = prepare_pack(CONFIG | {"root": str(root)}, resolution=16, progress=lambda text: None)
    assert "condition" in pack.provides
    homes: dict[str, set[str]] = {}
    for split, indices in (*pack.splits.items(), *pack.others.items()):
        for patient in pack.patients[indices]:
            homes.setdefault(patient, set()).add(split)
    assert sum(map(len, pack.splits.values())) == sum(map(len, pack.others.values())) == 40
    assert len(homes) == 18
    assert all(len(where) == 1 for where in homes.values())
