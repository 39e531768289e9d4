import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medsynth.data.pack import Pack
from medsynth.data.prepare_pack import prepare_pack
from medsynth.errors import UserError

Config = Callable[..., dict[str, Any]]
Tree = Callable[..., Path]


def silent(text: str) -> None:
    """Progress that nobody reads."""


def report_of(pack: Pack) -> dict[str, Any]:
    return json.loads((pack.folder / "prepare.json").read_text())


def test_a_pack_holds_every_slice_with_its_label_and_split(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    root = kidney_tree(tmp_path / "kidney")
    pack = prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)
    assert pack.images.shape == (80, 1, 16, 16)
    assert pack.class_names == ["Cyst", "Normal", "Stone", "Tumor"]
    assert pack.provides == {"image", "label"}
    assert sorted(np.concatenate(list(pack.splits.values()))) == list(range(80))
    assert [pack.class_names[i] for i in pack.labels] == [file.split("/")[0] for file in pack.files]
    assert len(set(pack.patients)) == 16


def test_slices_come_out_in_minus_one_to_one(tmp_path: Path, config: Config) -> None:
    (tmp_path / "x").mkdir()
    for value in (0, 51, 255):
        Image.new("L", (16, 16), value).save(tmp_path / "x" / f"{value:03}.png")
    for bits in (8, 16):
        pack = prepare_pack(config("image_folder", tmp_path / "x", bits=bits), resolution=16, progress=silent)
        assert pack.images.dtype == (np.uint8 if bits == 8 else np.uint16)
        means = pack.tensor([0, 1, 2]).mean((1, 2, 3)).tolist()
        assert means == pytest.approx([-1, -0.6, 1], abs=1e-6)


def test_batches_of_a_pack_may_be_iterated_again(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    pack = prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "k")), resolution=16, progress=silent)
    batches = pack.batches(np.arange(70), batch_size=32)
    for _ in range(2):
        assert [len(batch) for batch in batches] == [32, 32, 6]
    assert len(batches) == 3


def test_nesting_does_not_matter(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    plain = prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "a")), resolution=16, progress=silent)
    kidney_tree(tmp_path / "b" / "CT-KIDNEY" / "CT-KIDNEY")
    nested = prepare_pack(config("kidney_ct", tmp_path / "b"), resolution=16, progress=silent)
    assert np.array_equal(plain.images, nested.images)
    assert plain.content == nested.content


def test_a_pack_is_found_again_and_another_setting_makes_another(
    tmp_path: Path, config: Config, kidney_tree: Tree
) -> None:
    root = kidney_tree(tmp_path / "k")
    said: list[str] = []
    first = prepare_pack(config("kidney_ct", root), resolution=16, progress=said.append)
    assert said
    said.clear()
    assert (
        prepare_pack(config("kidney_ct", root, workers=2), resolution=16, progress=said.append).folder == first.folder
    )
    assert not said
    others = [prepare_pack(config("kidney_ct", root), resolution=32, progress=silent)]
    for changes in ({"fit": "crop"}, {"bits": 16}, {"channels": 3}, {"white": 128}):
        others.append(prepare_pack(config("kidney_ct", root, **changes), resolution=16, progress=silent))
    assert len({first.folder, *(pack.folder for pack in others)}) == 6


def test_a_changed_file_makes_a_new_pack(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    root = kidney_tree(tmp_path / "k")
    before = prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)
    Image.new("L", (24, 24), 9).save(root / "Cyst" / "Cyst- (1).png")
    after = prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)
    assert after.key != before.key
    assert after.content != before.content


def test_the_content_survives_a_moved_root(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    here = prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "here")), resolution=16, progress=silent)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = prepare_pack(config("kidney_ct", tmp_path / "there"), resolution=16, progress=silent)
    assert here.key != there.key
    assert here.content == there.content


