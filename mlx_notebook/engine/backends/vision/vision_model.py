"""An mlx-vlm model with the interface of a text model: tokens and KV caches in, logits out.

A token at or above `base` is a patch of an image. The row's cache holds the image and its position
in the prompt (`image_tokens`). So a batch may mix rows with and without images, and a prompt can be
computed in chunks.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import KVCache
from mlx_vlm.models import cache as vlm_cache

from mlx_notebook.engine.backends.vision.vision_self_test import alike
from mlx_notebook.engine.errors import VisionNotSupported
from mlx_notebook.engine.images.image_tokens import (
    ImageFeatures,
    ImageSpan,
    ImageTokenCache,
    ImageTokenRow,
    ProcessedImage,
)

_UNSUPPORTED_INPUTS = (
    "cross_attention_states",
    "decoder_inputs_embeds",
    "full_text_row_masked_out_mask",
    "pos_hw",
)
"""What some architectures need beside embeddings. Our batches do not support it."""


class VisionModel(nn.Module):
    """An mlx-vlm model whose rows have their images in their caches.

    Parameters
    ----------
    whole
        mlx-vlm's model.
    image_token
        The token for a patch of any image.
    base
        Tokens from here on are patches of one particular image.
    """

    def __init__(self, whole: Any, image_token: int, base: int):
        super().__init__()
        self.whole = whole
        self._image_token, self._base = image_token, base
        self._needs_image_mask = False
        self._scale = 1.0

    @property
    def language(self) -> Any:
        """The language model: the part that generates."""
        return self.whole.language_model

    @property
    def model(self) -> Any:
        """The language model without its output head, which embeds texts."""
        return getattr(self.language, "model", None)

    def make_cache(self) -> list[Any]:
        """Return the caches of one row: the model's own, and one with the row's images."""
        layers = vlm_cache.make_prompt_cache(self.language)
        # The rest of the engine uses mlx-lm's class, which is the same.
        own = [KVCache() if type(layer) is vlm_cache.KVCache else layer for layer in layers]
        return [*own, ImageTokenCache([ImageTokenRow()])]

    def __call__(
        self, inputs: mx.array, cache: list[Any] | None = None, *, embedded: bool = False
    ) -> mx.array:
        """Return logits, shape (B, L, vocabulary), for the tokens `inputs`, shape (B, L).

        The language model embeds the tokens itself. If an image is among them, or if `embedded` is
        true, they are embedded first.
        """
        cache = cache or self.make_cache()
        *layers, image_tokens = cache
        length = inputs.shape[1]
        ids = mx.where(inputs >= self._base, self._image_token, inputs)
        extra: dict[str, Any] = {}
        if hasattr(self.language, "get_rope_index"):
            windows = [row.window(length) for row in image_tokens.rows]
            extra["position_ids"] = mx.array(np.stack(windows, axis=1).astype(np.int32))
        seen = [] if image_tokens.text_only else _spans_ahead(image_tokens.rows, length)
        for row, offset, span in seen:
            if span.image.token != self._image_token:
                here, there = _overlap(span, offset, length)
                patches = mx.array(np.array(span.image.tokens[there]) == span.image.token)
                ids[row, here] = mx.where(patches, span.image.token, ids[row, here])
        if seen or embedded:
            extra |= self._image_inputs(ids, seen)
        image_tokens.advance(length)
        output = self.language(ids, cache=layers, **extra)
        cache[:-1] = layers  # some models replace their caches
        logits: mx.array = getattr(output, "logits", output)
        return logits

    def positions(
        self, tokens: list[int], image_spans: list[ImageSpan]
    ) -> tuple[npt.NDArray[np.int64] | None, int]:
        """Return the positions of a prompt's tokens, shape (3, N), and the offset of later ones."""
        grids = [span.image.grid for span in image_spans if span.image.grid is not None]
        if not grids or not hasattr(self.language, "get_rope_index"):
            return None, 0
        where, deltas = self.language.get_rope_index(
            mx.array([tokens]), image_grid_thw=mx.array(np.concatenate(grids))
        )
        return np.array(where)[:, 0].astype(np.int64), int(np.array(deltas).reshape(-1)[0])

    def features(self, image: ProcessedImage) -> ImageFeatures:
        """Encode an image, if that was not done before.

        Raises
        ------
        VisionNotSupported
            If the architecture does not take images as embeddings only.
        """
        if image.features is not None:
            return image.features
        given = {
            name: mx.array(value) if isinstance(value, np.ndarray) else value
            for name, value in image.inputs.items()
        }
        ids = mx.array([image.tokens])
        pixels = given.pop("pixel_values", None)
        found = self.whole.get_input_embeddings(ids, pixels, mask=mx.ones_like(ids), **given)
        for name in _UNSUPPORTED_INPUTS:
            if getattr(found, name, None) is not None:
                raise VisionNotSupported("models of its architecture are not supported yet")
        if found.inputs_embeds.shape[1] != len(image.tokens):
            raise VisionNotSupported(
                "its images take another number of tokens than its processor says"
            )
        deep = getattr(found, "deepstack_visual_embeds", None)
        per_layer = getattr(found, "per_layer_inputs", None)
        self._needs_image_mask = getattr(found, "visual_pos_masks", None) is not None
        features = ImageFeatures(
            found.inputs_embeds[0],
            np.array(image.tokens) == image.token,
            tuple(deep) if deep is not None else (),
            per_layer[0] if per_layer is not None else None,
        )
        mx.eval(features.embeds, features.deep, features.per_layer)
        image.features, image.inputs = features, {}
        return features

    def check(self) -> None:
        """Check that the model gives the same logits for a text that is embedded first.

        Gemma 3n's language model scales the embeddings that it looks up itself, by the square root
        of their width. That scale is found here.

        Raises
        ------
        VisionNotSupported
            If the logits differ: the model would read a text beside an image differently.
        """
        text = mx.array([[3, 4, 5, 6]])
        alone = self(text)
        width = self.whole.get_input_embeddings(text, None).inputs_embeds.shape[-1]
        for scale in (1.0, width**0.5):
            self._scale = scale
            if alike(self(text, embedded=True), alone):
                return
        raise VisionNotSupported("it reads a text beside images differently than alone")

    def _image_inputs(
        self, ids: mx.array, seen: list[tuple[int, int, ImageSpan]]
    ) -> dict[str, Any]:
        """Return what the language model needs beside tokens when images are among them."""
        length = ids.shape[1]
        written = self.whole.get_input_embeddings(ids, None)
        embeds = written.inputs_embeds * self._scale
        per_layer = getattr(written, "per_layer_inputs", None)
        visual = np.zeros(ids.shape, np.bool_)
        deep: list[list[mx.array]] = []
        for row, offset, span in seen:
            features = self.features(span.image)
            here, there = _overlap(span, offset, length)
            pixels = mx.array(features.visual[there])[:, None]
            shown = features.embeds[there].astype(embeds.dtype)
            embeds[row, here] = mx.where(pixels, shown, embeds[row, here])
            if per_layer is not None and features.per_layer is not None:
                per_layer[row, here] = features.per_layer[there]
            visual[row, here] = features.visual[there]
            before = int(features.visual[: there.start].sum())
            after = before + int(features.visual[there].sum())
            deep.append([layer[before:after] for layer in features.deep])
        extra: dict[str, Any] = {"inputs_embeds": embeds}
        if per_layer is not None:
            extra["per_layer_inputs"] = per_layer
        if self._needs_image_mask:
            extra["visual_pos_masks"] = mx.array(visual)
        if any(deep):
            extra["deepstack_visual_embeds"] = [
                mx.concatenate(parts) for parts in zip(*deep, strict=True)
            ]
        return extra


def _overlap(span: ImageSpan, offset: int, length: int) -> tuple[slice, slice]:
    """Return which of the next tokens are of an image, and which of the image's tokens they are."""
    begin, end = max(offset, span.start), min(offset + length, span.end)
    return slice(begin - offset, end - offset), slice(begin - span.start, end - span.start)


def _spans_ahead(rows: list[ImageTokenRow], length: int) -> list[tuple[int, int, ImageSpan]]:
    """Return the images among the next tokens, each with its row and the row's offset."""
    return [
        (index, row.offset, span)
        for index, row in enumerate(rows)
        for span in row.image_spans
        if span.start < row.offset + length and span.end > row.offset
    ]
