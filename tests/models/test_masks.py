"""Joint models of image and mask: critic_augment recolours their images and leaves their masks as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_files import nifti, volumes
from test_contract import MODELS, Compose, Run, batch, begun
from torch import Tensor

from medsynth.augment.diffaugment import DiffAugment

Seen = list[tuple[Tensor, Tensor]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Every picture that goes through DiffAugment in this test, before and after."""
    pairs: Seen = []
    original = DiffAugment.transformed

    def watched(self: DiffAugment, image: Tensor, *rest: Any, **names: Any) -> Tensor:
        changed = original(self, image, *rest, **names)
        pairs.append((image, changed))
        return changed

    monkeypatch.setattr(DiffAugment, "transformed", watched)
    return pairs


def assert_masks_alone_are_as_they_were(seen: Seen) -> None:
    assert seen
    for before, after in seen:
        assert not torch.equal(after[:, :1], before[:, :1])
        assert torch.equal(after[:, 1:], before[:, 1:])


@pytest.mark.parametrize("name", sorted({*MODELS} - {"vae"}))  # which has no critic
def test_colours_leave_the_mask_channel_of_every_model_alone(name: str, compose: Compose, seen: Seen):
    augment = DiffAugment(policy=["color"])
    model = begun(compose, name, channels=2, critic_augment=augment, mask_channels=1)
    for phase in model.phases():
        phase.loss(batch(channels=2))
    assert_masks_alone_are_as_they_were(seen)


def test_a_run_on_images_and_masks_says_which_channel_is_the_mask(run: Run, tmp_path: Path, seen: Seen):
    root = volumes(tmp_path / "volumes", 4)
    for path in sorted(root.iterdir()):
        nifti(root / path.name.replace(".", "_seg.", 1), np.tri(16, dtype=np.uint8)[:, :, None].repeat(5, axis=2))
    data = ["data=nifti", f"data.root={root}", "data.mask_channel=true"]
    run("run", *data, "critic_augment=diffaugment", "critic_augment.policy=[color]", "images=8")
    assert_masks_alone_are_as_they_were(seen)
    assert any(set(before[:, 1].unique().tolist()) == {-1, 1} for before, _ in seen)  # of real images