def test_added_files_move_nobody(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    root = kidney_tree(tmp_path / "k", patients=4)
    before = prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)
    kidney_tree(root, patients=9)
    after = prepare_pack(config("kidney_ct", root), resolution=32, progress=silent)
    assert len(after) > len(before)
    for split, indices in before.splits.items():
        assert set(before.files[indices]) <= set(after.files[after.splits[split]])


def test_a_series_stands_in_one_split_and_groups_are_recorded(
    tmp_path: Path, config: Config, kidney_tree: Tree
) -> None:
    pack = prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "k", patients=6)), resolution=16, progress=silent)
    for patient in set(pack.patients):
        indices = set(np.flatnonzero(pack.patients == patient))
        assert sum(bool(indices & set(split)) for split in pack.splits.values()) == 1
    groups = report_of(pack)["groups"]
    assert groups["kind"] == "series"
    assert groups["classes"]["Cyst"] == {"groups": 6, "sizes": [5] * 6}


def test_a_series_of_over_half_a_class_is_warned_of(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    said: list[str] = []
    prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "k", patients=1)), resolution=16, progress=said.append)
    assert any("class Cyst: one of 1 series holds 5 of 5 images" in line for line in said)


def test_bad_files_are_named_in_one_pass_and_the_rest_is_packed(
    tmp_path: Path, config: Config, kidney_tree: Tree
) -> None:
    root = kidney_tree(tmp_path / "k")
    (root / "Cyst" / "Cyst- (900).jpg").write_text("no image")
    (root / "Stone" / "Stone- (901).png").write_bytes((root / "Stone" / "Stone- (1).png").read_bytes()[:60])
    Image.new("L", (1, 1)).save(root / "Tumor" / "Tumor- (902).png")
    (root / "Tumor" / "notes.txt").write_text("not looked at")
    said: list[str] = []
    pack = prepare_pack(config("kidney_ct", root), resolution=16, progress=said.append)
    report = report_of(pack)
    assert len(pack) == 80
    assert {Path(entry["file"]).name: entry["reason"].split()[0] for entry in report["rejected"]} == {
        "Cyst- (900).jpg": "not",
        "Stone- (901).png": "truncated",
        "Tumor- (902).png": "1x1",
    }
    assert report["ignored"] == {".txt": 1}
    assert any("rejected 3 of 83 files" in line for line in said)


def test_nothing_readable_is_one_line(tmp_path: Path, config: Config, cache: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_text("no image")
    with pytest.raises(UserError, match=r"none of the 1 files .* could be read; the first, a.png: not an image"):
        prepare_pack(config("image_folder", tmp_path / "x"), resolution=16, progress=silent)
    assert not list(cache.rglob("pack.json"))


@pytest.mark.parametrize("name", ["kidney_ct", "brain_tumor_mri", "image_folder"])
def test_a_missing_root_says_where_data_comes_from_and_both_ways_on(name: str, tmp_path: Path, config: Config) -> None:
    with pytest.raises(UserError, match=rf"no folder .*absent .*{name}.*data\.root=DIR, or data\.phantom=true"):
        prepare_pack(config(name, tmp_path / "absent"), resolution=16, progress=silent)


@pytest.mark.parametrize("name", ["kidney_ct", "brain_tumor_mri", "image_folder"])
def test_an_empty_folder_is_one_line(name: str, tmp_path: Path, config: Config) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{name}: no .*empty \(data\.root\)") as caught:
        prepare_pack(config(name, tmp_path / "empty"), resolution=16, progress=silent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "squeeze"}, "data.fit=squeeze must be one of pad, stretch, crop"),
        ({"bits": 12}, "data.bits=12 must be one of 8, 16"),
        ({"channels": 2}, "data.channels=2 must be 1 or 3"),
        ({"white": 0}, "data.white=0 must be above 0 or null"),
        ({"split": {"train": 0.8, "val": 0.1, "test": 0.2}}, "add up to 1"),
        (
            {"intensity": {"_target_": "medsynth.data.intensity.Window", "center_hu": 50.0, "width_hu": 400.0}},
            "in hu, but",
        ),
        ({"intensity": {"_target_": "medsynth.data.intensity.Percentile", "lower": 99.9}}, "data.intensity"),
        ({"source": {"_target_": "medsynth.data.sources.kidney_ct.KidneyCT", "depth": 2}}, "data.source .*depth"),
        ({"with": 1}, "data.with is not a setting"),
        ({"split": {"train": "most", "val": 0.1, "test": 0.2}}, "add up to 1"),
        ({"flips": "sideways"}, "data.flips=sideways must be one of none, horizontal"),
        ({"workers": -1}, "data.workers=-1 must be a whole number"),
        ({"root": ""}, "data.root is empty; set data.root=DIR"),
        ({"phantom": "maybe"}, "data.phantom=maybe must be true or false"),
        ({"name": "../kidney"}, "data.name=../kidney must be made of letters"),
    ],
)
def test_a_wrong_setting_is_named(
    changes: dict[str, Any], message: str, tmp_path: Path, config: Config, kidney_tree: Tree
) -> None:
    root = kidney_tree(tmp_path / "k", patients=1, slices=1)
    with pytest.raises(UserError, match=message):
        prepare_pack(config("kidney_ct", root, **changes), resolution=16, progress=silent)


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, config: Config, kidney_tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write to the cache folder .*MEDSYNTH_CACHE"):
        prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "k")), resolution=16, progress=silent)


