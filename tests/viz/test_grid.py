import pytest
import torch

from medsynth.viz.grid import beside_masks, grid, side_by_side, to_bytes


def test_bytes_span_black_to_white_and_round():
    image = torch.tensor([-2.0, -1.0, 0.0, 1 / 127.5 * 0.4, 1.0, 2.0]).view(1, 1, 1, 6)
    assert to_bytes(image).flatten().tolist() == [0, 0, 128, 128, 255, 255]


def test_bytes_of_a_decoded_byte_are_that_byte():
    levels = torch.arange(256)
    assert torch.equal(to_bytes((levels / 127.5 - 1).view(1, 1, 16, 16)).flatten(), levels.to(torch.uint8))


def test_a_grid_is_square_and_small_images_are_enlarged():
    assert grid(torch.zeros(9, 1, 16, 16)).size == (3 * 66 + 2, 3 * 66 + 2)
    assert grid(torch.zeros(4, 3, 128, 128), columns=4).size == (4 * 130 + 2, 132)


def test_channels_that_are_no_colours_stand_side_by_side():
    images = torch.stack([torch.full((8, 8), v) for v in (-1.0, 0.0, 0.5, 1.0)])[None]
    shown = side_by_side(images)
    assert shown.shape == (1, 1, 8, 32)
    assert [shown[0, 0, 3, 8 * k + 4].item() for k in range(4)] == [-1.0, 0.0, 0.5, 1.0]
    assert torch.equal(side_by_side(images[:, :3]), images[:, :3])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_masks_stand_to_the_right_of_their_image(channels: int):
    images = torch.full((2, channels + 1, 8, 8), -1.0)
    images[:, -1] = 1.0
    shown = beside_masks(images, 1)
    panels = 1 if channels in (1, 3) else channels
    assert shown.shape == (2, 3 if channels == 3 else 1, 8, 8 * (panels + 1))
    assert (shown[..., -8:] == 1).all()
    assert (shown[..., :-8] == -1).all()
    assert torch.equal(beside_masks(images[:, :1], 0), images[:, :1])
