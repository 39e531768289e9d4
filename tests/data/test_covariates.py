"""Continuous conditions and masks as a channel: from files to batches."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from medsynth.attributes import Attributes
from medsynth.augment.affine import Affine
from medsynth.batch import Batch
from medsynth.cli import conf_dir
from medsynth.data.module import ImageDataModule
from medsynth.data.pack import Pack
from medsynth.data.prepare_pack import prepare_pack
from medsynth.errors import UserError

SIDE, SLICES, VOLUMES = 16, 5, 16
Config = Callable[..., dict[str, Any]]


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Sixteen volumes of 16 x 16 x 5 voxels of 2 x 3 x 4 mm with a mask each, whose k-th slice shows 2 k voxels of
    label 1 and one of label 2, and a table of ages; the last volume has no mask."""
    rng, affine = np.random.default_rng(0), np.diag([2.0, 3.0, 4.0, 1.0])
    root = tmp_path / "volumes"
    root.mkdir()
    rows = ["file,label,patient,Age,site"]
    for number in range(VOLUMES):
        values = rng.normal(100, 20, (SIDE, SIDE, SLICES)).astype(np.float32)
        mask = np.zeros(values.shape, np.uint8)
        for k in range(SLICES):
            mask[: 2 * k, 4, k] = 1
        mask[15, 15] = 2
        nibabel.save(nibabel.Nifti1Image(values, affine), root / f"p{number:02}.nii")
        if number < VOLUMES - 1:
            nibabel.save(nibabel.Nifti1Image(mask, affine), root / f"p{number:02}_seg.nii")
        rows.append(f"p{number:02},{'ab'[number % 2]},{number},{40 + number if number else 'n/a'},x")
    (root / "t.csv").write_text("\n".join(rows))
    return root


def nifti(config: Config, root: Path, *, table: bool = False, augment: Any = None, **changes: Any) -> Pack:
    """The pack of a folder of volumes, with masks and perhaps a table."""
    source: dict[str, Any] = {"_target_": "medsynth.data.sources.nifti.NiftiFolder", "masks": "*_seg"}
    source |= {"table": "t.csv", "patient_column": "patient"} if table else {}
    percentile = {"_target_": "medsynth.data.intensity.Percentile"}
    plain = config("image_folder", root, name="nifti", source=source, intensity=percentile, **changes)
    return prepare_pack(plain, resolution=SIDE, augment=augment, progress=lambda text: None)


@pytest.fixture
def pack(volumes: Path, config: Config) -> Callable[..., Pack]:
    return lambda **changes: nifti(config, volumes, table=True, **changes)


def batches(pack: Pack, **changes: Any) -> list[Batch]:
    settings: dict[str, Any] = {"batch_size": 8, "seed": 3, "images": 80}
    module = ImageDataModule(pack, **(settings | changes))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)  # type: ignore[assignment]
    return [module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader()]


def test_a_slices_position_runs_from_nought_to_one(pack: Callable[..., Pack]) -> None:
    made = pack(covariates=["slice_position"])
    assert made.covariates is not None
    np.testing.assert_allclose(made.covariates[:, 0], made.numbers / (SLICES - 1))
    assert set(made.covariates[:, 0]) == {0, 0.25, 0.5, 0.75, 1}


def test_the_size_of_a_mask_is_in_square_millimetres_of_the_file(pack: Callable[..., Pack]) -> None:
    # Fit stretch: 16 x 16 packed pixels are the 16 x 16 of the file, of 2 x 3 mm.
    for labels, extra in ((None, 1), ([1], 0)):
        made = pack(covariates=["mask_area_mm2"], fit="stretch", mask_labels=labels)
        assert made.covariates is not None
        known = ~np.isnan(made.covariates[:, 0])
        assert (~known).sum() == SLICES  # of the volume without a mask
        np.testing.assert_allclose(made.covariates[known, 0], 6 * (2 * made.numbers[known] + extra))


