import torch

from medsynth.viz.grid import grid, to_bytes


def test_bytes_span_black_to_white_and_round():
    image = torch.tensor([-2.0, -1.0, 0.0, 1 / 127.5 * 0.4, 1.0, 2.0]).view(1, 1, 1, 6)
    assert to_bytes(image).flatten().tolist() == [0, 0, 128, 128, 255, 255]


def test_bytes_of_a_decoded_byte_are_that_byte():
    levels = torch.arange(256)
    assert torch.equal(to_bytes((levels / 127.5 - 1).view(1, 1, 16, 16)).flatten(), levels.to(torch.uint8))


def test_a_grid_is_square_and_small_images_are_enlarged():
    assert grid(torch.zeros(9, 1, 16, 16)).size == (3 * 66 + 2, 3 * 66 + 2)
    assert grid(torch.zeros(4, 3, 128, 128), columns=4).size == (4 * 130 + 2, 132)
