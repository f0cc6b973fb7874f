"""A row's images and positions follow it through batches, as a layer of its KV cache."""

import copy

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.images.image_tokens import (
    ImageFeatures,
    ImageSpan,
    ImageTokenCache,
    ImageTokenRow,
    ProcessedImage,
)


def span(start: int, count: int = 2) -> ImageSpan:
    return ImageSpan(start, ProcessedImage(9, [9] * count, [9] * count, "", "", {}))


def row(*spans: ImageSpan, end: int = 6) -> ImageTokenRow:
    positions = np.arange(3 * end).reshape(3, end)
    return ImageTokenRow(positions=positions, delta=-2, image_spans=spans, end=end)


def test_positions_are_those_of_the_prompt_and_then_count_on() -> None:
    made = row()
    made.offset = 4
    assert made.window(4).tolist() == [[4, 5, 4, 5], [10, 11, 4, 5], [16, 17, 4, 5]]
    assert ImageTokenRow(offset=3).window(2).tolist() == [[3, 4]] * 3


def test_images_ahead_are_listed_until_they_are_encoded() -> None:
    first, second = span(1), span(4)
    cache = ImageTokenCache([row(first, second), row(first)])
    assert cache.unencoded == [first.image, second.image]
    first.image.features = ImageFeatures(mx.zeros((2, 4)), np.array([True, True]))
    assert cache.unencoded == [second.image]
    cache.advance(6)
    assert cache.unencoded == []
    assert cache.text_only


def test_rows_join_leave_and_return() -> None:
    cache = ImageTokenCache.merge([ImageTokenCache([row()]), ImageTokenCache([row(end=3)])])
    cache.extend(ImageTokenCache([ImageTokenRow(offset=7)]))
    cache.filter(mx.array([2, 0]))
    assert [made.offset for made in cache.rows] == [7, 0]
    assert cache.size() == 7
    alone = cache.extract(1)
    alone.advance(2)
    assert [made.offset for made in cache.rows] == [7, 0]


def test_a_copy_drops_the_images_of_a_prompt_that_is_processed() -> None:
    cache = ImageTokenCache([row(span(1))])
    cache.advance(7)
    kept = copy.deepcopy(cache).rows[0]
    assert (kept.offset, kept.delta, kept.image_spans, kept.positions) == (7, -2, (), None)


def test_padding_does_not_count() -> None:
    cache = ImageTokenCache([ImageTokenRow(), ImageTokenRow()])
    cache.prepare(right_padding=[0, 3])
    cache.advance(5)
    cache.finalize()
    assert [made.offset for made in cache.rows] == [5, 2]
    cache.trim(1)
    assert [made.offset for made in cache.rows] == [4, 1]


def test_the_size_of_an_image_is_that_of_its_inputs_and_then_of_its_features() -> None:
    image = ProcessedImage(9, [9], [9], "", "", {"pixel_values": np.zeros(10, np.float32)})
    assert image.nbytes == 40
    image.features = ImageFeatures(mx.zeros((1, 8)), np.array([True]), per_layer=mx.zeros((1, 3)))
    assert image.nbytes == 4 * (8 + 3)
