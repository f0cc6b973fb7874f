"""Processed images are kept by content, up to a limit in bytes."""

import numpy as np

from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ProcessedImage


def image(nbytes: int) -> ProcessedImage:
    return ProcessedImage(1, [1], [1], "", "", {"pixel_values": np.zeros(nbytes, np.uint8)})


def test_an_image_is_processed_once() -> None:
    cache, made = ImageCache(100), []

    def process() -> ProcessedImage:
        made.append(image(10))
        return made[-1]

    assert cache.get(b"a", process) is cache.get(b"a", process)
    assert len(made) == 1


def test_the_least_recently_used_image_is_evicted() -> None:
    cache = ImageCache(100)
    first, second = image(40), image(40)
    cache.get(b"a", lambda: first)
    cache.get(b"b", lambda: second)
    cache.get(b"a", lambda: image(40))
    cache.get(b"c", lambda: image(40))
    assert cache.get(b"a", lambda: image(40)) is first
    assert cache.get(b"b", lambda: image(1)) is not second


def test_an_image_that_grew_counts_when_the_cache_is_trimmed() -> None:
    cache, grown = ImageCache(100), image(40)
    cache.get(b"a", lambda: grown)
    grown.inputs = {"pixel_values": np.zeros(200, np.uint8)}
    cache.trim()
    assert cache.get(b"a", lambda: image(40)) is not grown


def test_a_cleared_cache_is_empty() -> None:
    cache, old = ImageCache(100), image(10)
    cache.get(b"a", lambda: old)
    cache.clear()
    assert cache.get(b"a", lambda: image(10)) is not old
