import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from medsynth.augment.ada import (
    ADA,
    BLIT,
    COLOUR,
    PARAMETERS,
    PARTS,
    POLICY,
    WARP,
    blit,
    colour,
    linear,
    overfitting,
    warp,
)
from medsynth.errors import UserError
from medsynth.latent import Draws

CONF = Path(__file__).parents[2] / "conf" / "critic_augment"
DRAWS, ROWS = Draws(3, 640, 8), torch.arange(8)
ABOVE, BELOW = torch.full((8,), 2.0), torch.full((8,), -2.0)


def images(channels: int = 1, size: int = 32, count: int = 8) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def with_mask(image: Tensor) -> Tensor:
    """The image and a last channel of -1 and 1: where its first channel is above 0."""
    return torch.cat([image, torch.where(image[:, :1] > 0, 1.0, -1.0)], dim=1)


def seen(image: Tensor, *policy: str, p: float = 1.0, masks: int = 0, name: str = "real") -> Tensor:
    return ADA(p=p, target=None, policy=policy)(image, DRAWS, ROWS, name=name, masks=masks)


def values(**changes: float) -> dict[str, Tensor]:
    """The identity for eight images, but for what is given."""
    still = {name: float(neutral) for name, (_, neutral) in PARAMETERS.items()} | changes
    return {name: torch.full((8,), float(value)) for name, value in still.items()}


# ------------------------------------------------------------------------------------------------ single parts


def test_neutral_values_change_nothing() -> None:
    image = images(3)
    assert torch.equal(blit(image, values(), turns=True), image)
    assert torch.equal(colour(image, values()), image)
    torch.testing.assert_close(warp(image, values(), masks=1), image)


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_flips_and_quarter_turns_are_those_of_torch(flip: int, quarter: int) -> None:
    image = images(2)
    wanted = torch.rot90(image.flip(-1) if flip else image, quarter, (-2, -1))
    assert torch.equal(blit(image, values(flip=flip, quarter_turn=quarter), turns=True), wanted)


def test_a_translation_moves_whole_pixels_after_the_turn_and_mirrors_the_border() -> None:
    image = images(1)
    turned = torch.rot90(image, 1, (-2, -1))
    moved = blit(image, values(quarter_turn=1, down=1 / 8, across=-1 / 16), turns=True)
    assert torch.equal(moved[:, :, 4:, :-2], turned[:, :, :-4, 2:])
    assert torch.equal(moved[:, :, :4, :-2], turned[:, :, :4, 2:].flip(2))


def test_a_warp_by_a_quarter_is_a_quarter_turn() -> None:
    image = images(2)
    turned = warp(image, values(cos_first=0, sin_first=1), masks=1)
    torch.testing.assert_close(turned, torch.rot90(image, -1, (-2, -1)), atol=1e-4, rtol=0)  # y points down


def test_a_shift_by_whole_pixels_is_a_translation() -> None:
    image = images(2)
    shift = {"shift_y": 1 / 8, "shift_x": -1 / 16}
    wanted = blit(image, values(down=1 / 8, across=-1 / 16), turns=False)
    torch.testing.assert_close(warp(image, values(**shift), masks=1), wanted, atol=1e-4, rtol=0)


def test_the_linear_part_is_the_inverse_of_scale_rotation_stretch_and_rotation() -> None:
    first, last, scale, stretch = 0.7, -1.1, 1.3, 0.8
    angles = {"cos_first": math.cos(first), "sin_first": math.sin(first)}
    angles |= {"cos_last": math.cos(last), "sin_last": math.sin(last)}
    found = linear(values(scale=scale, stretch=stretch, **angles))[0]

    def turn(angle: float) -> Tensor:
        return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    forth = turn(last) @ torch.diag(torch.tensor([stretch, 1 / stretch])) @ turn(first) * scale
    torch.testing.assert_close(found, torch.linalg.inv(forth))


def test_a_scale_above_one_enlarges() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(8, 1, 32, 32).contiguous()
    larger = warp(ramp, values(scale=2), masks=0)
    # PyTorch's cubic interpolation is not exact on a ramp.
    torch.testing.assert_close(larger[..., 2:-2], ramp[..., 2:-2] / 2, atol=0.005, rtol=0)


def test_brightness_comes_before_contrast() -> None:
    image = images(2)
    torch.testing.assert_close(colour(image, values(brightness=0.2, contrast=3)), 3 * (image + 0.2))


def test_luma_hue_and_saturation_act_about_the_axis_of_greys() -> None:
    image = images(3)
    grey = image.mean(dim=1, keepdim=True)
    flipped, pale = colour(image, values(luma_flip=1)), colour(image, values(saturation=0))
    torch.testing.assert_close(flipped, image - 2 * grey)
    torch.testing.assert_close(pale, grey.expand_as(image))
    third = {"cos_hue": math.cos(2 * math.pi / 3), "sin_hue": math.sin(2 * math.pi / 3)}
    torch.testing.assert_close(colour(image, values(**third)), image.roll(1, dims=1))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_luma_hue_and_saturation_leave_all_but_three_channels_alone(channels: int) -> None:
    image = images(channels)
    assert torch.equal(seen(image, "luma_flip", "hue", "saturation"), image)


