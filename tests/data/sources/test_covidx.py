import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.covidx import Covidx
from medsynth.data.sources.source import Listing
from medsynth.errors import UserError

SOURCE = "medsynth.data.sources.covidx.Covidx"
Split = Callable[..., Path]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Writes noise images below train/ and test/, and the two split files."""

    def write(
        train: list[str], test: list[str] | None = None, *, images: tuple[str, ...] = (), root: str = "x"
    ) -> Path:
        folder = tmp_path / root
        rng = np.random.default_rng(len(images))
        for side, lines in (("train", train), ("test", test)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            if lines is not None:
                (folder / f"{side}_split.txt").write_text("\n".join(lines) + "\n")
        for image in images:
            Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / image)
        return folder

    return write


def read(listing: Listing) -> dict[str, tuple[str | None, str | None]]:
    return {record.path.name: (record.patient, record.label) for record in listing.records}


def reasons(listing: Listing) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in listing.rejected}


@pytest.mark.parametrize(
    ("row", "file", "patient", "label"),
    [
        ("25 a.jpg negative cohen", "a.jpg", "25", "negative"),
        ("25 a.JPG POSITIVE cohen", "a.JPG", "25", "positive"),
        ("47c7-3b a.png normal", "a.png", "47c7-3b", "normal"),
        ("72 COVID(72).png COVID-19 sirm", "COVID(72).png", "72", "COVID-19"),
        ("COVID 72 COVID(72).png positive sirm", "COVID(72).png", "COVID 72", "positive"),
        ("COVID-19 (3) b.png positive sirm", "b.png", "COVID-19 (3)", "positive"),
        ("COVID 72 COVID (72).png positive sirm", "COVID (72).png", "COVID 72", "positive"),
        ("COVID 72  two  blanks.png pneumonia", "two  blanks.png", "COVID 72", "pneumonia"),
        ("9 pneumonia 1.png negative rsna pneumonia", "pneumonia 1.png", "9", "negative"),
        ("9\ta.png\tpositive\tsource with positive words", "a.png", "9", "positive"),
    ],
)
def test_a_row_is_understood_whatever_field_holds_a_blank(
    row: str, file: str, patient: str, label: str, split: Split
) -> None:
    root = split([row], [], images=(f"train/{file}",))
    listing = Covidx(root).records()
    assert read(listing) == {file: (patient, label)}
    assert not listing.rejected
    fields = 4 if len(row.split()) == 4 else 3
    assert f"1 rows, {int(len(row.split()) != fields)} of them repaired" in listing.notes[0]


def test_repaired_rows_are_counted_and_compared_with_the_disk(split: Split) -> None:
    rows = [f"COVID {k} COVID({k}).png positive sirm" for k in range(5)] + ["7 a.png negative rsna"]
    root = split(
        rows, rows[:2], images=("train/COVID(0).png", "train/COVID(3).png", "train/a.png", "test/COVID(1).png")
    )
    listing = Covidx(root, on_bad="skip").records()
    said = "(a blank inside a field): the files of"
    assert f"train_split.txt: 6 rows, 5 of them repaired {said} 2 are there, of 3 missing" in listing.notes
    assert f"test_split.txt: 2 rows, 2 of them repaired {said} 1 are there, of 1 missing" in listing.notes
    assert [(r.path.parent.name, r.patient, r.official_split) for r in listing.records] == [
        ("train", "COVID 0", "train"),
        ("train", "COVID 3", "train"),
        ("train", "7", "train"),
        ("test", "COVID 1", "test"),
    ]


def test_missing_files_stop_the_command_with_their_number_by_source_and_the_remedy(split: Split) -> None:
    rows = ["1 a.png negative rsna", "COVID 72 COVID(72).png positive sirm", "3 c.png negative rsna"]
    root = split(rows, ["4 d.png negative rsna"], images=("train/a.png",))
    message = (
        r"^covidx: train_split.txt line 2 names 'COVID\(72\).png', not found under .*x/train \(3 of 4 rows miss "
        r"their file: rsna 2, sirm 1; 1 rows were repaired\); set data.root or data.on_bad=skip$"
    )
    with pytest.raises(UserError, match=message):
        Covidx(root).records()


def test_skipped_rows_are_rejected_by_line_and_named_by_the_file_they_mean(split: Split) -> None:
    root = split(["1 a.png negative rsna", "COVID 72 COVID(72).png positive sirm"], [], images=("train/a.png",))
    listing = Covidx(root, on_bad="skip").records()
    assert reasons(listing) == {"COVID(72).png": "train_split.txt line 2: no such file (source sirm)"}
    assert "train_split.txt: 1 rows name a file that is not in train/: sirm 1" in listing.notes


@pytest.mark.parametrize(
    "row",
    [
        "5 ../../etc/passwd positive cohen",
        "5 ../secret.png positive cohen",
        "COVID 5 ../secret.png positive sirm",
        "5 {outside}/secret.png positive cohen",
        "5 sub/../../test/b.png positive cohen",
    ],
)
def test_a_row_that_leads_out_of_its_folder_is_refused_and_named(row: str, split: Split, tmp_path: Path) -> None:
    root = split(
        [row.format(outside=tmp_path), "1 a.png negative rsna"],
        ["2 b.png negative rsna"],
        images=("train/a.png", "test/b.png"),
    )
    for folder in (tmp_path, root):
        Image.new("L", (16, 16)).save(folder / "secret.png")
    listing = Covidx(root).records()
    assert list(read(listing)) == ["a.png", "b.png"]
    assert reasons(listing).keys() == {"train_split.txt"}
    assert "line 1" in reasons(listing)["train_split.txt"]
    assert "outside train/ and was not followed" in reasons(listing)["train_split.txt"]


def test_a_link_out_of_its_folder_is_refused_but_the_folder_itself_may_be_one(split: Split, tmp_path: Path) -> None:
    root = split(["1 a.png negative rsna", "2 link.png negative rsna"], [], images=("train/a.png",))
    Image.new("L", (16, 16)).save(tmp_path / "secret.png")
    (root / "train" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "train").rename(tmp_path / "elsewhere")
    (root / "train").symlink_to(tmp_path / "elsewhere")
    listing = Covidx(root).records()
    assert list(read(listing)) == ["a.png"]
    assert "names a link that leads out of train/ and was not followed" in reasons(listing)["train_split.txt"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("patientid filename class source", "has no file before one of the labels positive, negative"),
        ("a.png positive cohen", "names no patient before the file"),
        ("A B b.png positive cohen", "may mean 'B b.png' or 'b.png', and both exist"),
    ],
)
def test_a_row_that_nobody_can_understand_is_rejected_with_its_line(row: str, reason: str, split: Split) -> None:
    root = split(["1 a.png negative rsna", "", row], [], images=("train/a.png", "train/b.png", "train/B b.png"))
    listing = Covidx(root).records()
    assert list(read(listing)) == ["a.png"]
    assert [entry.reason for entry in listing.rejected] == [
        next(e.reason for e in listing.rejected if e.reason.startswith(f"train_split.txt line 3 '{row}' {reason}"))
    ]


def test_rows_that_say_a_file_twice_are_one_image_and_with_two_labels_none(split: Split) -> None:
    rows = [
        "1 a.png negative rsna",
        "1 a.png negative rsna",
        "2 b.png negative rsna",
        "2 b.png positive cohen",
        "2 c.png positive cohen",
    ]
    listing = Covidx(split(rows, [], images=("train/a.png", "train/b.png", "train/c.png"))).records()
    assert read(listing) == {"a.png": ("1", "negative"), "c.png": ("2", "positive")}
    assert reasons(listing) == {
        "b.png": "has more than one label: negative in train_split.txt line 3, positive in train_split.txt line 4"
    }
    assert "1 files are named by more than one row with one label: one image each" in listing.notes


def test_ids_of_one_person_are_one_patient(split: Split) -> None:
    rows = [
        "379 a.png negative cohen",
        "379b b.png negative cohen",
        "COVID-00003a c.png positive fig1",
        "COVID-00003b d.png positive fig1",
        "0a1b-2c e.png positive rsna",
        "285 f.png positive cohen",
        "339 f.png positive cohen",
        "339 g.png positive cohen",
    ]
    listing = Covidx(split(rows, [], images=tuple(f"train/{c}.png" for c in "abcdefg"))).records()
    people = {name: patient for name, (patient, _) in read(listing).items()}
    assert people["a.png"] == people["b.png"] == "379"
    assert people["c.png"] == people["d.png"] == "COVID-00003"
    assert people["e.png"] == "0a1b-2c"
    assert people["f.png"] == people["g.png"]
    assert "1 patients are known under two ids, as one image has both: 339 = 285" in listing.notes


def test_images_without_a_row_are_counted_and_other_tables_left_alone(split: Split) -> None:
    root = split(["1 a.png negative rsna"], [], images=("train/a.png", "train/b.png", "test/c.png"))
    (root / "original_labels").mkdir()
    (root / "original_labels" / "train_COVIDx7B.txt").write_text("1 b.png positive cohen\n")
    listing = Covidx(root).records()
    assert list(read(listing)) == ["a.png"]
    assert "train: 1 images without a row in train_split.txt are left out" in listing.notes
    assert "test: 1 images without a row in test_split.txt are left out" in listing.notes
    chosen = Covidx(root, train_table="original_labels/train_COVIDx7B.txt")
    assert read(chosen.records()) == {"b.png": ("1", "positive")}
    assert root / "original_labels" / "train_COVIDx7B.txt" in chosen.files()
    assert root / "original_labels" / "train_COVIDx7B.txt" not in Covidx(root).files()


def test_a_table_of_another_name_is_proposed(split: Split) -> None:
    root = split(["1 a.png negative rsna"], [], images=("train/a.png",))
    (root / "train_split.txt").rename(root / "train_COVIDx9B.txt")
    with pytest.raises(UserError, match=r"train_COVIDx9B.txt is there: set data.train_table=train_COVIDx9B.txt"):
        Covidx(root).records()
    assert len(Covidx(root, train_table="train_COVIDx9B.txt").records().records) == 1
    (root / "test_split.txt").unlink()
    with pytest.raises(UserError, match=r"no test_split.txt beside .*set data.test_table=FILE, or null"):
        Covidx(root, train_table="train_COVIDx9B.txt").records()
    (record,) = Covidx(root, train_table="train_COVIDx9B.txt", test_table=None).records().records
    assert record.official_split is None


def config_of(config: Callable[..., dict[str, Any]], root: Path, **source: Any) -> dict[str, Any]:
    return config("image_folder", root, name="covidx", source={"_target_": SOURCE, **source})


def test_a_patient_and_a_resized_copy_on_both_sides_leave_training_and_are_listed(
    split: Split, config: Callable[..., dict[str, Any]], patient: Callable[..., list[np.ndarray]]
) -> None:
    train = [f"{k} {k}.png {'positive' if k % 2 else 'negative'} cohen" for k in range(60)]
    root = split(
        [*train, "ANON191 CR.1.png negative actmed", "COVID-00022 COVID-00022.png positive fig1"],
        ["ANON191 CR.2.png negative actmed", "1036 9C34.png positive cohen", "99 99.png negative cohen"],
    )
    names = [f"train/{k}.png" for k in range(60)] + ["train/CR.1.png", "test/CR.2.png", "test/9C34.png", "test/99.png"]
    for seed, name in enumerate(names):
        Image.fromarray(patient(seed, slices=1)[0]).save(root / name)
    same = Image.open(root / "test" / "9C34.png")
    same.resize((50, 50), Image.Resampling.BICUBIC).save(root / "train" / "COVID-00022.png")
    pack = prepare_pack(config_of(config, root), resolution=16, progress=lambda text: None)
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert {entry["file"] for entry in report["excluded"]} == {"train/CR.1.png", "train/COVID-00022.png"}
    assert sorted(pack.files[pack.splits["test"]]) == ["test/99.png", "test/9C34.png", "test/CR.2.png"]
    assert len(pack.splits["train"]) + len(pack.splits["val"]) == 60
    assert any("2 images are taken out of training" in warning for warning in report["warnings"])
    assert report["groups"]["joined_by_identical_or_near_identical_images"] == 1


def test_a_repaired_set_is_packed_with_what_was_skipped_named(
    split: Split, config: Callable[..., dict[str, Any]]
) -> None:
    rows = [f"COVID {k} COVID({k}).png positive sirm" for k in range(12)]
    root = split(rows, [], images=tuple(f"train/COVID({k}).png" for k in range(11)))
    with pytest.raises(UserError, match=r"line 12 names 'COVID\(11\).png'"):
        prepare_pack(config_of(config, root), resolution=16, progress=lambda text: None)
    pack = prepare_pack(config_of(config, root, on_bad="skip"), resolution=16, progress=lambda text: None)
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert [entry["file"] for entry in report["rejected"]] == ["train/COVID(11).png"]
    assert any("12 rows, 12 of them repaired" in note for note in report["notes"])
    assert set(pack.patients) == {f"COVID {k}" for k in range(11)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "zip"}, "data.layout=zip must be one of auto, split_files, metadata, folders"),
        ({"on_bad": "ignore"}, "data.on_bad=ignore must be one of stop, skip"),
        ({"train_table": "../t.txt"}, "data.train_table=../t.txt must be a file below"),
        ({"test_table": "/t.txt"}, "data.test_table=/t.txt must be a file below"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Covidx(tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def real() -> Path:
    if not os.environ.get("MEDSYNTH_REAL_DATA"):
        pytest.skip("MEDSYNTH_REAL_DATA is not set")
    return Path(os.environ["MEDSYNTH_REAL_DATA"])


def test_all_73_broken_rows_of_the_real_covidx_are_repaired(real: Path) -> None:
    listing = Covidx(real / "cxr_covidx", on_bad="skip").records()
    repaired = [note for note in listing.notes if "repaired" in note]
    assert ["60 of them repaired" in repaired[0], "13 of them repaired" in repaired[1]] == [True, True]
    sirm = [entry.path.name for entry in listing.rejected if "source sirm" in entry.reason]
    assert len(sirm) == 73
    assert all(name.startswith("COVID(") and name.endswith(").png") for name in sirm)
    assert len(listing.records) == 445
    assert Counter((r.official_split, r.label) for r in listing.records) == {
        ("train", "positive"): 323,
        ("train", "negative"): 63,
        ("test", "positive"): 56,
        ("test", "negative"): 3,
    }
    with pytest.raises(UserError, match=r"\(202 of 647 rows miss their file: sirm 73, "):
        Covidx(real / "cxr_covidx").records()


@pytest.mark.parametrize(
    ("table", "rows", "repaired"),
    [
        ("test_COVIDx.txt", 210, 0),
        ("test_COVIDx7A.txt", 300, 17),
        ("test_COVIDx7B.txt", 200, 17),
        ("test_COVIDx8B.txt", 400, 0),
        ("train_COVIDx7B.head3000.txt", 3000, 1182),
    ],
)
def test_every_row_of_the_published_tables_is_understood(real: Path, table: str, rows: int, repaired: int) -> None:
    chosen = Covidx(real / "cxr_covidx", train_table=f"original_labels/{table}", test_table=None, on_bad="skip")
    listing = chosen.records()
    assert f"{table}: {rows:,} rows, {repaired:,} of them repaired" in listing.notes[0]
    assert all("no such file" in entry.reason for entry in listing.rejected)
    assert len(listing.records) + len(listing.rejected) == rows


@pytest.mark.parametrize(
    ("folder", "records", "rejected"),
    [
        ("cxr_covid_chestxray", 393, {"modality CT, no X-ray": 45, "view L is not in data.views": 28}),
        ("cxr_figure1", 47, {}),
        ("cxr_actualmed", 38, {}),
        ("cxr_three_class", 326, {}),
    ],
)
def test_the_real_sets_are_read_and_what_is_left_out_is_named(
    real: Path, folder: str, records: int, rejected: dict[str, int]
) -> None:
    listing = Covidx(real / folder).records()
    images = [path for path in Covidx(real / folder).files() if path.suffix != ".csv"]
    assert len(listing.records) == records
    assert {entry.path for entry in listing.rejected} | {r.path for r in listing.records} == set(images)
    counts = Counter(entry.reason for entry in listing.rejected)
    assert {reason: counts[reason] for reason in rejected} == rejected
