"""From a picture to a packed slice: values, proportions, masks and where each pixel lies."""

from dataclasses import replace

import numpy as np
import pytest

from medsynth.data.intensity import HU_FULL, PRESETS, Grey, NamedWindow, Percentile, Window
from medsynth.data.pack import to_float
from medsynth.data.picture import UNKNOWN, BadImage, Geometry, Picture
from medsynth.data.render import QUANTILES, Decoder, quantise, render, resize

DECODER = Decoder(resolution=16, channels=1, bits=8, fit="pad", intensity=Grey())
CT = replace(DECODER, intensity=Window(30.0, 150.0))


def picture(values: np.ndarray, **changes: object) -> Picture:
    return Picture(values, mode="int16", size=values.shape[1::-1], **changes)  # type: ignore[arg-type]


def geometry(row: float, column: float) -> Geometry:
    affine = np.array([[-column, 0, 0, 5.0], [0, -row, 0, 7.0], [0, 0, 3, -2.0], [0, 0, 0, 1]])
    return Geometry(affine, affine, (8, 8, 8), 3)


def test_resizing_is_antialiased_in_float() -> None:
    checkers = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)
    np.testing.assert_allclose(resize(checkers, (8, 8))[1:-1, 1:-1], 0.5, atol=0.02)


@pytest.mark.parametrize("bits", [8, 16])
def test_quantising_errs_by_half_a_step_at_most(bits: int) -> None:
    image = np.linspace(-1, 1, 10007)
    half = (2**bits - 1) / 2
    assert np.abs(quantise(image, bits=bits) / half - 1 - image).max() <= 0.5 / half + 1e-9


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_window_errs_by_half_a_step_at_most(name: str, bits: int) -> None:
    codec = NamedWindow(name)
    low, high = codec.range()
    values = np.random.default_rng(0).uniform(low, high, (16, 16)).astype(np.float32)
    levels = quantise(codec.encode(values), bits=bits)
    step = (high - low) / (2**bits - 1)
    assert np.abs(codec.decode(levels / ((2**bits - 1) / 2) - 1) - values).max() <= step / 2 + 1e-3 * (high - low) / 150


def test_whole_hounsfield_units_survive_sixteen_bits_exactly() -> None:
    values = np.arange(-1024, 3072, dtype=np.float32).reshape(64, 64)
    packed = render(picture(values), replace(CT, resolution=64, bits=16))
    np.testing.assert_array_equal((packed.pixels[0].astype(np.int64) - 8 * 2048) / 8, values[None][0])
    assert (packed.low[0], packed.high[0]) == HU_FULL.range()


def test_eight_bits_store_the_window() -> None:
    packed = render(picture(np.full((16, 16), 30.0, np.float32)), CT)
    assert np.unique(packed.pixels).tolist() in ([127], [128])
    assert (packed.low[0], packed.high[0]) == (-45, 105)


def test_millimetres_decide_the_proportions() -> None:
    values = np.ones((16, 16), np.float32)
    packed = render(picture(values, geometry=geometry(row=2.0, column=1.0)), DECODER)
    np.testing.assert_array_equal(packed.pixels[0, :, 4:12], 255)
    assert not packed.pixels[0, :, :4].any()
    assert not packed.pixels[0, :, 12:].any()


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("shape", [(40, 60), (61, 33), (16, 16)])
def test_the_placement_says_where_each_packed_pixel_lies(fit: str, shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape).astype(np.float32)
    decoder = replace(DECODER, fit=fit, bits=16)
    for values, axis in ((rows, 0), (columns, 1)):
        packed = render(picture(values / 100), decoder)
        found = (to_float_array(packed.pixels[0]) + 1) / 2 * 100
        row, column, row_step, column_step = packed.placement
        y, x = np.indices((16, 16))
        expected = row + y * row_step if axis == 0 else column + x * column_step
        (top, bottom), (left, right) = ((2, 13) if fit != "pad" else (6, 10),) * 2
        np.testing.assert_allclose(found[top:bottom, left:right], expected[top:bottom, left:right], atol=0.35)


def to_float_array(pixels: np.ndarray) -> np.ndarray:
    import torch

    return to_float(torch.from_numpy(pixels)[None, None])[0, 0].numpy()


def test_masks_keep_their_labels_and_padding_is_background() -> None:
    mask = np.zeros((8, 16), np.uint8)
    mask[2:6, 4:12] = 7
    packed = render(picture(np.ones((8, 16), np.float32), mask=mask), DECODER)
    assert packed.mask is not None
    assert sorted(np.unique(packed.mask)) == [0, 7]
    assert (packed.mask[0, 6:10, 4:12] == 7).all()


def test_a_mask_that_nobody_drew_stays_unknown() -> None:
    packed = render(picture(np.ones((8, 16), np.float32), mask=np.full((8, 16), UNKNOWN, np.uint8)), DECODER)
    assert packed.mask is not None
    assert (packed.mask == UNKNOWN).all()


def test_modalities_are_channels_each_with_its_range() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (16, 16, 2)).astype(np.float32) * np.array([1, 1000], np.float32)
    codecs = [Percentile(0.0, 100.0).fit(values[..., i]) for i in range(2)]
    packed = render(picture(values, codecs=codecs), replace(DECODER, channels=2, intensity=Percentile()))
    np.testing.assert_allclose(packed.high, values.max((0, 1)), rtol=1e-6)
    with pytest.raises(BadImage, match=r"has 2 channels where data\.channels=4"):
        render(picture(values, codecs=codecs), replace(DECODER, channels=4, intensity=Percentile()))


def test_a_condition_is_packed_beside_the_image() -> None:
    values = np.zeros((16, 16), np.float32)
    packed = render(picture(values, condition=values + 5, condition_codecs=[Window(5.0, 20.0)]), CT)
    assert packed.condition is not None
    assert set(np.unique(packed.condition)) <= {127, 128}
    assert (packed.condition_low.tolist(), packed.condition_high.tolist()) == ([-5], [15])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    values = np.zeros((16, 16), np.float32)
    values[3, 3] = bad
    with pytest.raises(BadImage, match="not finite"):
        render(picture(values), DECODER)


def test_an_unknown_window_names_the_choices() -> None:
    with pytest.raises(ValueError, match=r"data\.window=spleen is unknown; choices: .*liver"):
        NamedWindow("spleen")
    assert NamedWindow([40, 80]).range() == (0, 80)
    assert NamedWindow("liver").config() == Window(30.0, 150.0).config()


def test_quantiles_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    found = render(picture(values), DECODER).quantiles
    np.testing.assert_allclose(found, np.quantile(values, QUANTILES), rtol=1e-5, atol=1e-6)


def test_digests_are_equal_for_equal_values_alone() -> None:
    whole = np.random.default_rng(0).integers(-1000, 1000, (16, 16)).astype(np.float32)
    values = [whole, whole + np.float32(0.5), whole + 1, whole * 1000, whole.reshape(8, 32), np.abs(whole) + 70000]
    digests = [render(picture(v), CT).digest for v in values]
    assert len(set(digests)) == len(digests)
    assert render(picture(np.asfortranarray(whole)), CT).digest == digests[0]