def test_a_full_disk_leaves_no_half_a_pack(
    tmp_path: Path, config: Config, kidney_tree: Tree, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **columns: Any) -> None:
        raise OSError(28, "No space left on device")

    root = kidney_tree(tmp_path / "k")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(UserError, match=r"cannot make the pack .*No space left"):
            prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)
    assert not list(cache.rglob("pack.json"))
    assert len(prepare_pack(config("kidney_ct", root), resolution=16, progress=silent)) == 80
    assert not list(cache.rglob(".partial-*"))


SLOW = """
import json, sys, time
import medsynth.data.packing as module
from medsynth.data.prepare_pack import prepare_pack
render = module.render
def slowly(picture, decoder, *, compares):
    time.sleep(float(sys.argv[2]))
    return render(picture, decoder, compares=compares)
module.render = slowly
print(prepare_pack(json.loads(sys.argv[1]), resolution=16).folder)
"""


def start(config: dict[str, Any], *, delay: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, json.dumps(config), str(delay)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )


def test_a_kill_while_packing_leaves_nothing_half(
    tmp_path: Path, config: Config, kidney_tree: Tree, cache: Path
) -> None:
    wanted = config("kidney_ct", kidney_tree(tmp_path / "k", slices=10))
    process = start(wanted, delay=0.5)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("images.npy")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(cache.rglob(".partial-*"))
    assert not list(cache.rglob("pack.json"))
    pack = prepare_pack(wanted, resolution=16, progress=silent)
    assert len(pack) == 160
    assert not list(cache.rglob(".partial-*"))