def test_draws_have_the_papers_spreads() -> None:
    from medsynth.augment.ada import _table

    drawn, _, _ = _table(Draws(0, 0, 20_000), "real", PARTS)
    column = dict(zip(PARAMETERS, drawn.unbind(1), strict=True))
    for name, std in {"scale": 0.2, "stretch": 0.2, "contrast": 0.5, "saturation": 1.0}.items():
        assert column[name].log2().std().item() == pytest.approx(std, rel=0.03)
    for name, std in {"shift_x": 0.125, "shift_y": 0.125, "brightness": 0.2}.items():
        assert column[name].std().item() == pytest.approx(std, rel=0.03)
    for name in ("down", "across"):
        assert 0.124 < column[name].max() <= 0.125
        assert -0.125 <= column[name].min() < -0.124
    assert column["quarter_turn"].unique().tolist() == [0, 1, 2, 3]
    assert column["flip"].unique().tolist() == [0, 1]


# --------------------------------------------------------------------------------------------- as the critic's


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_with_probability_zero_not_a_bit_changes(channels: int) -> None:
    image = images(channels)
    assert torch.equal(seen(image, *PARTS, p=0.0, masks=channels % 2), image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("masks", [0, 1])
def test_any_channel_count_goes_through(channels: int, masks: int) -> None:
    result = seen(images(channels), *PARTS, masks=masks)
    assert result.shape == (8, channels, 32, 32)
    assert result.isfinite().all()


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("flip", "quarter_turn", "luma_flip")])
def test_each_part_acts_with_probability_p(part: str) -> None:
    count = 2000
    image = torch.linspace(-1, 1, 16).expand(count, 3, 16, 16) * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    image = image + torch.linspace(0, 0.5, 16)[:, None]
    augment = ADA(p=0.3, target=None, policy=[part])
    changed = augment(image, Draws(0, 0, count), torch.arange(count), name="real", masks=0) != image
    share = changed.flatten(1).any(dim=1).float().mean().item()
    whole = {"translation": 1 - 1 / 16}.get(part, 1.0)  # a shift of no pixel along both sides
    assert share == pytest.approx(0.3 * whole, abs=0.03)


def test_what_is_left_out_of_the_policy_never_acts() -> None:
    image = images(3)
    assert torch.equal(seen(image), image)
    for part in ("flip", "quarter_turn"):
        assert part not in POLICY
        assert not torch.equal(seen(image, part), image)


def test_a_part_that_is_left_out_changes_no_other() -> None:
    image = images(3)
    assert torch.equal(seen(seen(image, *BLIT), *COLOUR), seen(image, *BLIT, *COLOUR))
    assert torch.equal(seen(seen(image, "brightness"), "saturation"), seen(image, "brightness", "saturation"))


def test_equal_names_give_equal_transformations_and_others_others() -> None:
    image = images(3)
    assert torch.equal(seen(image, *PARTS), seen(image, *PARTS))
    assert not torch.equal(seen(image, *PARTS), seen(image, *PARTS, name="critic"))


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("policy", [BLIT, WARP, COLOUR, PARTS])
def test_what_an_image_gets_depends_on_its_row_alone(policy: tuple[str, ...], p: float) -> None:
    image = with_mask(images(3))
    augment = ADA(p=p, target=None, policy=policy)
    whole = augment(image, DRAWS, ROWS, name="real", masks=1)
    for rows in (ROWS[:4], ROWS[4:], ROWS[[6]]):
        assert torch.equal(augment(image[rows], DRAWS, rows, name="real", masks=1), whole[rows])


def test_colour_never_touches_a_mask() -> None:
    image = with_mask(images(3))
    coloured = seen(image, *COLOUR, masks=1)
    assert torch.equal(coloured[:, -1], image[:, -1])
    assert torch.equal(coloured[:, :-1], seen(image[:, :-1], *COLOUR))
    assert not torch.equal(coloured[:, :-1], image[:, :-1])


def test_a_mask_moves_with_the_image() -> None:
    image = with_mask(images(1))
    moved = seen(image, *BLIT, masks=1)
    assert not torch.equal(moved, image)
    assert torch.equal(torch.where(moved[:, :1] > 0, 1.0, -1.0), moved[:, 1:])
    blocks = image[:, 1:, ::8, ::8].repeat_interleave(8, -1).repeat_interleave(8, -2)
    warped = seen(torch.cat([blocks, blocks], dim=1), *WARP, masks=1)
    assert warped[:, 1].abs().max() <= 1
    assert (warped[:, 0] - warped[:, 1]).abs().mean() < 0.1  # cubic and linear of one picture
    assert (warped - torch.cat([blocks, blocks], dim=1)).abs().mean() > 0.5


@pytest.mark.parametrize("part", [*WARP, *COLOUR])
def test_a_level_of_half_the_size_gets_the_same_fractions(part: str) -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    fine = torch.stack([(x / 9).sin(), (y / 12).cos(), ((x + y) / 15).sin()]).expand(8, 3, 64, 64) / 2
    halved = torch.nn.functional.avg_pool2d
    assert (seen(halved(fine, 2), part) - halved(seen(fine, part), 2)).abs().max() < 0.02


