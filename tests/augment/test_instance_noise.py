from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medsynth.augment.critic_augment import NoiseAlone
from medsynth.augment.diffaugment import DiffAugment
from medsynth.augment.instance_noise import InstanceNoise
from medsynth.errors import UserError
from medsynth.latent import Draws

CONF = Path(__file__).parents[2] / "conf" / "critic_augment"
IMAGES = torch.rand(8, 2, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
ROWS = torch.arange(8)


def built(name: str, **changes: Any) -> Any:
    """What the lines of a YAML file of the group build."""
    config: Any = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), changes)
    return instantiate(config, _convert_="all")


def test_it_falls_to_nothing_along_a_line() -> None:
    noise = InstanceNoise(std=0.4, images=1000)
    assert [noise.std_at(seen) for seen in (0, 250, 1000, 5000)] == pytest.approx([0.4, 0.3, 0, 0])


def test_noise_that_has_fallen_to_nothing_changes_nothing() -> None:
    for noise in (InstanceNoise(std=0.4, images=1000), InstanceNoise(std=0.0, images=5000)):
        assert noise(IMAGES, Draws(0, 1000, 8), ROWS, name="real") is IMAGES


def test_it_is_gaussian_of_the_standard_deviation_on_every_channel() -> None:
    noise = InstanceNoise(std=0.4, images=1000)(IMAGES, Draws(0, 500, 8), ROWS, name="real") - IMAGES
    assert noise.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0], abs=0.01)
    assert noise.std(dim=(0, 2, 3)).tolist() == pytest.approx([0.2, 0.2], rel=0.03)
    assert (noise.abs() < 0.2).float().mean().item() == pytest.approx(0.683, abs=0.01)


def test_it_depends_on_seed_clock_name_and_row_alone() -> None:
    noise = InstanceNoise(std=0.4, images=1000)
    whole = noise(IMAGES, Draws(0, 8, 8), ROWS, name="real")
    for rows in (ROWS[:4], ROWS[4:], ROWS[[6]]):
        assert torch.equal(noise(IMAGES[rows], Draws(0, 8, 8), rows, name="real"), whole[rows])
    for draws, name in ((Draws(1, 8, 8), "real"), (Draws(0, 16, 8), "real"), (Draws(0, 8, 8), "fake")):
        assert not torch.equal(noise(IMAGES, draws, ROWS, name=name), whole)


def test_the_levels_of_a_pyramid_have_the_average_of_the_finest_levels_noise() -> None:
    noise = InstanceNoise(std=1.0, images=1000)
    fine = noise(torch.zeros(1, 1, 32, 32), Draws(0, 0, 1), ROWS[:1], name="real")
    coarse = noise(torch.zeros(1, 1, 8, 8), Draws(0, 0, 1), ROWS[:1], name="real", side=32)
    assert torch.allclose(coarse, torch.nn.functional.avg_pool2d(fine, 4), atol=1e-6)
    assert coarse.std().item() == pytest.approx(1 / 4, rel=0.2)


def test_none_is_none_until_there_is_noise() -> None:
    assert built("none") is None
    alone = built("none", instance_noise={"std": 0.2})
    assert isinstance(alone, NoiseAlone)
    seen = alone(IMAGES, Draws(0, 0, 8), ROWS, name="real", masks=1)
    assert torch.equal(seen, InstanceNoise(std=0.2, images=100_000)(IMAGES, Draws(0, 0, 8), ROWS, name="real"))


def test_noise_stands_on_top_of_an_augmentation() -> None:
    noise = InstanceNoise(std=0.2, images=1000)
    draws = Draws(0, 0, 8)
    plain = DiffAugment()(IMAGES, draws, ROWS, name="real", masks=0)
    noisy = DiffAugment(instance_noise=noise)(IMAGES, draws, ROWS, name="real", masks=0)
    assert torch.equal(noisy, noise(plain, draws, ROWS, name="real"))


@pytest.mark.parametrize("name", ["none", "diffaugment", "ada"])
def test_every_choice_has_the_knob_and_it_is_off(name: str) -> None:
    config: Any = OmegaConf.load(CONF / f"{name}.yaml")
    assert instantiate(config.instance_noise) == InstanceNoise(std=0.0, images=100_000)
    assert built(name, instance_noise={"std": 0.1}).instance_noise == InstanceNoise(std=0.1, images=100_000)


@pytest.mark.parametrize(("std", "images", "named"), [(-0.1, 10, "std=-0.1"), (0.1, 0, "images=0")])
def test_a_wrong_number_is_refused(std: float, images: int, named: str) -> None:
    with pytest.raises(UserError, match=f"critic_augment.instance_noise.{named}"):
        InstanceNoise(std=std, images=images)
