from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from medsynth.augment.affine import Affine, AffineParameters, affine, flip
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
    whole = augment(images, draws, torch.arange(13))
    for rows in (torch.arange(5), torch.arange(5, 13), torch.tensor([11])):
        assert torch.equal(augment(images[rows], draws, rows), whole[rows])
    assert not torch.equal(augment(images, Draws(5, 653, 13), torch.arange(13)), whole)


def test_values_stay_within_those_of_the_image(image: Tensor) -> None:
    augmented = Affine(rotation=30.0, zoom=0.15, shift=0.2, shear=0.15)(image, Draws(0, 0, 2), torch.arange(2))
    assert augmented.min() >= image.min()
    assert augmented.max() <= image.max()


@pytest.mark.parametrize(("kind", "axes"), [("horizontal", [(-1,)]), ("vertical", [(-2,)]), ("both", [(-1,), (-2,)])])
def test_flips_mirror_about_half_of_the_images(kind: str, axes: list[tuple[int]]) -> None:
    images = torch.rand(400, 1, 4, 4)
    flipped = flip(images, Draws(0, 0, 400), torch.arange(400), kind=kind)
    kept = (flipped == images).flatten(1).all(1).float().mean()
    assert kept == pytest.approx(0.5 ** len(axes), abs=0.1)
    turned = images.flip(axes[0])
    assert ((flipped == images) | (flipped == turned) | (len(axes) > 1)).all()


def test_no_flip_is_no_flip(image: Tensor) -> None:
    assert flip(image, Draws(0, 0, 2), torch.arange(2), kind="none") is image


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none", None), ("affine_mild", Affine(15.0, 0.15, 0.1, 0.15)), ("affine_strong", Affine(30.0, 0.15, 0.2, 0.15))],
)
def test_the_yaml_files_hold_the_published_ranges(name: str, expected: Affine | None) -> None:
    assert instantiate(OmegaConf.load(CONF / f"{name}.yaml")) == expected
