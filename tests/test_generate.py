"""generate keep=: the best images are written under their own numbers, and the files say how they were chosen."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medsynth import usable
from medsynth.errors import Interrupted, UserError
from medsynth.export import Exporter
from medsynth.generate import generate
from medsynth.latent import generator
from medsynth.metrics.quality import Detector, keep, train_detector
from medsynth.metrics.undefined import Undefined

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """What generate takes for the detector of any run; it prefers some images and has hardly been taught."""
    images = torch.rand(20, 1, 16, 16, generator=generator(0)) * 2 - 1
    made = replace(train_detector(images, images, steps=2), auc=0.9)
    monkeypatch.setattr(usable, "detector_of", lambda runs, pack: made)
    return made


@pytest.fixture
def trained(run: Run) -> str:
    return run("run")["run_dir"]


def options(run_dir: str, out: Path | str, **changes: Any) -> dict[str, Any]:
    plain = {"run": run_dir, "checkpoint": "last", "n": 10, "first": 0, "seed": 0, "batch_size": 4}
    return plain | {"format": "png", "bits": 8, "out": str(out), "keep": 0.5, "data": {"root": None}} | changes


def manifest(out: str) -> list[dict[str, str]]:
    with Path(out, "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_best_are_written_under_the_numbers_they_were_made_with(
    trained: str, detector: Detector, capsys: pytest.CaptureFixture[str]
):
    whole = generate(options(trained, "whole", keep=None))
    best = generate(options(trained, "best"))
    assert (best["made"], best["n"], whole["n"]) == (10, 5, 10)
    scores = {int(row["number"]): float(row["score"]) for row in manifest("best")}
    every = generate(options(trained, "every", keep=1))
    known = torch.tensor([float(row["score"]) for row in manifest("every")])
    assert every["n"] == 10
    assert list(scores) == keep(known, 0.5).tolist()
    for number in scores:
        name = f"synthetic/{number:06d}.png"
        assert Path("best", name).read_bytes() == Path("whole", name).read_bytes()
    assert sum(1 for _ in Path("best/synthetic").iterdir()) == 5
    assert f"usable: {detector.usable(known):.1%} of 10 images" in capsys.readouterr().err


def test_the_provenance_says_what_was_chosen_and_by_what(trained: str, detector: Detector):
    result = generate(options(trained, "best"))
    facts = json.loads(Path(result["provenance"]).read_text())
    assert facts["keep"] == 0.5
    assert facts["chosen"] == [
        {
            "first": 0, "made": 10, "label": None, "written": 5,
            "usable_ratio": result["usable_ratio"], "detector": detector.digest(),
        }
    ]  # fmt: skip


def test_without_keep_nothing_is_said_of_it(trained: str):
    result = generate(options(trained, "whole", keep=None))
    assert result.keys() == {"out", "n", "manifest", "provenance"}
    assert not {"keep", "chosen"} & json.loads(Path(result["provenance"]).read_text()).keys()
    assert "score" not in manifest("whole")[0]


def test_a_folder_goes_on_with_further_images_and_refuses_another_choice_of_the_same(trained: str, detector: Detector):
    generate(options(trained, "out"))
    generate(options(trained, "out"))
    generate(options(trained, "out", first=10, n=4))
    assert len(manifest("out")) == 7
    chosen = json.loads(Path("out/provenance.json").read_text())["chosen"]
    assert [(choice["first"], choice["made"]) for choice in chosen] == [(0, 10), (10, 4)]
    with pytest.raises(
        UserError, match="holds the best of images 0 to 9; choose another folder, or go on with first=10"
    ):
        generate(options(trained, "out", n=20))
    for share in (None, 0.8):
        with pytest.raises(UserError, match=r"holds images of keep=0\.5"):
            generate(options(trained, "out", keep=share))


def test_a_choice_by_another_detector_is_refused(trained: str, detector: Detector, monkeypatch: pytest.MonkeyPatch):
    generate(options(trained, "out"))
    monkeypatch.setattr(usable, "detector_of", lambda runs, pack: replace(detector, scale=2 * detector.scale))
    with pytest.raises(UserError, match="that another quality detector chose"):
        generate(options(trained, "out"))


def test_truncation_and_dicom_go_with_it(trained: str, detector: Detector):
    result = generate(options(trained, "out", format="dicom", truncation=0.5, truncation_mode="psi"))
    assert len(list(Path(result["out"], "synthetic").glob("*.dcm"))) == 5


def test_without_a_detector_that_sees_nothing_is_chosen(
    trained: str, detector: Detector, monkeypatch: pytest.MonkeyPatch
):
    def undefined(runs: Any, pack: Any) -> Detector:
        raise Undefined("the data are too few")

    monkeypatch.setattr(usable, "detector_of", lambda runs, pack: replace(detector, auc=0.6))
    with pytest.raises(UserError, match=r"keep=0\.5 cannot be: .*AUC of 0\.60 only.*keep=null writes all"):
        generate(options(trained, "out"))
    monkeypatch.setattr(usable, "detector_of", undefined)
    with pytest.raises(UserError, match=r"keep=0\.5 cannot be: the data are too few; keep=null writes all"):
        generate(options(trained, "out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "most", True, np.nan])
def test_a_share_that_is_none_is_one_line(share: Any, trained: str):
    with pytest.raises(UserError, match=f"keep={share} must be a share above 0 and at most 1, or null"):
        generate(options(trained, "out", keep=share))


def test_a_root_that_nothing_needs_is_refused(trained: str):
    with pytest.raises(UserError, match=r"data\.root=DIR says where the real images for keep= lie"):
        generate(options(trained, "out", keep=None, data={"root": "DIR"}))


@pytest.mark.parametrize("share", [None, 0.5])
def test_an_export_that_was_stopped_says_what_it_holds_and_goes_on(
    share: float | None, trained: str, detector: Detector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    out = str(tmp_path / "out")
    write = Exporter.write

    def stopped(self: Exporter, image: torch.Tensor, number: int, **more: Any) -> Path:
        if len(list(self.out.rglob("*.png"))) == 3:
            raise Interrupted(2, "SIGINT: stopped")
        return write(self, image, number, **more)

    monkeypatch.setattr(Exporter, "write", stopped)
    with pytest.raises(Interrupted):
        generate(options(trained, out, keep=share))
    assert [Path(out, row["file"]).exists() for row in manifest(out)] == [True] * 3
    assert json.loads(Path(out, "provenance.json").read_text())["synthetic"]
    monkeypatch.undo()
    monkeypatch.setattr(usable, "detector_of", lambda runs, pack: detector)
    with pytest.raises(UserError, match="holds images of another checkpoint or seed"):
        generate(options(trained, out, keep=share, seed=1))
    assert generate(options(trained, out, keep=share))["n"] == len(manifest(out)) == (10 if share is None else 5)


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_folder_that_cannot_be_written_is_one_line_before_any_work(
    share: float | None, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(usable, "detector_of", lambda runs, pack: pytest.fail("a detector was taught"))
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"out=.*file"):
            generate(options(trained, out, keep=share))


def test_a_checkpoint_may_be_called_by_a_number(trained: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"no checkpoint 5"):
        generate(options(trained, tmp_path / "out", checkpoint=5, keep=None))


def test_real_images_are_found_where_they_lie_now(trained: str, image_root: Path, tmp_path: Path, detector: Detector):
    image_root.rename(tmp_path / "moved")
    (tmp_path / "cache").rename(tmp_path / "lost")
    with pytest.raises(UserError, match=r"data\.root"):
        generate(options(trained, "out"))
    assert generate(options(trained, "out", data={"root": str(tmp_path / "moved")}))["n"] == 5
