"""What the notebook calls a image becomes a PNG of a bounded size, or a clear sentence."""

import base64
import io
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from mlx_notebook.notebook.errors import NotAPicture
from mlx_notebook.notebook.inputs.images import MAX_IMAGE_SIDE, EncodedImage, is_image

RED = (255, 0, 0)


def png(image):
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def figure():
    drawn = matplotlib.figure.Figure(figsize=(2, 1), dpi=50)
    drawn.add_subplot().plot([1, 2])
    return drawn


class Drawing:
    def _repr_png_(self):
        return png(Image.new("RGB", (4, 2), RED))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Image.new("RGB", (4, 2), RED), (4, 2)),
        (Image.new("CMYK", (4, 2)), (4, 2)),
        (Image.new("P", (4, 2)), (4, 2)),
        (np.zeros((2, 4), np.uint8), (4, 2)),
        (np.zeros((2, 4, 3), np.uint8), (4, 2)),
        (np.zeros((2, 4, 4), np.uint8), (4, 2)),
        (np.full((2, 4, 3), 0.5), (4, 2)),
        (np.full((2, 4), 1, np.float32), (4, 2)),
        (figure(), (100, 50)),
        (figure().axes[0], (100, 50)),
        (png(Image.new("RGB", (4, 2))), (4, 2)),
        (Drawing(), (4, 2)),
        (Image.new("RGB", (3 * MAX_IMAGE_SIDE, 30)), (MAX_IMAGE_SIDE, 10)),
        (Image.new("P", (3 * MAX_IMAGE_SIDE, 30)), (MAX_IMAGE_SIDE, 10)),
    ],
)
def test_every_kind_of_image_is_sent_as_png(value, size):
    image = EncodedImage.of(value)
    assert (image.width, image.height) == size
    url = image.part["image_url"]["url"]
    sent = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert (sent.format, sent.size) == ("PNG", size)


def test_floats_are_brightness_and_a_file_is_read_the_right_way_up(tmp_path):
    sent = Image.open(io.BytesIO(EncodedImage.of(np.full((1, 1, 3), 0.5)).png))
    assert sent.getpixel((0, 0)) == (128, 128, 128)
    lying = Image.new("RGB", (4, 2), RED)
    exif = lying.getexif()
    exif[0x0112] = 6  # the camera was turned
    lying.save(tmp_path / "photo.jpg", exif=exif)
    assert EncodedImage.of(tmp_path / "photo.jpg").width == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("plot.png", r"str is not an image.*For a file use pathlib.Path\(...\)"),
        (3, "int is not an image"),
        (Path("no/such/file.png"), "file.png cannot be read: No such file"),
        (b"", "it is empty"),
        (b"<svg></svg>", "not an image in a format that pillow reads"),
        (png(Image.new("RGB", (40, 40)))[:60], "these bytes is a damaged image|not an image"),
        (np.zeros((2, 4, 2), np.uint8), r"shape \(2, 4, 2\) is not an image"),
        (np.zeros(4), r"shape \(4,\) is not an image"),
        (np.zeros((0, 4)), r"shape \(0, 4\) is not an image"),
        (np.full((2, 2), 200.0), "these go from 200 to 200"),
        (np.full((2, 2), np.nan), "these go from nan to nan"),
        (np.zeros((2, 2), np.int64), "An array of int64 is not an image"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(value, said):
    with pytest.raises(NotAPicture, match=said) as caught:
        EncodedImage.of(value)
    assert "\n" not in str(caught.value)


def test_only_images_are_taken_for_images():
    assert all(map(is_image, [Image.new("L", (1, 1)), figure(), Drawing()]))
    others = ["text", b"bytes", Path("a.png"), np.zeros((2, 2)), 3, Drawing, Image.Image, None]
    assert not any(map(is_image, others))
