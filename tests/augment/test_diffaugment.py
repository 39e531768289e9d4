from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from medsynth.augment.diffaugment import POLICY, DiffAugment, colour, cutout, translation
from medsynth.errors import UserError
from medsynth.latent import Draws

CONF = Path(__file__).parents[2] / "conf" / "critic_augment"
DRAWS, ROWS = Draws(3, 640, 8), torch.arange(8)


def images(channels: int = 1, size: int = 32, count: int = 8) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def with_mask(image: Tensor) -> Tensor:
    """The image and a last channel of -1 and 1: where its first channel is above 0."""
    return torch.cat([image, torch.where(image[:, :1] > 0, 1.0, -1.0)], dim=1)


def seen(image: Tensor, *policy: str, masks: int = 0, name: str = "real") -> Tensor:
    return DiffAugment(policy=policy)(image, DRAWS, ROWS, name=name, masks=masks)


def test_the_middle_of_every_colour_range_changes_nothing() -> None:
    image = images(3)
    torch.testing.assert_close(colour(image, torch.full((8, 3), 0.5)), image)


def test_colours_are_those_of_the_paper() -> None:
    image, half = images(3), torch.full((8, 1), 0.5)
    brighter = colour(image, torch.cat([torch.ones(8, 1), half, half], dim=1))
    torch.testing.assert_close(brighter, image + 0.5)
    grey = colour(image, torch.cat([half, torch.zeros(8, 1), half], dim=1))
    torch.testing.assert_close(grey, image.mean(dim=1, keepdim=True).expand_as(image))
    flatter = colour(image, torch.cat([half, half, torch.zeros(8, 1)], dim=1))
    torch.testing.assert_close(flatter.mean(dim=(1, 2, 3)), image.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(flatter.std(dim=(1, 2, 3)), image.std(dim=(1, 2, 3)) / 2)


def test_one_channel_has_no_saturation() -> None:
    image, half = images(1), torch.full((8, 1), 0.5)
    places = [torch.cat([half, torch.full((8, 1), at), half], dim=1) for at in (0.0, 1.0)]
    assert torch.equal(colour(image, places[0]), colour(image, places[1]))


def test_a_translation_moves_whole_pixels_down_and_right_and_fills_with_what_is_outside() -> None:
    image = with_mask(images(1))
    moved = translation(image, torch.tensor([[1 / 8, -1 / 16]]).expand(8, 2), torch.tensor([0.0, -1.0]))
    assert torch.equal(moved[:, :, 4:, :-2], image[:, :, :-4, 2:])
    for border in (moved[:, :, :4], moved[:, :, :, -2:]):
        assert (border[:, 0] == 0).all()
        assert (border[:, 1] == -1).all()


def test_translations_fill_their_range() -> None:
    shown = torch.zeros(4000, 1, 16, 16)
    shown[..., 8, 8] = 1
    moved = DiffAugment(policy=["translation"])(shown, Draws(0, 0, 4000), torch.arange(4000), name="real", masks=0)
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in range(6, 11) for x in range(6, 11)}


def test_cutout_takes_half_of_each_side_wherever_it_fits() -> None:
    image = with_mask(images(1) + 3)
    cut = cutout(image, torch.tensor([[0.5, 0.3]]).expand(8, 2), torch.tensor([0.0, -1.0]))
    hole = cut[:, :1] == 0
    assert (hole.sum(dim=(2, 3)) == 16 * 16).all()
    assert ((cut[:, 1:] == -1) == hole).all()
    assert torch.equal(torch.where(hole, image, cut), image)
    corner = cutout(image, torch.zeros(8, 2), torch.tensor([0.0, -1.0]))
    assert ((corner == image).sum(dim=(2, 3)) == 32 * 32 - 8 * 8).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("masks", [0, 1])
def test_any_channel_count_goes_through(channels: int, masks: int) -> None:
    result = seen(images(channels), *POLICY, masks=masks)
    assert result.shape == (8, channels, 32, 32)
    assert result.isfinite().all()