def test_gradients_reach_the_images() -> None:
    image = images(3).requires_grad_()
    seen(image, *PARTS, masks=1).square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert (image.grad != 0).float().mean() > 0.5


def test_half_precision_comes_out_as_float32() -> None:
    assert seen(images(3).bfloat16(), *PARTS).dtype == torch.float32


# -------------------------------------------------------------------------------------------------- adaptation


def test_overfitting_is_the_mean_sign_of_the_real_logits() -> None:
    real = torch.tensor([3.0, 1.0, -1.0, 5.0])
    assert overfitting(real, -real, zero="logit") == 0.5
    assert overfitting(real, real, zero="midpoint") == 0  # the middle is 2
    assert overfitting(real, real - 20, zero="midpoint") == 1


@pytest.mark.parametrize("constant", [-1000.0, 0.0, 50.0])
def test_the_midpoint_does_not_see_a_constant_that_a_wasserstein_critic_adds(constant: float) -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-1.0, 1.0, -2.0])
    assert overfitting(real + constant, fake + constant, zero="midpoint") == pytest.approx(1 / 3)


@pytest.mark.parametrize("zero", ["logit", "midpoint"])
def test_p_rises_by_the_images_of_four_batches_when_all_real_logits_are_above_zero(zero: str) -> None:
    augment = ADA(zero=zero)
    for step in range(12):
        assert augment.p.item() == pytest.approx(step // 4 * 4 * 64 / 500_000)
        augment.adapt(ABOVE, BELOW, batch_size=64)
    for _ in range(4):
        augment.adapt(BELOW, ABOVE, batch_size=64)
    assert augment.p.item() == pytest.approx(2 * 4 * 64 / 500_000)


def test_p_moves_by_the_mean_over_four_batches() -> None:
    augment = ADA(p=0.5, target=0.4, zero="logit", adapt_images=1000)
    for real in (ABOVE, ABOVE, ABOVE, BELOW):  # r = 0.5
        augment.adapt(real, BELOW, batch_size=8)
    assert augment.p.item() == pytest.approx(0.5 + 4 * 8 / 1000)


def test_p_stays_a_probability() -> None:
    for start, real, fake in ((0.0, BELOW, ABOVE), (1.0, ABOVE, BELOW)):
        augment = ADA(p=start, adapt_images=10)
        for _ in range(8):
            augment.adapt(real, fake, batch_size=8)
        assert augment.p.item() == start


def test_without_a_target_p_is_fixed() -> None:
    augment = ADA(p=0.2, target=None)
    for _ in range(8):
        augment.adapt(ABOVE, BELOW, batch_size=8)
    assert augment.p.item() == pytest.approx(0.2)


def test_a_resumed_augmentation_goes_on_where_it_was() -> None:
    whole, part = ADA(adapt_images=1000), ADA(adapt_images=1000)
    batches = [ABOVE, ABOVE, BELOW, ABOVE, ABOVE, ABOVE, ABOVE, ABOVE]
    for real in batches:
        whole.adapt(real, -real, batch_size=8)
    for real in batches[:6]:
        part.adapt(real, -real, batch_size=8)
    state = part.state()
    resumed = ADA(adapt_images=1000)
    resumed.load_state(state)
    part.adapt(ABOVE, BELOW, batch_size=8)  # what was saved does not move with it
    for real in batches[6:]:
        resumed.adapt(real, -real, batch_size=8)
    assert resumed.state() == whole.state()
    assert whole.p > 0


def test_signs_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(parts: list[Tensor], mine: Tensor) -> None:
        for part, logits in zip(parts, (mine, mine - 4), strict=True):
            part.copy_(logits)

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather", gather)
    augment = ADA(zero="logit", every=2)
    augment.adapt(torch.tensor([1.0, 2.0, 9.0, 9.0]).bfloat16(), BELOW, batch_size=8)  # and -3, -2, 5, 5
    assert augment.state()["overfitting"] == pytest.approx(0.5 / 2)


# ---------------------------------------------------------------------------------------------- configuration


def test_the_yaml_file_holds_the_papers_numbers() -> None:
    config: Any = OmegaConf.load(CONF / "ada.yaml")
    built = instantiate(config, _convert_="all")
    assert isinstance(built, ADA)
    assert (built.p, built.target, built.adapt_images, built.every) == (0, 0.6, 500_000, 4)
    assert (built.policy, built.zero) == (POLICY, "midpoint")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": 1.5}, r"critic_augment.p=1.5 must be a probability"),
        ({"target": 2.0}, r"critic_augment.target=2.0 must be between -1 and 1"),
        ({"zero": "mean"}, r"critic_augment.zero=mean must be one of midpoint, logit"),
        ({"every": 0}, r"critic_augment.every=0 must be a whole number"),
        ({"adapt_images": 0}, r"critic_augment.adapt_images=0 must be a whole number"),
        ({"policy": ["rotate"]}, r"critic_augment.policy holds rotate; it is a list of flip, quarter_turn"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ADA(**changes)
