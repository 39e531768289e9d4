"""What prepare.json says of a dataset: facts, warnings in plain words, advice with reasons, a digest of every file."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsynth.data.fingerprint import file_table, fingerprint
from medsynth.data.picture import UNKNOWN, Geometry
from medsynth.data.render import QUANTILES, THUMBNAIL, Slice
from medsynth.data.series import Groups, Looks, normalise
from medsynth.data.sources.source import Listing, Record, Rejected, Source
from medsynth.data.splits import Assignment

FACTS = {"name": "x", "key": "k", "content": "c", "resolution": 64, "channels": 1, "bits": 8, "stored": {}}


class Folder(Source):
    """All files of a folder that end in .img."""

    origin = "made up by this test"

    def __init__(self, root: Path, unit: str) -> None:
        self.root, self.unit = root, unit

    def files(self) -> list[Path]:
        return sorted(self.root.glob("*.img"))

    def records(self) -> Listing:
        return Listing([Record(path) for path in self.files()])


def packed(digest: str, *, values: tuple[float, float] = (0.0, 1.0), **changes: Any) -> Slice:
    """A slice whose values are spread evenly between the two, without its pixels."""
    low, high = values
    plain = Slice(
        pixels=np.zeros((1, 0, 0), np.uint8),
        low=np.zeros(1, np.float32),
        high=np.ones(1, np.float32),
        placement=(0.0, 0.0, 1.0, 1.0),
        size=(128, 96),
        mode="L",
        digest=digest,
        thumbnail=np.random.default_rng(abs(hash(digest)) % 2**32).random(THUMBNAIL**2).astype(np.float32),
        quantiles=(low + QUANTILES * (high - low)).astype(np.float32),
    )
    return replace(plain, **changes)


def place(row: float, column: float, step: float, number: int) -> Geometry:
    affine = np.diag([-column, -row, step, 1.0])
    return Geometry(affine, affine, (96, 128, 9), number)


def describe(
    tmp_path: Path,
    slices: Sequence[Slice],
    *,
    labels: Sequence[str | None] | None = None,
    patients: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    files: Sequence[int] | None = None,
    rejected: Sequence[tuple[str, str]] = (),
    unit: str = "grey",
    small: Sequence[str] = (),
    **facts: Any,
) -> dict[str, Any]:
    """The fingerprint of slices; files: the number of the file of each, by default one each."""
    count = len(slices)
    numbers, labels = files or range(count), labels or [None] * count
    paths = [tmp_path / f"{k:03}.img" for k in numbers]
    for path in [*paths, *(tmp_path / name for name, _ in rejected)]:
        path.write_bytes(b"12345")
    records: dict[int, Record] = {}
    for k, path, label in zip(numbers, paths, labels, strict=True):
        records.setdefault(k, Record(path, label=label))
    report = fingerprint(
        {**FACTS, **facts},
        records=[records[k] for k in numbers],
        slices=slices,
        looks=Looks(normalise(np.stack([s.thumbnail for s in slices])), [s.digest for s in slices]),
        groups=Groups(list(patients or [f"p{k}" for k in numbers]), "patients"),
        assignment=Assignment(list(splits or ["train"] * count), list(small)),
        rejected=[Rejected(tmp_path / name, reason) for name, reason in rejected],
        notes=["a note of the listing"],
        source=Folder(tmp_path, unit),
        folder=tmp_path / "pack",
    )
    return json.loads(json.dumps(report))  # what prepare.json will say


def test_sizes_and_modes_are_counted(tmp_path: Path) -> None:
    report = describe(tmp_path, [packed("a"), packed("b"), packed("c", size=(50, 300), mode="RGB")])
    assert report["sizes"] == {"128x96": 2, "50x300": 1}
    assert report["short_side"] == {"min": 50, "median": 96, "max": 96}
    assert report["modes"] == {"L": 2, "RGB": 1}


def test_spacings_and_orientations_are_those_of_volumes_not_of_slices(tmp_path: Path) -> None:
    thin = [packed(f"a{k}", geometry=place(0.7, 0.7, 1.0, k)) for k in range(6)]
    thick = [packed(f"b{k}", geometry=place(0.9, 0.7, 5.0, k)) for k in range(2)]
    more = [packed(f"c{k}", geometry=place(0.8, 0.7, 2.0, k)) for k in range(1)]
    report = describe(tmp_path, [*thin, *thick, *more], files=[0] * 6 + [1] * 2 + [2])
    assert report["spacings_mm"]["row"] == {"min": 0.7, "median": 0.8, "max": 0.9, "different": 3}
    assert report["spacings_mm"]["column"]["different"] == 1
    assert report["spacings_mm"]["slice"] == {"min": 1, "median": 2, "max": 5, "different": 3}
    assert report["orientations"] == {"LPS": 3}
    assert report["images_a_file"] == {"min": 1, "median": 2, "max": 6}
    assert [text for text in report["warnings"] if "spacings" in text] == [
        "slice spacings run from 1 to 5 mm (3 different ones): volumes of thin slices show the same organ more often"
    ]


def test_axes_of_equal_spacings_are_warned_of_together(tmp_path: Path) -> None:
    slices = [packed("a", geometry=place(1, 1, 1, 0)), packed("b", geometry=place(2, 2, 1, 0))]
    said = warnings_of(tmp_path, slices)
    assert "row and column spacings of packed pixels run from 1 to 2 mm (2 different ones): the same organ" in said


def test_pixels_are_of_mixed_sizes_as_packed_and_not_as_stored(tmp_path: Path) -> None:
    fine = packed("a", geometry=place(0.5, 0.5, 1, 0), placement=(0.0, 0.0, 8.0, 8.0))  # 512 pixels to 64: 256 mm
    coarse = packed("b", geometry=place(1, 1, 1, 0), placement=(0.0, 0.0, 4.0, 4.0))  # 256 to 64: 256 mm too
    narrow = packed("c", geometry=place(0.5, 0.5, 1, 0), placement=(0.0, 0.0, 4.0, 4.0))  # 128 mm
    assert "spacings" not in warnings_of(tmp_path, [fine, coarse])
    assert "run from 2 to 4 mm" in warnings_of(tmp_path, [fine, narrow])
    report = describe(tmp_path, [fine, coarse])
    assert report["packed_mm"]["row"] == {"min": 4, "median": 4, "max": 4, "different": 1}


def test_a_dataset_without_classes_is_called_the_dataset(tmp_path: Path) -> None:
    text = warnings_of(tmp_path, [packed("a"), packed("b"), packed("c")], patients=["p", "p", "q"], small=[""])
    assert "the dataset has 2 patients" in text
    assert "the dataset: one of 2 patients holds 2 of 3 images" in text
    assert "too few patients for every split\n" in text


def test_files_that_say_no_spacing_have_none(tmp_path: Path) -> None:
    report = describe(tmp_path, [packed("a")])
    assert report["spacings_mm"] == report["packed_mm"] == report["orientations"] == report["masks"] == {}


def test_percentiles_pool_all_pictures_and_the_foreground_leaves_out_air(tmp_path: Path) -> None:
    report = describe(tmp_path, [packed("a", values=(-1000.0, 0.0)), packed("b", values=(0.0, 1000.0))], unit="hu")
    found = report["intensities"]
    assert (found["unit"], found["min"], found["max"]) == ("hu", -1000, 1000)
    assert found["percentiles"]["50"] == pytest.approx(0, abs=20)
    assert found["percentiles"]["5"] == pytest.approx(-900, abs=20)
    assert found["foreground"]["above"] == -500
    assert found["foreground"]["percentiles"]["50"] == pytest.approx(250, abs=20)


def test_the_foreground_of_pictures_without_a_unit_leaves_out_the_dark(tmp_path: Path) -> None:
    found = describe(tmp_path, [packed("a", values=(0.0, 200.0))], unit="signal")["intensities"]
    assert found["foreground"]["above"] == pytest.approx(20, rel=0.03)
    assert found["foreground"]["percentiles"]["0.5"] > 19


def test_labels_of_masks_are_shares_of_slices(tmp_path: Path) -> None:
    masks = [(0, 1), (0, 1, 2), (0,), (0, UNKNOWN), None]
    report = describe(tmp_path, [packed(f"{k}", labels=mask) for k, mask in enumerate(masks)])
    assert report["masks"] == {"images": 4, "labels": {"0": 1.0, "1": 0.5, "2": 0.25}, "unknown": 0.25}
    text = " ".join(report["warnings"])
    assert "masks are missing for 1 of 5 images" in text
    assert "25% of the masks have pixels that nobody labelled" in text


def test_masks_without_a_label_are_warned_of(tmp_path: Path) -> None:
    assert "all masks are empty" in describe(tmp_path, [packed("a", labels=(0,))])["warnings"]


def test_patients_of_classes_are_counted_in_each_split(tmp_path: Path) -> None:
    report = describe(
        tmp_path,
        [packed(f"{k}") for k in range(6)],
        labels=["ill", "ill", "ill", "well", "well", "well"],
        patients=["a", "a", "b", "c", "d", "e"],
        splits=["train", "train", "test", "train", "train", "val"],
    )
    assert report["splits"]["train"] == {
        "images": 4,
        "patients": 3,
        "classes": {"ill": 2, "well": 2},
        "patients_of_classes": {"ill": 1, "well": 2},
    }
    assert report["splits"]["test"]["patients_of_classes"] == {"ill": 1}


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    rejected = [("900.img", "ends after 12 of 345 slices"), ("901.img", "ends after 7 of 8 slices"),
                ("902.img", "empty file")]  # fmt: skip
    report = describe(tmp_path, [packed("a"), packed("b"), packed("c")], files=[0, 0, 1], rejected=rejected)
    assert report["integrity"] == {
        "files": 5,
        "bytes": 25,
        "read": 2,
        "rejected": 3,
        "reasons": {"ends after 12 of 345 slices (and the like)": 2, "empty file": 1},
        "table": "files.csv",
    }
    assert report["rejected"][0] == {"file": "900.img", "reason": "ends after 12 of 345 slices"}
    assert report["ignored"] == {".txt": 1}


def test_notes_of_pictures_are_grouped_by_kind_with_the_first_file(tmp_path: Path) -> None:
    slices = [packed(f"{k}", notes=(f"{k + 1} voxels are not finite",)) for k in range(3)]
    notes = describe(tmp_path, [*slices, packed("d", notes=("a sign is missing",))])["notes"]
    assert notes == [
        "a note of the listing",
        "000.img: 1 voxels are not finite, and 2 images more like it (files.csv)",
        "003.img: a sign is missing",
    ]


def test_identical_slices_of_volumes_are_named_with_their_number(tmp_path: Path) -> None:
    slices = [packed("same", geometry=place(1, 1, 1, k)) for k in (4, 7)]
    assert describe(tmp_path, slices, files=[0, 0])["duplicates"] == [["000.img [4]", "000.img [7]"]]


def test_the_table_of_files_holds_a_digest_of_all_values_and_every_note(tmp_path: Path) -> None:
    one, two = Record(tmp_path / "a.img"), Record(tmp_path / "b, c.img")
    slices = [packed("p"), packed("q", notes=("odd",)), packed("r")]
    bad = [Rejected(tmp_path / "bad.img", "empty file")]
    rows = list(
        csv.DictReader(
            file_table([one, one, two], slices, ["train", "train", "val"], bad, Folder(tmp_path, "grey")).splitlines()
        )
    )
    assert [(r["file"], r["split"], r["images"], r["notes"]) for r in rows] == [
        ("a.img", "train", "2", "odd"),
        ("b, c.img", "val", "1", ""),
        ("bad.img", "rejected", "0", "empty file"),
    ]
    other = [packed("p"), packed("changed"), packed("r")]
    again = csv.DictReader(
        file_table([one, one, two], other, ["train", "train", "val"], bad, Folder(tmp_path, "grey")).splitlines()
    )
    assert [a["digest"] == b["digest"] for a, b in zip(rows, again, strict=True)] == [False, True, True]


def warnings_of(tmp_path: Path, slices: Sequence[Slice], **changes: Any) -> str:
    return "\n".join(describe(tmp_path, slices, **changes)["warnings"])


def test_a_class_of_twelve_patients_is_warned_of_and_one_of_fifteen_is_not(tmp_path: Path) -> None:
    slices = [packed(f"{k}") for k in range(27)]
    text = warnings_of(tmp_path, slices, labels=["Stone"] * 12 + ["Cyst"] * 15)
    assert "class Stone has 12 patients: expect a model that repeats them" in text
    assert "class Cyst" not in text


def test_identical_images_in_two_classes_are_warned_of(tmp_path: Path) -> None:
    slices = [packed("same"), packed("same"), packed("other")]
    assert "1 images occur identically in more than one class" in warnings_of(tmp_path, slices, labels=["a", "b", "a"])
    assert "identically" not in warnings_of(tmp_path, slices, labels=["a", "a", "b"])


def test_eight_bit_sources_of_a_sixteen_bit_pack_are_warned_of(tmp_path: Path) -> None:
    slices = [packed("a"), packed("b"), packed("c", mode="int16")]
    assert "2 of 3 images are stored with 8 bits: data.bits=16 adds nothing" in warnings_of(tmp_path, slices, bits=16)
    assert "8 bits" not in warnings_of(tmp_path, slices, bits=8)


def test_enlarged_pictures_are_warned_of(tmp_path: Path) -> None:
    slices = [packed("a"), packed("b", size=(300, 60))]
    assert "1 of 2 images are smaller than resolution=64" in warnings_of(tmp_path, slices)
    assert "smaller" not in warnings_of(tmp_path, slices, resolution=32)


def test_images_without_a_class_beside_others_are_warned_of(tmp_path: Path) -> None:
    slices = [packed("a"), packed("b"), packed("c")]
    assert "1 of 3 images have no class" in warnings_of(tmp_path, slices, labels=["x", None, "x"])
    assert "no class" not in warnings_of(tmp_path, slices)


def test_pictures_of_one_colour_are_warned_of(tmp_path: Path) -> None:
    flat = packed("a", thumbnail=np.full(THUMBNAIL**2, 0.5, np.float32))
    assert "1 of 2 images are of a single colour" in warnings_of(tmp_path, [flat, packed("b")])


def advised(tmp_path: Path, slices: Sequence[Slice], **changes: Any) -> dict[str, Any]:
    advice = describe(tmp_path, slices, **changes)["advice"]
    assert all(entry["reason"] for entry in advice.values())
    return {key: entry["value"] for key, entry in advice.items()}


@pytest.mark.parametrize(("side", "resolution"), [(12, 16), (64, 64), (127, 64), (240, 128), (256, 256), (2000, 256)])
def test_the_advised_resolution_enlarges_no_half_of_the_pictures(tmp_path: Path, side: int, resolution: int) -> None:
    slices = [packed("a", size=(side, side + 9)), packed("b", size=(side, side)), packed("c", size=(9999, 9999))]
    assert advised(tmp_path, slices)["resolution"] == resolution


@pytest.mark.parametrize(
    ("count", "batch", "augment"),
    [(3, 2, "affine_mild"), (20, 8, "affine_mild"), (600, 32, "affine_mild"), (6000, 64, "none")],
)
def test_batch_and_augmentation_follow_the_number_of_images(
    tmp_path: Path, count: int, batch: int, augment: str
) -> None:
    one = packed("a")
    slices = [replace(one, digest=f"{k}") for k in range(count)]
    found = advised(tmp_path, slices, files=[k // 100 for k in range(count)])
    assert (found["batch_size"], found["augment"]) == (batch, augment)


def test_five_thousand_images_of_few_patients_are_few(tmp_path: Path) -> None:
    one = packed("a")
    slices = [replace(one, digest=f"{k}") for k in range(5000)]
    assert advised(tmp_path, slices, files=[k // 125 for k in range(5000)])["augment"] == "affine_mild"


@pytest.mark.parametrize(("small", "balance"), [(10, "none"), (9, "oversample")])
def test_balance_is_advised_above_three_to_one(tmp_path: Path, small: int, balance: str) -> None:
    slices = [packed(f"{k}") for k in range(30 + small)]
    assert advised(tmp_path, slices, labels=["a"] * 30 + ["b"] * small)["data.balance"] == balance


def test_the_advised_bits_are_those_of_the_files(tmp_path: Path) -> None:
    assert advised(tmp_path, [packed("a"), packed("b", mode="I;16")])["data.bits"] == 16
    assert advised(tmp_path, [packed("a"), packed("b")])["data.bits"] == 8


@pytest.mark.parametrize("unit", ["hu", "signal", "grey"])
def test_no_flip_is_advised_for_any_unit(tmp_path: Path, unit: str) -> None:
    assert advised(tmp_path, [packed("a")], unit=unit)["data.flips"] == "none"