def test_an_empty_policy_is_the_identity() -> None:
    image = images(3)
    assert torch.equal(seen(image), image)


def test_colour_never_touches_a_mask() -> None:
    image = with_mask(images(3))
    coloured = seen(image, "color", masks=1)
    assert torch.equal(coloured[:, -1], image[:, -1])
    assert torch.equal(coloured[:, :-1], seen(image[:, :-1].contiguous(), "color"))
    assert not torch.equal(coloured[:, :-1], image[:, :-1])


def test_a_mask_moves_with_the_image_and_keeps_two_values() -> None:
    image = with_mask(images(1))
    result = seen(image, *POLICY, masks=1)
    assert set(result[:, 1].unique().tolist()) == {-1.0, 1.0}
    moved = seen(image, "translation", "cutout", masks=1)
    assert torch.equal(torch.where(moved[:, :1] > 0, 1.0, -1.0), moved[:, 1:])
    assert not torch.equal(moved, image)


@pytest.mark.parametrize("policy", [*([word] for word in POLICY), list(POLICY)])
def test_what_an_image_gets_depends_on_its_row_alone(policy: list[str]) -> None:
    image = with_mask(images(3))
    augment = DiffAugment(policy=policy)
    whole = augment(image, DRAWS, ROWS, name="real", masks=1)
    for rows in (ROWS[:4], ROWS[4:], ROWS[[6]]):
        assert torch.equal(augment(image[rows], DRAWS, rows, name="real", masks=1), whole[rows])


def test_equal_names_give_equal_transformations_and_others_others() -> None:
    image = images(3)
    assert torch.equal(seen(image, *POLICY), seen(image, *POLICY))
    assert not torch.equal(seen(image, *POLICY), seen(image, *POLICY, name="critic"))


def test_a_part_that_is_left_out_changes_no_other() -> None:
    image = images(1)
    step = seen(seen(image, "color"), "translation")
    assert torch.equal(step, seen(image, "translation", "color"))


def test_a_level_of_half_the_size_gets_the_same_fractions() -> None:
    coarse = images(1, size=16)
    fine = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
    for word in ("color", "cutout"):
        small = seen(coarse, word)
        large = torch.nn.functional.avg_pool2d(seen(fine, word), 2)
        near = ((small - large).abs() < 1e-5).float().mean()
        assert near > (0.999 if word == "color" else 0.9)  # a hole's border may lie within a coarse pixel
    ramp = torch.linspace(1, 2, 64).expand(8, 1, 64, 64)
    large, small = (seen(level, "translation")[:, 0] for level in (ramp, ramp[..., 1::2, 1::2]))
    inner = (large[:, 25:40:2, 25:40:2] - small[:, 12:20, 12:20]).abs()
    assert inner.max() <= 1.5 / 63 + 1e-6  # half a coarse pixel and half a fine one


def test_gradients_reach_every_pixel_that_is_shown() -> None:
    image = images(2).requires_grad_()
    seen(image, "color", "translation").sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).float().mean() > 0.7


def test_a_second_derivative_is_there_for_penalties() -> None:
    image = images(1, size=16).requires_grad_()
    (slope,) = torch.autograd.grad(seen(image, *POLICY).square().sum(), image, create_graph=True)
    slope.square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.any()


def test_half_precision_comes_out_as_float32() -> None:
    assert seen(images().bfloat16(), *POLICY).dtype == torch.float32


def test_nothing_moves_it_and_it_has_no_state() -> None:
    augment = DiffAugment()
    augment.adapt(torch.ones(8), -torch.ones(8), batch_size=8)
    assert augment.state() == {}
    augment.load_state({})


def test_the_yaml_file_holds_the_papers_policy() -> None:
    config: Any = OmegaConf.load(CONF / "diffaugment.yaml")
    built = instantiate(config, _convert_="all")
    assert isinstance(built, DiffAugment)
    assert built.policy == POLICY
    assert built.instance_noise is not None


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"policy holds colour; it is a list of color, translation, cutout"):
        DiffAugment(policy=["colour", "cutout"])