def test_two_processes_that_ask_at_once_share_one_pack(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    wanted = config("kidney_ct", kidney_tree(tmp_path / "k"))
    answers = [p.communicate(timeout=120) for p in [start(wanted, delay=0.1) for _ in range(2)]]
    assert len({out for out, _ in answers}) == 1
    assert sum("packing" in err for _, err in answers) == 1
    assert Pack.open(answers[0][0].strip()).images.shape[0] == 80


def test_a_pack_pickles_as_its_folder(tmp_path: Path, config: Config, kidney_tree: Tree) -> None:
    import pickle

    pack = prepare_pack(config("kidney_ct", kidney_tree(tmp_path / "k")), resolution=16, progress=silent)
    raw = pickle.dumps(pack)
    assert len(raw) < 1000
    assert np.array_equal(pickle.loads(raw).images, pack.images)


def test_phantoms_are_written_once_and_read_by_the_same_source(tmp_path: Path, config: Config, cache: Path) -> None:
    wanted = config("kidney_ct", tmp_path / "unused", phantom=True, phantom_patients=1)
    pack = prepare_pack(wanted, resolution=16, progress=silent)
    assert pack.class_names == ["Cyst", "Normal", "Stone", "Tumor"]
    written = {path: path.stat().st_mtime_ns for path in (cache / "phantoms").rglob("*.*")}
    again = prepare_pack(wanted, resolution=32, progress=silent)
    assert len(again) == len(pack)
    assert written == {path: path.stat().st_mtime_ns for path in (cache / "phantoms").rglob("*.*")}


def test_a_dataset_without_phantoms_says_so(tmp_path: Path, config: Config) -> None:
    with pytest.raises(UserError, match="no phantom of 'image_folder'"):
        prepare_pack(config("image_folder", tmp_path, phantom=True), resolution=16, progress=silent)


FILE = st.tuples(st.sampled_from(["Cyst", "Normal", "Stone"]), st.integers(1, 60), st.integers(0, 9), st.booleans())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(FILE, min_size=3, max_size=40), more=st.lists(FILE, max_size=15), official=st.booleans())
def test_over_random_trees_no_group_and_no_copy_stands_in_two_splits(
    first: list[Any], more: list[Any], official: bool, config: Config, patient: Any, tmp_path_factory: Any
) -> None:
    """Patients, copies and gaps at random, in both layouts, with files added later."""
    root = tmp_path_factory.mktemp("tree")
    name = "brain_tumor_mri" if official else "kidney_ct"
    held: dict[str, str] = {}
    for files in (first, more):
        for label, number, who, tested in files:
            side = ("Testing" if tested else "Training") if official else "."
            folder = root / side / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(patient(who, slices=3)[number % 3]).save(folder / f"{label} ({number}).png")
        pack = prepare_pack(config(name, root), resolution=16, progress=silent)
        splits = {i: split for split, indices in pack.splits.items() for i in indices.tolist()}
        for column in (pack.patients, [image.tobytes() for image in pack.images]):
            where: dict[Any, set[str]] = {}
            for i, split in splits.items():
                where.setdefault(column[i], set()).add(split)
            assert all(len(found) == 1 for found in where.values())
        now = {str(pack.files[i]): split for i, split in splits.items()}
        assert all(now.get(file, split) == split for file, split in held.items())
        held = now


def real(name: str) -> Path:
    folder = os.environ.get("MEDSYNTH_REAL_DATA")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"set MEDSYNTH_REAL_DATA to a folder that holds {name}")
    return Path(folder) / name


def test_real_kidney_slices_form_the_series_that_a_person_sees(config: Config) -> None:
    pack = prepare_pack(config("kidney_ct", real("ct_kidney")), resolution=64, progress=silent)
    report = report_of(pack)
    assert report["classes"] == {"Cyst": 304, "Normal": 322, "Stone": 296, "Tumor": 236}
    assert all(4 <= count <= 13 for count in report["groups"]["series_per_class"].values())
    assert all(entry["groups"] >= 4 for entry in report["groups"]["classes"].values())
    assert not report["rejected"]
    assert "25 of them without a file" in report["notes"][0]
    assert len(pack.splits["train"]) > 800


def test_real_brain_slices_lose_their_leaks_to_testing(config: Config) -> None:
    pack = prepare_pack(config("brain_tumor_mri", real("brain_tumor_mri")), resolution=64, progress=silent)
    report = report_of(pack)
    assert report["splits"]["test"]["images"] == 79 + 91 + 118 + 86
    assert report["modes"] == {"RGB": 1115, "L": 817}
    assert 100 < len(report["excluded"]) < 500
    assert all(entry["file"].startswith("Training/") for entry in report["excluded"])
