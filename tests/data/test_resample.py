import numpy as np
import pytest
from PIL import Image

from medsynth.data.resample import resample

SIZES = [((64, 64), (32, 32)), ((50, 31), (17, 20)), ((20, 33), (64, 40)), ((7, 90), (7, 13)), ((64, 64), (64, 16)),
         ((5, 5), (1, 1)), ((1, 8), (4, 4))]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_it_gives_what_pillow_gives(before: tuple[int, int], after: tuple[int, int]) -> None:
    values = np.random.default_rng(0).uniform(-1000, 1000, before).astype(np.float32)
    expected = np.asarray(Image.fromarray(values).resize(after[::-1], Image.Resampling.BICUBIC))
    result = resample(values, after)
    assert result.dtype == np.float32
    assert result.shape == after
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_the_order_of_values_in_memory_does_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=(30, 44)).astype(np.float32)
    strided = np.zeros((60, 44), np.float32)[::2]
    strided[:] = values
    for other in (np.asfortranarray(values), strided, values[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_allclose(resample(other, (13, 20)), resample(values, (13, 20)), atol=1e-6)


def test_fine_detail_does_not_alias() -> None:
    checkers = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)
    np.testing.assert_allclose(resample(checkers, (8, 8))[1:-1, 1:-1], 0.5, atol=0.02)


def test_a_constant_image_stays_constant() -> None:
    np.testing.assert_allclose(resample(np.full((31, 50), -1000, np.float32), (16, 16)), -1000, rtol=1e-6)