def test_numbers_of_a_table_are_covariates_and_who_lacks_one_is_named(pack: Callable[..., Pack]) -> None:
    made = pack(covariates=["age"])
    assert made.covariates is not None
    ages = {name: age for name, age in zip(made.files, made.covariates[:, 0], strict=True)}
    assert np.isnan(ages.pop("p00.nii"))
    assert ages == {f"p{k:02}.nii": 40.0 + k for k in range(1, VOLUMES)}
    report = json.loads((made.folder / "prepare.json").read_text())
    assert report["without_covariate"] == {"age": ["p00.nii"]}
    assert any("1 files have no age" in line and "p00.nii" in line for line in report["warnings"])
    assert not np.isnan(made.covariates[made.training("train")]).any()


@pytest.mark.parametrize("name", ["oasis", "ppmi", "bids"])
@pytest.mark.parametrize("labels", [[], ["data.label_column=null"]])
def test_ages_are_read_from_the_tables_of_datasets_with_or_without_labels(name: str, labels: list[str]) -> None:
    with initialize_config_dir(str(conf_dir().absolute()), version_base="1.3"):
        small = [f"data={name}", "data.phantom=true", "data.phantom_patients=3", "data.phantom_size=32"]
        data = compose("prepare", overrides=[*small, "data.covariates=[age]", *labels])["data"]
    made = prepare_pack(data, resolution=SIDE, progress=lambda text: None)
    assert made.covariates is not None
    assert 18 <= made.covariates.min() < made.covariates.max() <= 96


def test_covariates_are_part_of_the_key_and_the_mask_channel_is_not(pack: Callable[..., Pack]) -> None:
    keys = [pack(**changes).key for changes in ({}, {"covariates": ["age"]}, {"mask_channel": True})]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariates": ["weight"]}, "no image has a weight; columns of its tables: Age, file, label, patient, site"),
        ({"covariates": ["site"]}, "no image has a site"),
        ({"covariates": "age"}, "data.covariates=age must be a list of names"),
        ({"covariates": ["age", "age"]}, "age stands there twice"),
        ({"mask_labels": [0]}, r"data.mask_labels=\[0\] must be labels from 1 to 254"),
        ({"mask_labels": [1.5]}, "data.mask_labels"),
        ({"mask_channel": "yes"}, "data.mask_channel=yes must be true or false"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], message: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(UserError, match=message):
        pack(**changes)


def test_batches_hold_covariates_from_minus_one_to_one_in_training(pack: Callable[..., Pack]) -> None:
    made = pack(covariates=["age", "slice_position"])
    assert "covariates" in made.provides
    seen = torch.cat([batch["covariates"] for batch in batches(made)])  # type: ignore[typeddict-item]
    assert seen.dtype == torch.float32
    assert seen.amin(dim=0).tolist() == [-1, -1]
    assert seen.amax(dim=0).tolist() == [1, 1]
    attributes = Attributes.of(made)
    assert attributes.covariates == ["age", "slice_position"]
    assert attributes.ranges[1] == [0, 1]
    assert made.shape_facts() == {"channels": 1, "classes": 2, "covariates": 2}


def test_covariates_stay_with_their_image(pack: Callable[..., Pack]) -> None:
    made = pack(covariates=["age"])
    assert made.covariates is not None
    scaled = Attributes.of(made).scaled(made.covariates)[:, 0]
    known = {made.tensor([int(i)]).numpy().tobytes(): scaled[i] for i in made.training("train")}
    for batch in batches(made):
        for image, covariates in zip(batch["image"], batch["covariates"], strict=True):  # type: ignore[typeddict-item]
            assert known[image[None].numpy().tobytes()] == covariates.item()


@pytest.mark.parametrize(("labels", "shown"), [(None, {1, 2}), ([2], {2})])
def test_the_mask_is_the_last_channel(labels: list[int] | None, shown: set[int], pack: Callable[..., Pack]) -> None:
    made = pack(mask_channel=True, mask_labels=labels)
    assert made.shape_facts()["channels"] == 2
    assert made.masks is not None
    for index in made.training("train"):
        image = made.targets([int(index)])[0]
        assert torch.equal(image[:1], made.tensor([int(index)])[0])
        assert np.array_equal(image[1].numpy(), np.where(np.isin(made.masks[index, 0], list(shown)), 1, -1))
    for batch in batches(made):
        assert batch["image"].shape[1:] == (2, SIDE, SIDE)
        assert set(batch["image"][:, 1].unique().tolist()) == {-1, 1}


