import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from medsynth.data.settings import KEYS, LIFTED
from medsynth.errors import UserError
from medsynth.prepare import prepare, table

CONF = sorted((Path(__file__).parents[1] / "conf" / "data").glob("*.yaml"))


def config(name: str, root: Path) -> dict[str, Any]:
    path = next(path for path in CONF if path.stem == name)
    data: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return {"data": {**data, "root": str(root)}, "resolution": 16, "augment": {}}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for k in range(30):
        folder = tmp_path / "x" / ("ill" if k < 10 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8 + k % 2, 8), dtype=np.uint8)).save(folder / f"{k}.png")
    (tmp_path / "x" / "ill" / "bad.png").write_text("no image")
    return tmp_path / "x"


def test_the_answer_holds_paths_and_counts(root: Path) -> None:
    answer = prepare(config("image_folder", root))
    assert answer.keys() == {
        "pack", "images", "classes", "splits", "patients", "rejected", "prepare_json", "contact_sheet"
    }  # fmt: skip
    assert answer["classes"] == {"ill": 10, "well": 20}
    assert answer["splits"] == {"train": 24, "val": 3, "test": 3}
    assert (answer["images"], answer["rejected"]) == (30, 1)
    assert json.loads(Path(answer["prepare_json"]).read_text())["pack"] == answer["pack"]
    assert Path(answer["contact_sheet"]).parent == Path(answer["pack"])
    with Image.open(answer["contact_sheet"]) as sheet:
        assert sheet.width > 600
    assert "ill/bad.png,rejected" in (Path(answer["pack"]) / "files.csv").read_text()
    assert json.loads(json.dumps(answer)) == answer


def test_people_read_a_table_on_stderr_and_stdout_stays_empty(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(config("image_folder", root))
    out, err = capsys.readouterr()
    assert out == ""
    lines = {line.split()[0]: line.split() for line in err.splitlines() if line.strip()}
    assert lines["class"] == [
        "class",
        "images",
        "train",
        "val",
        "test",
        "left",
        "out",
        "groups",
        "images",
        "a",
        "group",
    ]
    assert lines["well"][:7] == ["well", "20", "16", "2", "2", "0", "20"]
    assert "8x8 15, 8x9 15" in err
    assert "bad.png: not an image" in err
    assert lines["rejected"] == ["rejected", "1", "x", "not", "an", "image", "Pillow", "can", "read"]
    assert "31 (" in err  # files, bytes, and what became of them
    assert "30 images or series read, 1 rejected" in err
    assert lines["values"][-2] == "median"
    assert "advice    resolution=16: " in err
    assert "warning   class ill has 10 images with their duplicates: expect" in err
    assert f"look at   {next((root.parent / 'cache').rglob('contact_sheet.png'))}" in err


def volume_report() -> dict[str, Any]:
    """A prepare.json of two volumes with masks."""
    spread = {"min": 0.7, "median": 0.75, "max": 0.8}
    counts = {"images": 5, "patients": 2, "classes": {"(no label)": 5}}
    groups = {"groups": 2, "sizes": [3, 2]}
    return {
        "name": "lits", "resolution": 64, "root": "/data", "pack": "/cache/pack", "images": 5, "patients": 2,
        "classes": {"(no label)": 5}, "splits": {"train": counts}, "modes": {"int16": 5}, "sizes": {"512x512": 5},
        "groups": {"kind": "patients", "classes": {"(no label)": groups}, "joined": ["a = b: twins"]},
        "spacings_mm": {"row": {**spread, "different": 2}, "slice": {"min": 5, "median": 5, "max": 5, "different": 1}},
        "orientations": {"LAS": 1, "RAS": 1}, "images_a_file": {"min": 2, "median": 2.5, "max": 3},
        "intensities": {"unit": "hu", "min": -1024, "max": 1500, "percentiles": {"0.5": -1000, "50": -20, "99.5": 900}},
        "masks": {"images": 3, "labels": {"0": 1.0, "1": 0.5}, "unknown": 0.0},
        "integrity": {"files": 4, "bytes": 2_500_000, "read": 2, "rejected": 3, "reasons": {"empty": 2, "torn": 1}},
        "rejected": [], "excluded": [], "ignored": {}, "duplicates": [], "notes": ["2 rows repaired"], "warnings": [],
        "advice": {"resolution": {"value": 256, "reason": "the pictures are large"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "spacings  mm: row 0.75 (0.7 to 0.8), slice 5",
        "axes      LAS 1, RAS 1",
        "volumes   2, of 2.5 (2 to 3) images",
        "values    -1024 to 1500 HU; 99% of them -1000 to 900, median -20",
        "masks     3 of 5 images; label 0 in 100%, 1 in 50%",
        "rejected  2 x empty",
        "rejected  1 x torn",
        "note      2 rows repaired",
        "advice    resolution=256: the pictures are large",
    ],
)
def test_the_table_of_volumes_says(line: str) -> None:
    assert line in table(volume_report())


def test_a_resolution_that_no_network_has_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="resolution=17"):
        prepare({**config("image_folder", root), "resolution": 17})


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_data_yaml_has_the_keys_that_a_pack_needs(path: Path) -> None:
    data = OmegaConf.load(path)
    keys = {str(key) for key in data}
    assert KEYS - {"content"} <= keys
    assert keys <= KEYS | LIFTED
    assert data["name"] == path.stem
    assert path.read_text().startswith("# ")
