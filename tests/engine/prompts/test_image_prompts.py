"""Processed images are kept for the user who sent them."""

from typing import Any

import pytest

from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ProcessedImage
from mlx_notebook.engine.prompts.media.image_prompts import ImagePromptBuilder
from mlx_notebook.protocol import EncodedImage


def test_an_image_of_one_user_is_processed_again_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processed: list[EncodedImage] = []

    def process(self: Any, image: EncodedImage) -> ProcessedImage:
        processed.append(image)
        return ProcessedImage(1, [1], [1], "", "", {})

    monkeypatch.setattr(ImagePromptBuilder, "_process", process)
    builder = object.__new__(ImagePromptBuilder)
    builder._cache = ImageCache(2**20)
    image = EncodedImage(data=b"an image", where="messages[0]")
    first = builder.process(image, "user:ann")
    assert builder.process(image, "user:ann") is first
    assert len(processed) == 1
    assert builder.process(image, "user:bob") is not first
    assert builder.process(image) is not first
    assert len(processed) == 3
