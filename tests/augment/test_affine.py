from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import grid_sample

from medsynth.augment.affine import Affine, AffineParameters, Views, affine, flip
from medsynth.latent import Draws

CONF = Path(__file__).parents[2] / "conf" / "augment"


def parameters(count: int = 1, **changes: float) -> AffineParameters:
    """The identity, but for what is given."""
    values = {"rotation": 0, "zoom_x": 1, "zoom_y": 1, "shift_x": 0, "shift_y": 0, "shear": 0} | changes
    return AffineParameters(**{name: torch.full((count,), float(value)) for name, value in values.items()})


def moved(image: Tensor, **changes: float) -> Tensor:
    return affine(image, parameters(len(image), **changes).matrix(width=image.shape[-1], height=image.shape[-2]))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_no_rotation_shift_zoom_and_shear_change_nothing(image: Tensor) -> None:
    torch.testing.assert_close(moved(image), image)


def test_a_quarter_turn_is_rot90(image: Tensor) -> None:
    torch.testing.assert_close(moved(image, rotation=90), torch.rot90(image, 1, (-2, -1)))


def test_a_shift_is_a_fraction_and_repeats_the_border(image: Tensor) -> None:
    right = moved(image, shift_x=-0.25)
    torch.testing.assert_close(right[..., 2:], image[..., :-2])
    torch.testing.assert_close(right[..., :2], image[..., :1].expand(-1, -1, -1, 2))
    torch.testing.assert_close(moved(image, shift_y=0.25)[..., :-2, :], image[..., 2:, :])


def test_a_zoom_below_one_enlarges_along_its_axis() -> None:
    ramp = torch.linspace(-1, 1, 9).expand(1, 1, 9, 9).contiguous()
    torch.testing.assert_close(moved(ramp, zoom_x=0.5), ramp / 2)
    torch.testing.assert_close(moved(ramp, zoom_y=0.5), ramp)


def test_shear_slants_rows_by_its_sine() -> None:
    row = torch.arange(9.0).expand(1, 1, 9, 9).contiguous()
    sheared = moved(row, shear=30)[0, 0]
    torch.testing.assert_close(sheared[4], row[0, 0, 4])
    assert (sheared[6, 4] - sheared[4, 4]).item() == pytest.approx(-2 * 0.5, abs=1e-4)


def test_a_rotation_of_an_oblong_image_keeps_pixels_square() -> None:
    image = torch.zeros(1, 1, 9, 33)
    image[..., 4, 16:20] = 1  # to the right of the centre
    turned = moved(image, rotation=90)
    assert turned[0, 0, 1:5, 16].sum() == pytest.approx(4, abs=1e-4)  # now above it, as long as before


def test_parameters_stay_in_their_ranges_and_fill_them() -> None:
    drawn = Affine(rotation=15.0, zoom=0.15, shift=0.1, shear=0.3).parameters(Draws(0, 0, 4000))
    for values, low, high in (
        (drawn.rotation, -15, 15),
        (drawn.zoom_x, 0.85, 1.15),
        (drawn.zoom_y, 0.85, 1.15),
        (drawn.shift_x, -0.1, 0.1),
        (drawn.shift_y, -0.1, 0.1),
        (drawn.shear, -0.3, 0.3),
    ):
        span = high - low
        assert low <= values.min() < low + 0.01 * span
        assert high - 0.01 * span < values.max() <= high


def test_what_an_image_gets_depends_on_its_row_alone() -> None:
    augment = Affine(rotation=30.0, zoom=0.15, shift=0.2, shear=0.15)
    images = torch.rand(13, 1, 16, 16)
    draws = Draws(5, 640, 13)
    whole = augment({"image": images}, draws, torch.arange(13))["image"]
    for rows in (torch.arange(5), torch.arange(5, 13), torch.tensor([11])):
        assert torch.equal(augment({"image": images[rows]}, draws, rows)["image"], whole[rows])
    assert not torch.equal(augment({"image": images}, Draws(5, 653, 13), torch.arange(13))["image"], whole)


def test_values_stay_within_those_of_the_image(image: Tensor) -> None:
    augment = Affine(rotation=30.0, zoom=0.15, shift=0.2, shear=0.15)
    augmented = augment({"image": image}, Draws(0, 0, 2), torch.arange(2))["image"]
    assert augmented.min() >= image.min()
    assert augmented.max() <= image.max()


