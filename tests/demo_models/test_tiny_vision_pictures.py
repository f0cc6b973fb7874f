"""Pictures drawn for tiny-vision show what their scenes say, in the processor's own format."""

import random

import numpy as np
import pytest
from PIL import Image

from mlx_notebook.demo_models.training.tiny_vision.pictures import held_out
from mlx_notebook.demo_models.training.tiny_vision.pictures.drawing import draw
from mlx_notebook.demo_models.training.tiny_vision.pictures.palette import (
    ANCHORS,
    COLOURS,
    nearest,
    shade,
)
from mlx_notebook.demo_models.training.tiny_vision.pictures.pixels import (
    MAX_PIXELS,
    MIN_PIXELS,
    PATCH,
    fitted,
    patches,
    resized,
)
from mlx_notebook.demo_models.training.tiny_vision.pictures.scenes import (
    SHAPES,
    Scene,
    Thing,
    compose,
)
from mlx_notebook.demo_models.training.tiny_vision.pictures.shards import Picture, mirrored, picture


def alone(shape: str) -> Scene:
    """A red shape in the middle of a white picture."""
    thing = Thing(shape, "red", (255, 0, 0), 64, 48, 30, 30)
    return Scene(128, 96, "white", (255, 255, 255), [thing])


@pytest.mark.parametrize("name", COLOURS)
def test_every_shade_of_a_colour_passes_for_it(name: str) -> None:
    rng = random.Random(0)
    assert all(nearest(anchor) == name for anchor in ANCHORS[name])
    assert all(nearest(shade(name, rng)) == name for _ in range(50))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_shape_is_red_in_its_middle_and_the_corners_stay_background(shape: str) -> None:
    scene = alone(shape)
    for seed in range(8):  # both rasterisers come up
        pixels, _ = draw(scene, random.Random(seed))
        red, green, blue = pixels[44:52, 60:68].reshape(-1, 3).mean(0)
        assert (red, green, blue) == pytest.approx((255, 0, 0), abs=3)
        assert pixels.shape == (96, 128, 3)


def test_things_never_overlap() -> None:
    rng = random.Random(1)
    for _ in range(200):
        things = compose(128, 96, rng).things
        for i, a in enumerate(things):
            for b in things[i + 1 :]:
                apart_x = abs(a.x - b.x) - a.half_width - b.half_width
                apart_y = abs(a.y - b.y) - a.half_height - b.half_height
                assert max(apart_x, apart_y) > 0


def test_printed_digits_are_where_their_marks_say() -> None:
    rng = random.Random(2)
    number = Thing("number", "black", (0, 0, 0), 64, 48, 36, 20, text="35")
    scene = Scene(128, 96, "white", (255, 255, 255), [number])
    pixels, marks = draw(scene, rng, 2.0, 2.0)
    assert [mark.digit for mark in marks] == ["3", "5"]
    for mark in marks:
        around = pixels[int(2 * mark.y) - 12 : int(2 * mark.y) + 12, int(2 * mark.x) - 12 :][:, :24]
        assert around.min() < 120


@pytest.mark.parametrize("size", [(480, 640), (96, 96), (720, 1280), (200, 600), (131, 77)])
def test_patches_equal_those_of_mlx_vlms_processor(size: tuple[int, int]) -> None:
    from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor

    processor = Qwen3VLImageProcessor(
        patch_size=PATCH, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS
    )
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = processor([Image.fromarray(image)])
    height, width = resized(*size)
    ours = patches(fitted(image, height, width))
    assert theirs["image_grid_thw"].tolist() == [[1, height // PATCH, width // PATCH]]
    frames = theirs["pixel_values"].reshape(len(ours), 3, 2, PATCH, PATCH)
    np.testing.assert_array_equal(frames[:, :, 0], frames[:, :, 1])
    np.testing.assert_allclose(frames[:, :, 0].reshape(ours.shape), ours, atol=1e-6)


def test_a_picture_costs_forty_to_sixty_four_tokens() -> None:
    for width, height in held_out.CANVASES:
        tall, wide = resized(height, width)
        assert 40 <= tall * wide // 256 <= 64


def test_a_mirrored_picture_has_its_things_on_the_other_side() -> None:
    rng = random.Random(3)
    shown = picture((96, 128), rng)
    while shown.scene.numbers:
        shown = picture((96, 128), rng)
    turned = mirrored(shown)
    assert [t.x for t in turned.scene.things] == [128 - t.x for t in shown.scene.things]
    np.testing.assert_array_equal(turned.pixels[:, ::-1], shown.pixels)


def test_a_picture_with_a_number_is_not_mirrored() -> None:
    scene = compose(128, 96, random.Random(4), "number")
    pixels, marks = draw(scene, random.Random(4))
    shown = Picture(pixels, scene, marks)
    assert mirrored(shown) is shown


def test_held_out_pictures_come_from_both_libraries_and_show_their_scene() -> None:
    rng = random.Random(5)
    libraries = set()
    for _ in range(30):
        pixels, scene, library = held_out.picture(rng, "one")
        libraries.add(library)
        (thing,) = scene.things
        if thing.style == "outline" or thing.shape in ("star", "triangle"):
            continue
        across, down = pixels.shape[1] / scene.width, pixels.shape[0] / scene.height
        x, y = int(thing.x * across), int(thing.y * down)
        middle = pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3).mean(0)
        assert np.abs(middle - thing.rgb).max() < 45
    assert libraries == {"matplotlib", "opencv"}
