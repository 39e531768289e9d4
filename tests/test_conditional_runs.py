"""Models of images, and of image and mask, that are conditioned on label and covariates: trained, synthesised and
judged like any other."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from composed import composed
from PIL import Image

from medsynth.checkpoint import load_run
from medsynth.cli import conf_dir
from medsynth.errors import UserError
from medsynth.evaluate import evaluate
from medsynth.generate import generate
from medsynth.sampling import synthesise

CONDITIONAL = sorted(p.stem for p in (conf_dir() / "model").glob("*.yaml") if "covariates: null" in p.read_text())


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Sixteen volumes of two classes with masks, and a table of ages."""
    rng = np.random.default_rng(0)
    root = tmp_path / "volumes"
    root.mkdir()
    rows = ["file,label,patient,age"]
    for number in range(16):
        values = rng.normal(100, 20, (16, 16, 4)).astype(np.float32)
        mask = np.zeros(values.shape, np.uint8)
        mask[4:12, 4:12] = 1
        for name, array in (("", values + 200 * mask), ("_seg", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), root / f"p{number:02}{name}.nii")
        rows.append(f"p{number:02},{('ill', 'well')[number % 2]},{number},{40 + number}")
    (root / "t.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def joint(volumes: Path, compose: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """A run of the conditional WGAN-GP on image and mask."""
    from medsynth.train import train

    data = ["data=nifti", f"data.root={volumes}", "data.table=t.csv", "data.patient_column=patient"]
    data += ["data.covariates=[age,slice_position]", "data.mask_channel=true"]
    judged = ["metrics=fast", "metrics.count=8", "evaluate_every=32", "sample_every=32"]
    config = compose(*data, *judged, f"run_dir={tmp_path / 'run'}", model="cwgan_gp")
    train(config, choices={"model": "cwgan_gp", "data": "nifti"}, overrides=data)
    return tmp_path / "run"


def options(run: Path, out: Path, **changes: Any) -> dict[str, Any]:
    plain = {"run": str(run), "checkpoint": "last", "n": 6, "first": 0, "seed": 0, "batch_size": 4, "format": "png"}
    return plain | {"bits": 8, "out": str(out)} | changes


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def provenance(out: Path) -> dict[str, Any]:
    return json.loads((out / "provenance.json").read_text())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_it_is_trained_synthesised_and_judged(joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(joint)
    assert run.attributes.class_names == ["ill", "well"]
    assert run.attributes.covariates == ["age", "slice_position"]
    (images,) = synthesise(run.model, n=2, seed=0, attributes=run.attributes)
    assert images.shape == (2, 2, 16, 16)

    # A class a row, its latents in the columns, and each mask to the right of its image.
    assert pixels(joint / "samples/000000064.png").shape == (2 * (64 + 2) + 2, 8 * (128 + 2) + 2, 3)

    generate(options(joint, tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    assert {row["class"] for row in rows} <= {"ill", "well"}
    for row in rows:
        assert (tmp_path / "out" / row["file"]).parent.name == row["class"]
        assert 40 < float(row["age"]) < 55  # the youngest and the oldest are not drawn
        assert 0 <= float(row["slice_position"]) <= 1
        assert set(np.unique(pixels(tmp_path / "out" / row["mask"]))) <= {0, 255}

    generate(options(joint, tmp_path / "asked", label="well", covariates={"age": 45, "slice_position": 7}))
    assert "covariates.slice_position=7 lies outside" in capsys.readouterr().err
    rows = rows_of(tmp_path / "asked")
    assert {(row["class"], row["age"], row["slice_position"]) for row in rows} == {("well", "45", "1")}
    facts = provenance(tmp_path / "asked")
    assert facts["covariates"] == {"age": 45, "slice_position": 7}
    assert facts["labels_asked"] == ["well"]
    assert "labels_asked" not in provenance(tmp_path / "out")
    generate(options(joint, tmp_path / "balanced", label="balanced", n=4, format="nifti"))
    assert sorted(row["class"] for row in rows_of(tmp_path / "balanced")) == ["ill", "ill", "well", "well"]
    for asked, message in (({"label": "dead"}, "choices: ill, well, balanced"), ({"covariates": {"x": 1}}, "age")):
        with pytest.raises(UserError, match=message):
            generate(options(joint, tmp_path / "wrong", **asked))

    config = composed("evaluate", f"run={joint}", "metrics.count=8", "path_pairs=16")
    answer = evaluate(config)
    assert answer["images"]["n_fake"] == 8
    assert [(name, found["n_real"]) for name, found in answer["classes"].items()] == [("ill", 4), ("well", 4)]
    assert "4 images a side are too few" in answer["classes"]["ill"]["metrics"]["swd"]["reason"]
    folders = {"run": None, "real": str(tmp_path / "balanced2"), "fake": str(tmp_path / "out")}
    generate(options(joint, tmp_path / "balanced2", seed=1, n=12))
    answer = evaluate(config | folders | {"metrics": config["metrics"] | {"count": 4}})
    assert "fake: 6 masks beside their images (*_mask) are not judged as images" in answer["warnings"]
    assert json.dumps(answer)


def test_an_image_of_a_class_is_the_same_whether_drawn_or_asked_for(joint: Path, tmp_path: Path) -> None:
    generate(options(joint, tmp_path / "drawn"))
    for label in ("ill", "well"):
        generate(options(joint, tmp_path / "asked", label=label))
    assert provenance(tmp_path / "asked")["labels_asked"] == ["ill", "well"]
    generate(options(joint, tmp_path / "drawn", label="balanced"))
    assert provenance(tmp_path / "drawn")["labels_asked"] == [None, "balanced"]
    asked = {row["file"]: row["sha256"] for row in rows_of(tmp_path / "asked")}
    assert len(asked) == 12
    assert all(asked[row["file"]] == row["sha256"] for row in rows_of(tmp_path / "drawn"))


def test_labels_make_a_difference(joint: Path) -> None:
    run = load_run(joint)
    for weight in run.model.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(weight.numel()))
    ill, well = (
        next(synthesise(run.model, n=2, seed=0, attributes=run.attributes, label=label)) for label in ("ill", "well")
    )
    assert not torch.equal(ill, well)


@pytest.fixture
def aged(image_root: Path) -> list[str]:
    """Overrides that take covariates of the pictures from a table: two pictures a patient, whose age is 40 and more."""
    rows = [f"{label}/{n:02}.png,{n},{40 + n},{n % 7}" for label in ("lying", "upright") for n in range(30)]
    (image_root / "t.csv").write_text("\n".join(["file,patient,age,dose", *rows]))
    columns = ["data.source.label_column=null", "data.source.patient_column=patient", "data.covariates=[age,dose]"]
    return ["data.source.table=t.csv", *columns]


def test_every_model_that_takes_labels_takes_covariates() -> None:
    assert {"acgan", "cgan", "cwgan_gp", "multi_hinge", "projection"} <= set(CONDITIONAL)


@pytest.mark.parametrize("model", CONDITIONAL)
def test_covariates_are_trained_on_and_asked_for(
    model: str, run: Callable[..., dict[str, Any]], aged: list[str], tmp_path: Path
) -> None:
    folder = Path(run("run", *aged, "sample_every=64", model=model)["run_dir"])
    before, after = (pixels(folder / f"samples/{seen:09}.png") for seen in (0, 64))
    assert not np.array_equal(before, after)  # training has moved what is made of the same latents and conditions

    made = load_run(folder)
    assert {"label", "covariates"} <= made.model.needs
    assert (made.attributes.covariates, made.attributes.class_names) == (["age", "dose"], ["lying", "upright"])
    young, old, again = (
        next(synthesise(made.model, n=4, seed=0, attributes=made.attributes, label="lying", covariates={"age": age}))
        for age in (45, 65, 45)
    )
    assert torch.equal(young, again)
    assert (young - old).abs().amax(dim=(1, 2, 3)).gt(0).all()

    for age in (45, 65):
        generate(options(folder, tmp_path / str(age), covariates={"age": age, "dose": 3}, format="nifti", n=3))
        rows = rows_of(tmp_path / str(age))
        assert {(row["age"], row["dose"]) for row in rows} == {(str(age), "3")}
        assert provenance(tmp_path / str(age))["covariates"] == {"age": age, "dose": 3}
    same = [{row["file"]: row["sha256"] for row in rows_of(tmp_path / str(age))} for age in (45, 65)]
    assert same[0].keys() == same[1].keys()
    assert not same[0].items() & same[1].items()