def test_images_without_a_mask_are_not_trained_on_and_counted(
    pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str], volumes: Path
) -> None:
    for number in range(5, VOLUMES - 1):
        (volumes / f"p{number:02}_seg.nii").unlink()
    made = pack(mask_channel=True)
    masked = {f"p{k:02}.nii" for k in range(5)}
    assert set(made.files[made.training("train")]) <= masked
    assert set(made.files[made.splits["train"]]) <= masked
    lost = len(pack().splits["train"]) - len(made.splits["train"])
    batches(made)
    assert f"{lost} images of nifti are left out of training" in capsys.readouterr().err
    assert pack().left_out == {}


def test_augmentation_and_flips_move_image_and_mask_alike(tmp_path: Path, config: Config) -> None:
    root = tmp_path / "alike"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):  # the mask is where the image is bright, in blocks whose edges interpolation blurs little
        bright = np.kron(rng.random((2, 2)) < 0.5, np.ones((8, 8)))[..., None].repeat(2, axis=2)
        bright[0, 0], bright[15, 15] = 0, 1
        image = 2 * bright + rng.random(bright.shape)
        for name, values in (("", image.astype(np.float32)), ("_seg", bright.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / f"q{number}{name}.nii")
    made = nifti(config, root, mask_channel=True)
    augment = Affine(rotation=20.0, zoom=0.2, shift=0.1, shear=0.1)
    for batch in batches(made, augment=augment, flips="both", images=32):
        image, mask = batch["image"].unbind(dim=1)
        alike, apart = ((image > 0) == (other > 0) for other in (mask, mask.roll(1, dims=0)))
        assert alike.float().mean() > 0.9
        assert apart.float().mean() < 0.8


def test_a_pack_without_masks_has_no_mask_channel(tmp_path: Path, config: Config) -> None:
    (tmp_path / "x").mkdir()
    for k in range(10):
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (16, 16), dtype=np.uint8)).save(
            tmp_path / f"x/{k}.png"
        )
    plain = config("image_folder", tmp_path / "x", mask_channel=True)
    with pytest.raises(UserError, match="mask_channel=true needs masks, and image_folder has none"):
        prepare_pack(plain, resolution=16, progress=lambda text: None)


def test_masks_that_generate_wrote_are_no_images(tmp_path: Path, config: Config) -> None:
    (tmp_path / "x").mkdir()
    for name in (*range(9), "5_mask", "lonely_mask"):
        pixels = np.random.default_rng(len(str(name))).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"x/{name}.png")
    made = prepare_pack(config("image_folder", tmp_path / "x"), resolution=16, progress=lambda text: None)
    assert sorted(made.files) == [*(f"{k}.png" for k in range(9)), "lonely_mask.png"]
    notes = json.loads((made.folder / "prepare.json").read_text())["notes"]
    assert "1 masks beside their images (*_mask) are not read" in notes


def test_workers_that_are_spawned_see_the_same_pack(pack: Callable[..., Pack]) -> None:
    import pickle

    made = pack(covariates=["age"], mask_channel=True, mask_labels=[2])
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(again.training("train"), made.training("train"))
    assert torch.equal(again.targets([3]), made.targets([3]))


def test_copies_keep_the_covariates_of_their_image_and_lack_masks_where_it_does(pack: Callable[..., Pack]) -> None:
    augment = {
        "_target_": "medsynth.augment.affine.Affine", "rotation": 5.0, "zoom": 0.1, "shift": 0.0, "shear": 0.0,
        "copies": 1,
    }  # fmt: skip
    made = pack(covariates=["age"], mask_channel=True, augment=augment)
    train = made.training("train")
    assert len(train) == 2 * len(made.splits["train"])
    assert made.covariates is not None
    assert not np.isnan(made.covariates[train]).any()
    assert not {"p00.nii", f"p{VOLUMES - 1}.nii"} & set(made.files[train])
