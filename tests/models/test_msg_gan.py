"""The GAN box on images at all scales: real and fake ones go the same way to the critic."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medsynth.augment.ada import ADA
from medsynth.augment.critic_augment import CriticAugment, Fixed
from medsynth.augment.diffaugment import DiffAugment
from medsynth.augment.instance_noise import InstanceNoise
from medsynth.batch import Batch
from medsynth.errors import UserError
from medsynth.generate import generate
from medsynth.losses import NonSaturating
from medsynth.models.gan import GAN
from medsynth.networks.multi_scale import MultiScaleGenerator, scales
from medsynth.synthesis import Image, Training

BATCH = Batch(image=torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, row=torch.arange(4))


class Copying(MultiScaleGenerator):
    """Makes the real images of BATCH, whatever the latents."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        return scales(BATCH["image"] * self.weight)


class Curved(nn.Module):
    """Half the sum of squares of the finest image, and the sum of the coarsest; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.shown: list[tuple[Tensor, ...]] = []

    def features(self, image: Image) -> Tensor:
        assert isinstance(image, tuple)
        self.shown.append(image)
        squares, sums = image[-1].square().flatten(1).sum(1) / 2, image[0].flatten(1).sum(1)
        return ((squares + sums) * self.weight)[:, None]

    def forward(self, image: Image) -> Tensor:
        return self.features(image)[:, 0]


class Alike(Fixed):
    """Changes real and fake images by the same draws."""

    def __init__(self, augment: CriticAugment) -> None:
        super().__init__(instance_noise=augment.instance_noise)
        self.augment = augment

    def transformed(self, image: Tensor, draws: Any, rows: Tensor, *, name: str, masks: int) -> Tensor:
        return self.augment.transformed(image, draws, rows, name="all", masks=masks)

    def noisy(self, image: Tensor, draws: Any, rows: Tensor, *, name: str, side: int | None = None) -> Tensor:
        return super().noisy(image, draws, rows, name="all", side=side)


AUGMENTS = {
    "none": None,
    "ada": Alike(ADA(p=1.0, target=None)),
    "diffaugment": Alike(DiffAugment()),
    "noise": Alike(DiffAugment(policy=[], instance_noise=InstanceNoise(std=0.5, images=100))),
}


def begun(augment: str, *, r1_weight: float = 0.0, feature_matching_weight: float = 0.0) -> tuple[GAN, Curved]:
    weights: Any = {"r1_weight": r1_weight, "feature_matching_weight": feature_matching_weight}
    critic = Curved()
    model = GAN(generator=Copying(), critic=critic, loss=NonSaturating(), latent_dim=2, **weights)
    optimizers = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}
    model.begin(Training(batch_size=4, seed=0, optimizers=optimizers, critic_augment=AUGMENTS[augment]))
    return model, critic


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_fake_that_is_the_real_image_looks_the_same_to_the_critic_at_every_scale(augment: str):
    model, critic = begun(augment)
    model.critic_loss(BATCH)
    real, fake = critic.shown
    assert [level.shape[-1] for level in real] == [4, 8, 16]
    assert all(map(torch.equal, real, fake))
    changed = [not torch.equal(seen, level) for seen, level in zip(real, scales(BATCH["image"]), strict=True)]
    assert changed == [augment != "none"] * 3


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_generator_that_makes_the_real_images_has_nothing_to_match(augment: str):
    model, _ = begun(augment, feature_matching_weight=1.0)
    assert model.generator_loss(BATCH)["feature_matching"] == 0
    with torch.no_grad():
        for weight in model.weights("generator"):
            weight.fill_(0.5)
    assert model.generator_loss(BATCH)["feature_matching"] > 0


@pytest.mark.parametrize("augment", AUGMENTS)
def test_r1_is_by_the_finest_image_that_the_critic_sees_and_through_its_scales(augment: str):
    model, critic = begun(augment, r1_weight=2.0)
    penalty = model.r1(BATCH)["r1"]
    seen = model.see(scales(BATCH["image"]), BATCH["row"], "real")
    slope = seen[-1] + 1 / 16  # of 16 fine pixels to a coarse one
    assert penalty.item() == pytest.approx(slope.square().sum().item() / 4, rel=1e-5)
    penalty.backward()
    assert critic.weight.grad is not None
    assert critic.weight.grad.item() == pytest.approx(2 * penalty.item(), rel=1e-5)


def test_truncation_which_would_change_nothing_is_refused(run: Callable[..., dict[str, Any]], tmp_path: Path):
    run("run", "images=8", model="msg_gan")
    asked = {"run": str(tmp_path / "run"), "checkpoint": "last", "n": 2, "first": 0, "seed": 0, "batch_size": 2}
    asked |= {"format": "png", "bits": 8, "out": str(tmp_path / "out"), "truncation_mode": "psi"}
    words = r"truncation=0.5 with truncation_mode=psi changes nothing here: .* brings latents to one length"
    with pytest.raises(UserError, match=words):
        generate({**asked, "truncation": 0.5})
    assert not (tmp_path / "out").exists()
    assert generate({**asked, "truncation": 0.5, "truncation_mode": "resample"})["n"] == 2
