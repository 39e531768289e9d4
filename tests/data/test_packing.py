"""What a pack keeps of volumes: whole records or none, masks, conditions, geometry, full Hounsfield range, copies."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medsynth.data.degrade import LowDose, LowResolution
from medsynth.data.intensity import Grey, Intensity, Window
from medsynth.data.module import ImageDataModule
from medsynth.data.pack import Pack
from medsynth.data.picture import UNKNOWN, BadImage, Geometry, Picture
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.source import Listing, Load, Record, Source
from medsynth.errors import UserError

SIDE = 16


class Volumes(Source):
    """Files K.txt that each stand for a made-up CT volume of six slices of whole HU; `tricks` says what is odd."""

    origin = "made up by this test"
    unit = "hu"
    compares = False

    def __init__(self, root: str | Path, *, tricks: str = "") -> None:
        self.root, self.tricks = Path(root), tricks

    def files(self) -> list[Path]:
        return sorted(self.root.glob("*.txt"))

    def records(self) -> Listing:
        domain = "condition" if self.tricks == "unpaired" else "target"
        odd = [Record(path, patient=path.stem, domain=domain) for path in self.files()[1::2]]
        even = [Record(path, patient=path.stem) for path in self.files()[::2]]
        return Listing(even + odd)

    def read(self, record: Record, intensity: Intensity) -> Iterator[Load]:
        for number in range(6):
            if self.tricks == "broken" and record.path.stem == "3" and number == 4:
                raise BadImage("the volume ends early")
            yield partial(self.slice, int(record.path.stem), number)

    def slice(self, patient: int, number: int) -> Picture:
        if self.tricks == "broken" and patient == 5 and number == 2:
            raise BadImage("a slice is damaged")
        values = hounsfield(patient, number)
        if self.tricks == "air" and number == 0:
            values = np.where(np.indices(values.shape).sum(0) < 9, -2048, -1000).astype(np.float32)
        if self.tricks == "shared" and number == 1 and patient == 7:
            values = hounsfield(4, 1)
        mask = None if self.tricks == "one mask" and patient else (values > 0).astype(np.uint8)
        if self.tricks == "one mask" and patient == 0 and number == 4:
            raise BadImage("a slice is damaged")
        if mask is not None and self.tricks == "unmasked" and patient == 2:
            mask[:] = UNKNOWN
        paired = self.tricks == "paired" or (self.tricks, patient % 2) in (("odd pairs", 1), ("even pairs", 0))
        condition = values / 2 if paired else None
        return Picture(
            values,
            mode="int16",
            size=values.shape[::-1],
            mask=mask,
            condition=condition,
            geometry=place(patient, number),
        )


def hounsfield(patient: int, number: int) -> np.ndarray:
    rng = np.random.default_rng(10 * patient + number)
    return rng.integers(-1024, 3071, (20, SIDE)).astype(np.float32)


def place(patient: int, number: int) -> Geometry:
    volume = np.array([[0.7, 0.01, 0, -100.5], [0, 0.8, 0, 33.25], [0.02, 0, 5, patient], [0, 0, 0, 1]])
    return Geometry(volume @ np.array([[1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, number], [0, 0, 0, 1]]), volume,
                    (SIDE + 4, 26, 6), number)  # fmt: skip


@pytest.fixture
def packed(tmp_path: Path, config: Callable[..., dict[str, Any]]) -> Callable[..., Pack]:
    for patient in range(10):
        (tmp_path / "volumes").mkdir(exist_ok=True)
        (tmp_path / "volumes" / f"{patient}.txt").touch()

    def make(tricks: str = "", augment: dict[str, Any] | None = None, **changes: Any) -> Pack:
        source = {"_target_": f"{__name__}.Volumes", "tricks": tricks}
        window = {"_target_": "medsynth.data.intensity.Window", "center_hu": 50.0, "width_hu": 400.0}
        wanted = config("kidney_ct", tmp_path / "volumes", source=source, **({"intensity": window} | changes))
        return prepare_pack(wanted, resolution=SIDE, augment=augment, progress=lambda text: None)

    return make


def batch_of(pack: Pack, **changes: Any) -> Any:
    module = ImageDataModule(pack, batch_size=8, seed=0, images=8, **changes)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)  # type: ignore[assignment]
    return module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)


def test_a_record_that_fails_at_any_slice_leaves_none(packed: Callable[..., Pack]) -> None:
    pack = packed("broken")
    assert sorted(set(pack.files)) == [f"{k}.txt" for k in range(10) if k not in (3, 5)]
    assert len(pack) == len(pack.images) == len(pack.labels) == 48
    assert pack.masks is not None
    assert len(pack.masks) == 48
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert {entry["file"]: entry["reason"] for entry in report["rejected"]} == {
        "3.txt": "the volume ends early",
        "5.txt": "a slice is damaged",
    }
    straight = {(file, number): pixels for file, number, pixels in zip(pack.files, pack.numbers, pack.images,
                                                                       strict=True)}  # fmt: skip
    whole = packed()
    for file, number, pixels in zip(whole.files, whole.numbers, whole.images, strict=True):
        if file not in ("3.txt", "5.txt"):
            np.testing.assert_array_equal(straight[file, number], pixels)


def test_all_slices_of_a_volume_stand_in_one_split(packed: Callable[..., Pack]) -> None:
    pack = packed()
    homes = {file: {s for s, mine in pack.splits.items() if set(mine) & set(np.flatnonzero(pack.files == file))}
             for file in set(pack.files)}  # fmt: skip
    assert all(len(splits) == 1 for splits in homes.values())


def test_the_geometry_of_a_slice_is_recovered_exactly(packed: Callable[..., Pack]) -> None:
    pack = packed()
    for index in (0, 7, 59):
        found, expected = pack.geometry(index), place(int(pack.files[index][:-4]), int(pack.numbers[index]))
        assert found is not None
        np.testing.assert_array_equal(found.affine, expected.affine)
        np.testing.assert_array_equal(found.source_affine, expected.source_affine)
        assert (found.source_shape, found.number) == (expected.source_shape, expected.number)
        affine = pack.affine(index)
        assert affine is not None
        row, column, row_step, column_step = pack.placements[index]
        pixel, voxel = np.array([5.0, 9.0, 0, 1]), np.array([column + 5 * column_step, row + 9 * row_step, 0, 1])
        np.testing.assert_allclose(affine @ pixel, expected.affine @ voxel, atol=1e-9)


def test_the_packs_spacing_is_that_of_packed_pixels(packed: Callable[..., Pack]) -> None:
    row, column, step = packed().spacing or (0, 0, 0)
    assert (row, column) == (pytest.approx(0.8 * 20 / SIDE, rel=1e-3), pytest.approx(0.7 * SIDE / 11, rel=1e-3))
    assert step == pytest.approx(5.0)


def test_with_sixteen_bits_a_new_window_needs_no_new_pack(packed: Callable[..., Pack]) -> None:
    lung = {"_target_": "medsynth.data.intensity.NamedWindow", "window": "lung"}
    soft, wide = packed(bits=16), packed(bits=16, intensity=lung)
    assert soft.folder == wide.folder
    assert soft.content != wide.content
    for pack, codec in ((soft, Window(50.0, 400.0)), (wide, Window(-600.0, 1500.0))):
        low, high = codec.range()
        stored = pack.images[:4].astype(np.float64) / 8 - 2048
        expected = np.clip(2 * (stored - low) / (high - low) - 1, -1, 1)
        np.testing.assert_allclose(pack.tensor(range(4)).numpy(), expected, atol=3e-6 * 8192 / (high - low))
        assert pack.ranges() == [[low, high]]
    assert packed(bits=8).folder != packed(bits=8, intensity=lung).folder


def test_masks_and_conditions_come_with_the_batch(packed: Callable[..., Pack]) -> None:
    pack = packed("paired")
    assert pack.provides == {"image", "mask", "condition"}
    batch = batch_of(pack)
    assert batch["mask"].dtype == torch.uint8
    assert set(batch["mask"].unique().tolist()) <= {0, 1}
    assert batch["condition"].shape == batch["image"].shape
    bright, dark = batch["image"] > 0.99, batch["image"] < -0.99
    assert batch["condition"][bright].mean() > batch["condition"][dark].mean()


def test_a_mask_that_is_missing_somewhere_is_not_provided(packed: Callable[..., Pack]) -> None:
    pack = packed("unmasked")
    assert pack.provides == {"image"}
    assert pack.masks is not None
    assert {file for file, mask in zip(pack.files, pack.masks, strict=True) if UNKNOWN in mask} == {"2.txt"}


@pytest.mark.parametrize(("tricks", "lacking"), [("odd pairs", 0), ("even pairs", 1)])
def test_a_condition_that_is_missing_somewhere_is_not_provided_whichever_slice_is_first(
    tricks: str, lacking: int, packed: Callable[..., Pack]
) -> None:
    pack, whole = packed(tricks), packed("paired")
    assert pack.files[0] == "0.txt"
    assert pack.provides == {"image", "mask"}
    odd = np.array([int(file[:-4]) % 2 == lacking for file in pack.files])
    for mine, other in ((pack.condition_low, whole.condition_low), (pack.condition_high, whole.condition_high)):
        assert mine is not None
        assert other is not None
        assert np.isnan(mine[odd]).all()
        np.testing.assert_array_equal(mine[~odd], other[~odd])
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert report["without_condition"] == [f"{k}.txt" for k in range(lacking, 10, 2)]
    assert any("5 files have no condition, so no image is given one" in line for line in report["warnings"])
    assert "without_condition" not in json.loads((whole.folder / "prepare.json").read_text())


def test_masks_of_rejected_records_alone_are_no_masks(packed: Callable[..., Pack]) -> None:
    pack = packed("one mask")
    assert "0.txt" not in pack.files
    assert pack.masks is None
    assert pack.provides == {"image"}
    assert not (pack.folder / "masks.npy").exists()


def test_unpaired_sets_are_drawn_independently(packed: Callable[..., Pack]) -> None:
    pack = packed("unpaired")
    assert "condition" in pack.provides
    assert {int(file[:-4]) % 2 for file in pack.files[pack.splits["train"]]} == {0}
    assert {int(file[:-4]) % 2 for file in pack.files[pack.others["train"]]} == {1}
    batch = batch_of(pack)
    others = {image.numpy().tobytes() for image in pack.tensor(pack.others["train"])}
    assert all(image.numpy().tobytes() in others for image in batch["condition"])
    assert not any(image.numpy().tobytes() in others for image in batch["image"])


def test_degradation_makes_the_condition_from_what_the_batch_shows(packed: Callable[..., Pack]) -> None:
    batch = batch_of(packed(), flips="horizontal", degrade=LowResolution(factor=4))
    assert batch["condition"].shape == batch["image"].shape
    assert batch["condition"].diff(dim=-1).abs().mean() < 0.5 * batch["image"].diff(dim=-1).abs().mean()
    with pytest.raises(UserError, match="degrade=none"):
        batch_of(packed("paired"), degrade=LowResolution(factor=4))


AUGMENT = {"_target_": "medsynth.augment.affine.Affine", "rotation": 15.0, "zoom": 0.15, "shift": 0.1, "shear": 0.15}


def test_augmented_copies_follow_the_training_images_and_no_others(packed: Callable[..., Pack]) -> None:
    plain, pack = packed(), packed(augment={**AUGMENT, "copies": 3})
    train = plain.splits["train"]
    assert len(pack) == len(plain) + 3 * len(train)
    np.testing.assert_array_equal(pack.images[: len(plain)], plain.images)
    assert [split.tolist() for split in pack.splits.values()] == [split.tolist() for split in plain.splits.values()]
    drawn = pack.training("train")
    assert len(drawn) == 4 * len(train)
    assert set(pack.patients[drawn]) == set(plain.patients[train])
    assert np.bincount(pack.copies[drawn]).tolist() == [len(train)] * 4
    copy = int(np.flatnonzero(pack.copies == 2)[0])
    assert not (pack.images[copy] == pack.images[train[0]]).all()
    assert pack.files[copy] == pack.files[train[0]]
    assert pack.masks is not None
    assert set(np.unique(pack.masks[len(plain) :])) <= {0, 1}


def test_a_number_of_copies_that_cannot_be_is_named(packed: Callable[..., Pack]) -> None:
    with pytest.raises(UserError, match=r"augment\.copies=-1"):
        packed(augment={**AUGMENT, "copies": -1})


def test_balance_needs_labels(packed: Callable[..., Pack]) -> None:
    with pytest.raises(UserError, match="balance=oversample needs labels"):
        batch_of(packed(), balance="oversample")


def test_the_other_set_of_an_unpaired_dataset_gets_no_copies(packed: Callable[..., Pack]) -> None:
    pack = packed("unpaired", augment={**AUGMENT, "copies": 2})
    others = set(pack.files[pack.others["train"]])
    assert others
    assert not others & set(pack.files[pack.training("train")])
    assert (pack.copies > 0).sum() == 2 * len(pack.splits["train"])


def test_a_degradation_of_hounsfield_units_refuses_greys(packed: Callable[..., Pack]) -> None:
    assert batch_of(packed(), degrade=LowDose())["condition"].shape == (8, 1, SIDE, SIDE)
    grey = replace(packed(), intensity=Grey().config(), stored=Grey().config())
    with pytest.raises(UserError, match="degrade=LowDose needs values in hu"):
        batch_of(grey, degrade=LowDose())


def test_what_is_read_of_a_volume_moves_nobody(packed: Callable[..., Pack]) -> None:
    packs = packed(), packed("paired"), packed(bits=16)
    assert packs[0].folder.parent == packs[2].folder.parent
    homes = [{f: s for s, mine in p.splits.items() for f in p.files[mine]} for p in packs]
    assert homes[0] == homes[2]


def test_slices_of_air_join_no_patients(packed: Callable[..., Pack]) -> None:
    pack = packed("air")
    assert len(set(pack.patients)) == 10
    assert min(len(mine) for mine in pack.splits.values()) > 0


def test_patients_who_share_a_slice_are_one_and_it_is_said(packed: Callable[..., Pack]) -> None:
    pack = packed("shared")
    assert len(set(pack.patients)) == 9
    warnings = json.loads((pack.folder / "prepare.json").read_text())["warnings"]
    assert any("1 patients share an identical image" in warning for warning in warnings)
