"""Pictures as they come, decoded or refused with a reason."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlx_notebook.engine.errors import InvalidImage
from mlx_notebook.engine.sandbox import image_decoding
from mlx_notebook.engine.sandbox.image_decoding import decode
from mlx_notebook.protocol import EncodedImage

WHERE = "messages[2].content[1]"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def decoded(data: bytes, **options: Any) -> np.ndarray:
    image = decode(EncodedImage(data=data, where=WHERE, **options))
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def refused(data: bytes) -> str:
    with pytest.raises(InvalidImage) as caught:
        decode(EncodedImage(data=data, where=WHERE))
    assert caught.value.param == WHERE
    assert WHERE in caught.value.message
    return caught.value.message


def halves() -> Image.Image:
    """Left red, right blue."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:, 20:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read(kind: str) -> None:
    pixels = decoded(encoded(halves(), kind))
    assert np.abs(pixels[10, 5] - [255, 0, 0]).max() < 12
    assert np.abs(pixels[10, 35] - [0, 0, 255]).max() < 12


def test_a_moving_gif_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(data)[0, 0].tolist() == [255, 0, 0]


def test_the_orientation_that_a_camera_noted_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    pixels = decoded(encoded(halves(), "PNG", exif=exif))
    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 10].tolist() == [255, 0, 0]
    assert pixels[35, 10].tolist() == [0, 0, 255]


def test_transparency_lies_over_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    pixels = decoded(encoded(image))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.abs(pixels[0, 1] - 127).max() <= 1


def test_a_palette_with_a_transparent_colour() -> None:
    image = halves().quantize(2)
    clear = image.getpixel((0, 0))
    pixels = decoded(encoded(image, transparency=clear))
    assert pixels[10, 5].tolist() == [255, 255, 255]
    assert pixels[10, 35].tolist() == [0, 0, 255]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, -1)
    pixels = decoded(encoded(Image.fromarray(ramp)))
    assert np.abs(pixels[0, :, 0] - np.arange(256)).max() <= 1


def test_cmyk_and_greyscale() -> None:
    cmyk = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert np.abs(decoded(encoded(cmyk, "JPEG"))[0, 0] - [255, 0, 0]).max() < 12
    assert decoded(encoded(Image.new("L", (4, 4), 77)))[0, 0].tolist() == [77] * 3
    assert decoded(encoded(Image.new("1", (4, 4), 1)))[0, 0].tolist() == [255] * 3


def test_floats_between_nought_and_one() -> None:
    image = Image.fromarray(np.full((3, 3), 0.5, np.float32))
    assert decoded(encoded(image, "TIFF"))[0, 0].tolist() == [128] * 3


def test_low_detail_is_half_a_thousand_pixels_square() -> None:
    image = Image.new("RGB", (2000, 1000))
    for kind in ("PNG", "JPEG"):
        height, width, _ = decoded(encoded(image, kind), detail="low").shape
        assert width * height <= image_decoding.LOW_DETAIL_PIXELS
        assert abs(width / height - 2) < 0.02
    assert decoded(encoded(image), detail="high").shape == (1000, 2000, 3)


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels whose header is all that there is of it."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    assert "pixels" in refused(bomb())


def test_a_picture_just_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_decoding, "MAX_PIXELS", 799)
    assert "40 x 20 pixels" in refused(encoded(halves()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_file(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    assert "damaged" in refused(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"just some text in a file named .png", "text"),
        (bytes(range(128, 256)), "format"),
    ],
)
def test_what_is_no_picture(data: bytes, why: str) -> None:
    assert why in refused(data)
