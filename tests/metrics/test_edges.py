"""Edges: closed forms, and scikit-image."""

import pytest
import torch
from phantom_slices import slices

from medsynth.metrics.edges import canny, sobel


def step(at=8, side=16):
    return torch.where(torch.arange(side) < at, -1.0, 1.0).expand(1, 1, side, side)


def test_a_flat_image_has_no_edges():
    flat = torch.full((2, 1, 16, 16), 0.3)
    assert sobel(flat).max() == 0
    assert not canny(flat).any()


def test_a_step_is_as_steep_as_documented():
    edges = sobel(step())
    assert edges.max().item() == pytest.approx(0.5**0.5)
    assert (edges[0, 0, :, 7:9] > 0.7).all()
    assert edges[0, 0, :, :7].max() == 0


def test_a_ramp_has_its_slope_everywhere_inside():
    ramp = (torch.arange(16.0) / 16).expand(1, 3, 16, 16)  # a 32nd of the grey range a pixel
    assert sobel(ramp)[0, 0, :, 1:-1].sub(2 * 0.5**0.5 / 32).abs().max() < 1e-6


def test_an_outline_is_thin_and_closed():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    disc = torch.where((y - 20) ** 2 + (x - 20) ** 2 < 100, 1.0, -1.0)[None, None]
    edges = canny(disc)[0, 0]
    radius = ((y - 20) ** 2 + (x - 20) ** 2).sqrt()[edges]
    assert radius.sub(10).abs().max() < 1.6
    assert 50 <= edges.sum() <= 90  # of a circumference of 63


def test_weak_edges_stay_only_where_they_touch_strong_ones():
    fading = step(side=32, at=16) * torch.linspace(0.1, 1, 32)[:, None]
    lonely = torch.full((1, 1, 32, 32), -1.0)
    lonely[..., 16:] = -0.5
    assert canny(fading)[0, 0, 8].any()
    assert not canny(lonely).any()


def test_sobel_is_that_of_scikit_image():
    filters = pytest.importorskip("skimage.filters")
    images = slices(50)[0][:6]
    for image, ours in zip(images, sobel(images), strict=True):
        theirs = filters.sobel(((image[0] + 1) / 2).double().numpy(), mode="nearest")
        assert abs(ours[0].numpy() - theirs).max() < 1e-6


def test_canny_agrees_with_scikit_image_about_nearly_every_pixel():
    feature = pytest.importorskip("skimage.feature")
    images = slices(50)[0][:20]
    for image, ours in zip(images, canny(images), strict=True):
        grey = ((image[0] + 1) / 2).double().numpy()
        # Its Sobel kernels are four times as large.
        theirs = feature.canny(grey, sigma=1, low_threshold=0.4, high_threshold=0.8, mode="nearest")
        assert (ours[0].numpy() != theirs).mean() < 0.005
