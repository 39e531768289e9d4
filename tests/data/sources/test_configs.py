"""Every data=NAME of conf/data: composed by Hydra, its phantom written in the dataset's layout, read back and split."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from medsynth.cli import conf_dir
from medsynth.data.pack import Pack
from medsynth.data.phantoms import NAMES
from medsynth.data.prepare_pack import prepare_pack

READ = sorted(set(NAMES) - {"kidney_ct"})  # its phantom takes half a minute under the type checks of the tests
PAIRED = {"brats": ["data.condition=[t1,t2]"], "bids": ["data.condition=T2w", "data.masks=seg-manual"]}


def packed(name: str, *overrides: str) -> Pack:
    small = [f"data={name}", "data.phantom=true", "data.phantom_patients=4", "data.phantom_size=32"]
    with initialize_config_dir(str(conf_dir().absolute()), version_base="1.3"):
        config = compose("prepare", overrides=[*small, *overrides])
    return prepare_pack(config["data"], resolution=16, progress=lambda text: None)


def test_every_phantom_has_a_config_and_every_config_but_ones_own_folder_a_phantom() -> None:
    assert {path.stem for path in Path(conf_dir(), "data").glob("*.yaml")} - {"image_folder"} == set(NAMES)


@pytest.mark.parametrize("name", READ)
def test_a_phantom_is_read_whole_and_no_patient_stands_in_two_splits(name: str) -> None:
    pack = packed(name)
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert report["rejected"] == []
    homes: dict[str, set[str]] = {}
    for split, indices in (*pack.splits.items(), *pack.others.items()):
        for patient in pack.patients[indices]:
            homes.setdefault(patient, set()).add(split)
    assert len(homes) >= 4
    assert all(len(where) == 1 for where in homes.values())
    assert len(pack.splits["train"])
    assert len(pack.splits["test"])


@pytest.mark.parametrize(("name", "overrides"), PAIRED.items())
def test_a_translation_is_asked_for_by_naming_its_condition(name: str, overrides: list[str]) -> None:
    pack = packed(name, *overrides)
    assert pack.provides >= {"image", "mask", "condition"}
    assert pack.conditions is not None
    assert pack.conditions.shape == (len(pack.images), 2 if name == "brats" else 1, 16, 16)


@pytest.mark.parametrize("name", ["bids", "nifti"])
def test_masks_of_lesions_alone_are_read_by_naming_their_label(name: str) -> None:
    masks = [] if name == "nifti" else ["data.masks=seg-manual"]
    pack = packed(name, *masks, "data.slices=lesion", "data.lesion_labels=[1]", "data.organ_labels=[1,2]")
    assert pack.masks is not None
    assert all((mask == 1).any() for mask in pack.masks)


def test_several_modalities_are_as_many_channels() -> None:
    assert packed("brats", "data.modality=[t1,t1ce,t2,flair]").images.shape[1] == 4
