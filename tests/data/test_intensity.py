import numpy as np
import pytest
from hydra.utils import instantiate

from medsynth.data.intensity import Grey, Intensity, Percentile, Window, grey

VALUES = np.linspace(-2000, 3000, 977, dtype=np.float32)
CODECS = [
    Grey(),
    Window(50.0, 400.0),
    Window(-600.0, 1500.0),
    Percentile(0.5, 99.5).fit(VALUES),
    Percentile().fit(VALUES * 0),
]


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_decoding_an_encoding_clips(codec: Intensity) -> None:
    low, high = codec.range()
    tolerance = 1e-6 * (high - low)
    np.testing.assert_allclose(codec.decode(codec.encode(VALUES)), VALUES.clip(low, high), atol=tolerance)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_encoding_covers_minus_one_to_one_in_order(codec: Intensity) -> None:
    low, high = codec.range()
    encoded = codec.encode(np.array([low - 1, low, (low + high) / 2, high, high + 1]))
    np.testing.assert_allclose(encoded, [-1, -1, 0, 1, 1], atol=1e-6)
    assert encoded.dtype == np.float32


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_codec_comes_back_from_its_config(codec: Intensity) -> None:
    assert instantiate(codec.config()) == codec


def test_a_window_is_named_by_center_and_width_in_hu() -> None:
    assert Window(center_hu=50.0, width_hu=400.0).range() == (-150, 250)


def test_percentiles_are_those_of_the_finite_values() -> None:
    codec = Percentile(10.0, 90.0).fit(np.array([*range(101), np.nan, np.inf]))
    assert codec.range() == (10, 90)


def test_percentile_has_no_range_before_it_is_fitted() -> None:
    with pytest.raises(ValueError, match="before fit"):
        Percentile().encode(VALUES)


@pytest.mark.parametrize(
    ("codec", "arguments"), [(Window, (0.0, 0.0)), (Percentile, (60.0, 40.0)), (Percentile, (-1.0, 50.0))]
)
def test_impossible_ranges_are_refused(codec: type, arguments: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"data\.intensity"):
        codec(*arguments)


def test_grey_weighs_as_published_and_leaves_grey_alone() -> None:
    np.testing.assert_allclose(grey(np.eye(3, dtype=np.float32)[None])[0], [0.2989, 0.5870, 0.1140], atol=1e-4)
    np.testing.assert_allclose(grey(np.full((2, 2, 3), 0.7, dtype=np.float32)), 0.7, atol=1e-6)