@pytest.mark.parametrize(("kind", "axes"), [("horizontal", [(-1,)]), ("vertical", [(-2,)]), ("both", [(-1,), (-2,)])])
def test_flips_mirror_about_half_of_the_images(kind: str, axes: list[tuple[int]]) -> None:
    images = torch.rand(400, 1, 4, 4)
    flipped = flip({"image": images}, Draws(0, 0, 400), torch.arange(400), kind=kind)["image"]
    kept = (flipped == images).flatten(1).all(1).float().mean()
    assert kept == pytest.approx(0.5 ** len(axes), abs=0.1)
    turned = images.flip(axes[0])
    assert ((flipped == images) | (flipped == turned) | (len(axes) > 1)).all()


def test_no_flip_is_no_flip(image: Tensor) -> None:
    assert flip({"image": image}, Draws(0, 0, 2), torch.arange(2), kind="none")["image"] is image


def views_of(labels: Tensor) -> Views:
    """An image and a condition that show the labels, and the labels."""
    shown = labels.float() / 100
    return {"image": shown, "mask": labels, "condition": torch.cat([shown, -shown], 1)}


def blocks(count: int) -> Tensor:
    """Masks (count, 1, 32, 32) of the labels 0, 3, 40 and 255 in blocks of 8 pixels."""
    chosen = torch.randint(4, (count, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 40, 255], dtype=torch.uint8)[chosen]
    return labels.repeat_interleave(8, -1).repeat_interleave(8, -2)


def test_labels_stay_labels_and_follow_the_image() -> None:
    views = views_of(blocks(8))
    moved = Affine(rotation=30.0, zoom=0.15, shift=0.2, shear=5.0)(views, Draws(0, 0, 8), torch.arange(8))
    assert moved["mask"].dtype == torch.uint8
    assert set(moved["mask"].unique().tolist()) <= {0, 3, 40, 255}
    assert not torch.equal(moved["mask"], views["mask"])
    shown = (moved["image"] * 100 - moved["mask"]).abs()
    assert (shown < 0.5).float().mean() > 0.7  # they differ where bilinear values mix two blocks, and only there
    inner = (shown[..., 1:-1, 1:-1] > 0.5).float().mean()
    assert inner < 0.3


def test_images_and_conditions_get_one_transform() -> None:
    moved = Affine(rotation=30.0, zoom=0.15, shift=0.2, shear=5.0)(views_of(blocks(8)), Draws(0, 0, 8), torch.arange(8))
    assert torch.equal(moved["condition"][:, :1], moved["image"])
    assert torch.equal(moved["condition"][:, 1:], -moved["image"])


def test_a_mask_repeats_its_border_outside() -> None:
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., 0] = 7
    assert (moved(mask, shift_x=-0.25)[..., :2] == 7).all()


def test_flips_mirror_all_views_of_a_sample() -> None:
    views = views_of(blocks(40))
    flipped = flip(views, Draws(0, 0, 40), torch.arange(40), kind="both")
    assert not torch.equal(flipped["mask"], views["mask"])
    assert torch.equal(flipped["image"], flipped["mask"].float() / 100)
    assert torch.equal(flipped["condition"][:, 1:], -flipped["image"])
    assert flipped["mask"].dtype == torch.uint8


@pytest.mark.parametrize("size", [16, 64])
def test_the_grid_gives_what_the_plain_formula_gives_bit_for_bit(size: int) -> None:
    image = torch.rand(13, 2, size, size, generator=torch.Generator().manual_seed(0))
    matrix = Affine(30.0, 0.15, 0.2, 5.0).parameters(Draws(1, 0, 13)).matrix(width=size, height=size)
    x = torch.arange(size) - (size - 1) / 2
    m = matrix[:, :, :, None, None]
    grid = torch.stack([(m[:, k, 0] * x + m[:, k, 1] * x[:, None] + m[:, k, 2]) * (2 / size) for k in range(2)], -1)
    plain = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    assert torch.equal(affine(image, matrix), plain)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none", None), ("affine_mild", Affine(15.0, 0.15, 0.1, 0.15)), ("affine_strong", Affine(30.0, 0.15, 0.2, 0.15))],
)
def test_the_yaml_files_hold_the_published_ranges(name: str, expected: Affine | None) -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert config.pop("copies", 0) == 0
    assert instantiate(config) == expected
