"""Identifiers planted in headers, tables, and names of files and folders are looked for in all bytes a run writes."""

import gzip
import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import composed
from dicom_files import series

from medsynth.data.pack import Pack
from medsynth.evaluate import evaluate
from medsynth.generate import generate
from medsynth.prepare import prepare

UIDS = "1.2.826.0.1.77553311"
HEADER = {
    "PatientName": "Zyxname^Planted", "PatientBirthDate": "19470823", "AccessionNumber": "ACC774411",
    "InstitutionName": "Zyxhospital", "ReferringPhysicianName": "Zyxdoctor^Ref", "StudyDate": "20190317",
    "StudyID": "STU99887", "DeviceSerialNumber": "DEV55667", "SeriesDescription": "Zyxprotocol",
    "FrameOfReferenceUID": f"{UIDS}.9.9",
}  # fmt: skip
PATIENT = "ZYXID-44"
NAMES = "Zyxfolder"  # of folders and files below data.root, which only prepare.json and the pack may hold
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")  # the last is NumPy's
AGES = {0: "103.252", 1: "7.31274", 2: "61.3758"}  # of patients: the oldest, the youngest, and one of an age of its own
ROOT = "zyxroot"  # of data.root itself, which the user typed: config.yaml and command.txt may hold it


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Eight patients of four slices, and a file that is rejected, whose headers and names say who they are."""
    root = tmp_path / ROOT
    for number in range(8):
        uids = {name: f"{UIDS}.{number}.{k}" for k, name in enumerate(("StudyInstanceUID", "SeriesInstanceUID"))}
        folder = root / f"{NAMES}_{number}"
        for path in series(folder, seed=number, PatientID=f"{PATIENT}{number}", SOPInstanceUID=None, **HEADER, **uids):
            last = path.rename(path.with_name(f"{NAMES}{path.name}.dcm"))
    cut = last.with_name("cut.dcm")
    cut.write_bytes(last.read_bytes()[:-200])
    return root


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds: its bytes, and what they unpack to."""
    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
            yield " ".join(archive.namelist()).encode()
    if raw[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png_texts(raw)


def _png_texts(raw: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(raw[8:])
    while len(start := stream.read(8)) == 8:
        body = stream.read(int.from_bytes(start[:4], "big") + 4)[:-4]
        if start[4:] in (b"zTXt", b"iTXt", b"iCCP"):
            yield zlib.decompress(body[body.index(b"\0") + 2 :])


def spellings(word: str) -> list[bytes]:
    """A word, or a number as text and in binary, in lower case."""
    texts = [word.lower().encode(code) for code in ENCODINGS]
    if not word.replace(".", "").isdigit() or word.count(".") != 1:
        return texts
    return texts + [struct.pack(kind, float(word)).lower() for kind in ("<d", ">d", "<f", ">f")]


def found(words: list[str], *folders: Path) -> list[str]:
    """Which words stand where, in names of files or in what they hold, whatever the case."""
    spelt = {word: spellings(word) for word in words}
    places = []
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    for folder, path in files:
        held = [str(path.relative_to(folder)).encode().lower(), *(part.lower() for part in contents(path))]
        places += [f"{word} in {path.name}" for word in words if any(s in part for s in spelt[word] for part in held)]
    return places


def test_the_search_finds_what_is_hidden_in_archives(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "a.gz").write_bytes(gzip.compress(b"Zyx"))
    np.savez_compressed(folder / "b.npz", a=np.array(["zyx"]))
    (folder / "zyx.txt").write_text("none")
    (folder / "clean").write_text("none")
    assert sorted(found(["zyx"], folder)) == ["zyx in a.gz", "zyx in b.npz", "zyx in zyx.txt"]
    np.save(folder / "ages.npy", np.array([103.25]))
    torch.save({"ranges": [[18.0, 103.25]]}, folder / "x.ckpt")
    assert sorted(found(["103.25"], folder)) == ["103.25 in ages.npy", "103.25 in x.ckpt"]


def test_no_identifier_leaves_the_source(
    planted: Path, tmp_path: Path, compose: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from medsynth.train import train

    monkeypatch.setattr(sys, "argv", ["train", f"data.root={planted}"])
    data = ["data=dicom", f"data.root={planted}"]
    run = tmp_path / "run"
    config = compose(*data, f"run_dir={run}", "logger=wandb", "images=24", "sample_every=16", "checkpoint_every=16",
                     "logger.real_images=true")  # fmt: skip
    prepared = prepare({"data": config["data"], "resolution": 16, "augment": config["augment"]})
    told = capfd.readouterr().err  # may name files, to this machine's user
    trained = train(config, choices={"model": "wgan_gp", "data": "dicom"}, overrides=data)
    answers: list[Any] = [trained, *_exported(run, tmp_path / "exports"), evaluate(_evaluation(run))]
    header = [*HEADER.values(), "Zyxname", UIDS, PATIENT]
    secrets = [*header, NAMES]
    assert found(secrets, run, tmp_path / "exports") == []
    assert not [word for word in secrets if word.lower() in json.dumps([*answers, prepared]).lower()]
    assert found([ROOT], run / "wandb", run / "evaluation", tmp_path / "exports") == []
    assert found(header, tmp_path / "cache") == []
    assert f"{NAMES}_7/cut.dcm: truncated" in told
    assert not [word for word in header if word.lower() in (told + capfd.readouterr().err).lower()]
    report = json.loads(Path(prepared["prepare_json"]).read_text())
    assert [entry["file"] for entry in report["rejected"]] == [f"{NAMES}_7/cut.dcm"]


def test_no_age_that_tells_who_a_patient_is_leaves_the_source(
    image_root: Path, tmp_path: Path, compose: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from medsynth.train import train

    monkeypatch.setattr(sys, "argv", ["train"])
    rows = ["file,patient,age"]
    for number in range(60):  # two images a patient: one of each class
        patient = number % 30
        name = f"{('lying', 'upright')[number // 30]}/{patient:02}.png"
        rows.append(f"{name},{patient},{AGES.get(patient, str(40 + patient))}")
    (image_root / "t.csv").write_text("\n".join(rows))
    data = ["data.source.table=t.csv", "data.source.label_column=null", "data.source.patient_column=patient",
            "data.covariates=[age]", "data.split={train: 0.9, val: 0.05, test: 0.05, seed: 3}"]  # fmt: skip
    run = tmp_path / "run"
    config = compose(*data, f"run_dir={run}", "logger=wandb", "images=24", "sample_every=16", model="cwgan_gp")
    prepared = prepare({"data": config["data"], "resolution": 16, "augment": config["augment"]})
    pack = Pack.open(Path(prepared["prepare_json"]).parent)
    assert pack.covariates is not None
    assert {float(age) for age in AGES.values()} <= set(pack.covariates[pack.splits["train"], 0])
    trained = train(config, choices={"model": "cwgan_gp", "data": "image_folder"}, overrides=data)
    asked = {"covariates": {"age": 104}}
    answers = [trained, *_exported(run, tmp_path / "exports"), *_exported(run, tmp_path / "asked", **asked)]
    answers.append(evaluate(_evaluation(run)))
    assert found([*AGES.values()], run, tmp_path / "exports", tmp_path / "asked") == []
    told = json.dumps(answers) + capfd.readouterr().err
    assert "covariates.age=104 lies outside of 4" in told
    assert not [age for age in AGES.values() if age in told]
    with np.load(pack.folder / "table.npz") as table:
        assert 103.252 in table["covariates"]  # the pack has it, and stays on this machine


def _exported(run: Path, out: Path, **asked: Any) -> list[Any]:
    """What generate answers for each format."""
    plain = {"run": str(run), "checkpoint": "last", "n": 2, "first": 0, "seed": 0, "batch_size": 2, "bits": 8}
    return [generate(plain | {"format": kind, "out": str(out / kind)} | asked) for kind in ("png", "nifti", "dicom")]


def _evaluation(run: Path) -> dict[str, Any]:
    return composed("evaluate", f"run={run}", "metrics.count=12", "path_pairs=16")
