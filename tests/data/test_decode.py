import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsynth.data.decode import strict_pillow
from medsynth.data.intensity import Grey, Percentile
from medsynth.data.picture import BadImage
from medsynth.data.render import Decoder, Slice, decode

SIDE = 16
DECODER = Decoder(resolution=SIDE, channels=1, bits=8, fit="pad", intensity=Grey())
RAMP = np.tile(np.linspace(0, 255, SIDE).round().astype(np.uint8), (SIDE, 1))


def read(path: Path, decoder: Decoder = DECODER, white: float | None = None) -> Slice:
    with strict_pillow():
        return decode(path, decoder, white=white)


def modes() -> dict[str, tuple[Image.Image, str]]:
    """The same ramp in every mode, with the extension of a format that keeps it."""
    ramp = Image.fromarray(RAMP)
    rgb = Image.merge("RGB", [ramp] * 3)
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    opaque = Image.new("L", ramp.size, 255)
    return {
        "L": (ramp, "png"),
        "LA": (Image.merge("LA", [ramp, opaque]), "png"),
        "P": (ramp.convert("P"), "png"),
        "P of colours": (rgb.quantize(256), "png"),
        "RGB": (rgb, "png"),
        "RGBA": (Image.merge("RGBA", [*rgb.split(), opaque]), "png"),
        "CMYK": (Image.merge("CMYK", [opaque.point(lambda _: 0)] * 3 + [ramp.point(lambda v: 255 - v)]), "tif"),
        "I;16": (deep, "png"),
        "I;16 in TIFF": (deep, "tif"),
        "16-bit PGM": (deep, "pgm"),
    }


@pytest.mark.parametrize("mode", modes())
def test_every_mode_of_a_grey_ramp_gives_the_same_slice(mode: str, tmp_path: Path) -> None:
    image, extension = modes()[mode]
    image.save(tmp_path / f"ramp.{extension}")
    np.testing.assert_allclose(read(tmp_path / f"ramp.{extension}").pixels[0], RAMP, atol=1)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 127).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png").pixels[0], (RAMP > 127) * 255)


def test_sixteen_bits_survive_in_a_sixteen_bit_pack(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read(tmp_path / "deep.png", replace(DECODER, bits=16)).pixels[0], values)


def test_white_says_which_stored_value_is_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 16).save(tmp_path / "twelve.png")
    np.testing.assert_array_equal(read(tmp_path / "twelve.png", white=255.0 * 16).pixels[0], RAMP)
    Image.fromarray(RAMP.astype(np.float32) * 2).save(tmp_path / "float.tif")
    np.testing.assert_array_equal(read(tmp_path / "float.tif", white=510.0).pixels[0], RAMP)


def test_colour_is_weighed_to_grey_or_kept(tmp_path: Path) -> None:
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    picture[..., 1] = 255
    Image.fromarray(picture).save(tmp_path / "green.png")
    assert set(np.unique(read(tmp_path / "green.png").pixels)) == {150}  # 0.5870 * 255
    colour = read(tmp_path / "green.png", replace(DECODER, channels=3)).pixels
    np.testing.assert_array_equal(colour, np.moveaxis(picture, -1, 0))


def test_grey_fills_three_channels(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        read(tmp_path / "grey.png", replace(DECODER, channels=3)).pixels, np.stack([RAMP] * 3)
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_are_dark(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (SIDE, SIDE), (255,) * (len(mode) - 1) + (0,)).save(tmp_path / "clear.png")
    assert not read(tmp_path / "clear.png").pixels.any()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(RAMP).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "turned.png").pixels[0], np.rot90(RAMP, -1))


def test_padding_keeps_proportions_and_is_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((SIDE * 2, SIDE), 255, dtype=np.uint8)).save(tmp_path / "tall.png")
    pixels = read(tmp_path / "tall.png").pixels[0]
    assert (pixels[:, 4:12] == 255).all()
    assert not pixels[:, :4].any()
    assert not pixels[:, 12:].any()


def test_stretching_fills_and_cropping_keeps_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((SIDE, SIDE * 3), dtype=np.uint8)
    wide[:, SIDE : 2 * SIDE] = RAMP
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read(tmp_path / "wide.png", replace(DECODER, fit="crop")).pixels[0], RAMP)
    stretched = read(tmp_path / "wide.png", replace(DECODER, fit="stretch")).pixels[0]
    assert stretched[:, 6:10].mean() > stretched[:, :4].mean()


def test_an_mr_like_image_remembers_its_range(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "mr.png")
    slice_ = read(tmp_path / "mr.png", replace(DECODER, intensity=Percentile(0.0, 50.0)))
    assert (slice_.low[0], slice_.high[0]) == (0, pytest.approx(0.5, abs=0.01))


def test_identical_pixels_have_one_digest_whatever_the_file(tmp_path: Path) -> None:
    ramp = Image.fromarray(RAMP)
    ramp.save(tmp_path / "a.png")
    Image.merge("RGB", [ramp] * 3).save(tmp_path / "b.bmp")
    Image.fromarray(np.flip(RAMP, 1).copy()).save(tmp_path / "c.png")
    a, b, c = (read(tmp_path / name).digest for name in ("a.png", "b.bmp", "c.png"))
    assert a == b != c


def png_claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image"),
        (png_claiming(60_000, 60_000), "decompression bomb"),
        (png_claiming(10_000, 10_000), "decompression bomb"),
        (png_claiming(64, 64), "truncated or damaged"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "not an image|truncated or damaged"),
    ],
)
def test_bad_files_are_named_with_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(BadImage, match=reason):
        read(tmp_path / "bad.png")


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "bmp", "gif", "webp"])
def test_a_truncated_file_is_named(extension: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole.{extension}")
    whole = (tmp_path / f"whole.{extension}").read_bytes()
    (tmp_path / f"half.{extension}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImage, match=r"truncated or damaged|not an image"):
        read(tmp_path / f"half.{extension}")


def test_a_single_pixel_is_no_picture(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(BadImage, match="1x1 pixels"):
        read(tmp_path / "dot.png")


def test_values_of_32_bits_need_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(BadImage, match=r"set data\.white"):
        read(tmp_path / "float.tif")
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "int.tif")
    with pytest.raises(BadImage, match=r"set data\.white"):
        read(tmp_path / "int.tif")


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), np.nan, dtype=np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(BadImage, match="not finite"):
        read(tmp_path / "nan.tif", white=1.0)


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(BadImage, match="No such file"):
        read(tmp_path / "link.png")
