import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from medsynth.data.prepare_pack import KEYS
from medsynth.errors import UserError
from medsynth.prepare import prepare

CONF = sorted((Path(__file__).parents[1] / "conf" / "data").glob("*.yaml"))


def config(name: str, root: Path) -> dict[str, Any]:
    path = next(path for path in CONF if path.stem == name)
    data: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return {"data": {**data, "root": str(root)}, "resolution": 16}


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
    assert answer.keys() == {"pack", "images", "classes", "splits", "patients", "rejected", "prepare_json"}
    assert answer["classes"] == {"ill": 10, "well": 20}
    assert answer["splits"] == {"train": 24, "val": 3, "test": 3}
    assert (answer["images"], answer["rejected"]) == (30, 1)
    assert json.loads(Path(answer["prepare_json"]).read_text())["pack"] == answer["pack"]
    assert json.loads(json.dumps(answer)) == answer


def test_people_read_a_table_on_stderr_and_stdout_stays_empty(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(config("image_folder", root))
    out, err = capsys.readouterr()
    assert out == ""
    lines = {line.split()[0]: line.split() for line in err.splitlines() if line.strip()}
    assert lines["class"] == ["class", "images", "train", "val", "test", "groups", "images", "a", "group"]
    assert lines["well"][:6] == ["well", "20", "16", "2", "2", "20"]
    assert "8x8 15, 8x9 15" in err
    assert "bad.png: not an image" in err


def test_a_resolution_that_no_network_has_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="resolution=17"):
        prepare({**config("image_folder", root), "resolution": 17})


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_data_yaml_has_the_keys_that_a_pack_needs(path: Path) -> None:
    data = OmegaConf.load(path)
    assert {str(key) for key in data} == KEYS - {"content"}
    assert data["name"] == path.stem
    assert path.read_text().startswith("# ")
