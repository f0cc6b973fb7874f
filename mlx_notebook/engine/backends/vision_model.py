"""An mlx-vlm model in the form of a text model: tokens and caches in, logits out.

A token at or above `base` is an image token. The row's `ImageTokenRow`, which is a layer of its
cache, holds its embedding and position. So a batch may mix rows with and without images, and a
chunk of a prompt needs nothing else.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import KVCache
from mlx_vlm.models import cache as vlm_cache

from mlx_notebook.engine.backends.vision_self_test import alike
from mlx_notebook.engine.errors import VisionNotSupported
from mlx_notebook.engine.images.image_tokens import (
    ImageFeatures,
    ImageSpan,
    ImageTokenCache,
    ImageTokenRow,
    ProcessedImage,
)

_NOT_CARRIED = (
    "cross_attention_states",
    "decoder_inputs_embeds",
    "full_text_row_masked_out_mask",
    "pos_hw",
)
"""What some architectures feed beside embeddings, and a batch of ours does not carry."""


class SeeingModel(nn.Module):
    """An mlx-vlm model whose rows carry their pictures in their caches.

    Parameters
    ----------
    whole
        mlx-vlm's model.
    image_token
        The token that stands for a pixel of any image.
    base
        Tokens from here on are pixels of one certain image.
    """

    def __init__(self, whole: Any, image_token: int, base: int):
        super().__init__()
        self.whole = whole
        self._image_token, self._base = image_token, base
        self._marks = False
        self._scale = 1.0

    @property
    def language(self) -> Any:
        """The part that writes."""
        return self.whole.language_model

    @property
    def model(self) -> Any:
        """The language part without its output head: what embeds texts."""
        return getattr(self.language, "model", None)

    def make_cache(self) -> list[Any]:
        """The caches of one row: the model's own, and what the row sees."""
        layers = vlm_cache.make_prompt_cache(self.language)
        # mlx-lm's class is the same, and the one that the rest of the engine knows.
        own = [KVCache() if type(layer) is vlm_cache.KVCache else layer for layer in layers]
        return [*own, ImageTokenCache([ImageTokenRow()])]

    def __call__(
        self, inputs: mx.array, cache: list[Any] | None = None, *, embedded: bool = False
    ) -> mx.array:
        """Logits, shape (B, L, vocabulary), of the tokens `inputs`, shape (B, L).

        They are looked up by the language part itself, and beforehand where an image is among
        them or they are to be `embedded`.
        """
        cache = cache or self.make_cache()
        *layers, image_tokens = cache
        length = inputs.shape[1]
        ids = mx.where(inputs >= self._base, self._image_token, inputs)
        extra: dict[str, Any] = {}
        if hasattr(self.language, "get_rope_index"):
            windows = [row_state.window(length) for row_state in image_tokens.rows]
            extra["position_ids"] = mx.array(np.stack(windows, axis=1).astype(np.int32))
        seen = [] if image_tokens.text_only else _spans_ahead(image_tokens.rows, length)
        if seen or embedded:
            extra |= self._look(ids, seen)
        image_tokens.advance(length)
        output = self.language(ids, cache=layers, **extra)
        cache[:-1] = layers  # some put other ones in their places
        logits: mx.array = getattr(output, "logits", output)
        return logits

    def positions(
        self, tokens: list[int], image_spans: list[ImageSpan]
    ) -> tuple[npt.NDArray[np.int64] | None, int]:
        """Where a prompt's tokens stand, shape (3, N), and how far the next ones are moved."""
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
            If the architecture takes pictures in another way than as embeddings.
        """
        if image.features is not None:
            return image.features
        given = {
            name: mx.array(value) if isinstance(value, np.ndarray) else value
            for name, value in image.inputs.items()
        }
        ids = mx.array([image.tokens])
        found = self.whole.get_input_embeddings(
            ids, given.pop("pixel_values"), mask=mx.ones_like(ids), **given
        )
        for name in _NOT_CARRIED:
            if getattr(found, name, None) is not None:
                raise VisionNotSupported("models of its architecture are not supported yet")
        if found.inputs_embeds.shape[1] != len(image.tokens):
            raise VisionNotSupported(
                "its images take another number of tokens than its processor says"
            )
        deep = getattr(found, "deepstack_visual_embeds", None)
        per_layer = getattr(found, "per_layer_inputs", None)
        self._marks = getattr(found, "visual_pos_masks", None) is not None
        features = ImageFeatures(
            found.inputs_embeds[0],
            np.array(image.tokens) == self._image_token,
            tuple(deep) if deep is not None else (),
            per_layer[0] if per_layer is not None else None,
        )
        mx.eval(features.embeds, features.deep, features.per_layer)
        image.features, image.inputs = features, {}
        return features

    def check(self) -> None:
        """See that embedded texts are read as others are.

        Gemma 3n's language part scales those that it looks up itself, by the root of their width.

        Raises
        ------
        VisionNotSupported
            If they are not: beside an image a text would mean something else.
        """
        text = mx.array([[3, 4, 5, 6]])
        alone = self(text)
        width = self.whole.get_input_embeddings(text, None).inputs_embeds.shape[-1]
        for scale in (1.0, width**0.5):
            self._scale = scale
            if alike(self(text, embedded=True), alone):
                return
        raise VisionNotSupported("it reads a text beside images differently than alone")

    def _look(self, ids: mx.array, seen: list[tuple[int, int, ImageSpan]]) -> dict[str, Any]:
        """What the language part takes beside the tokens where an image is among them."""
        length = ids.shape[1]
        written = self.whole.get_input_embeddings(ids, None)
        embeds = written.inputs_embeds * self._scale
        per_layer = getattr(written, "per_layer_inputs", None)
        visual = np.zeros(ids.shape, np.bool_)
        deep: list[list[mx.array]] = []
        for row, offset, span in seen:
            features = self.features(span.image)
            begin, end = max(offset, span.start), min(offset + length, span.end)
            here, there = (
                slice(begin - offset, end - offset),
                slice(begin - span.start, end - span.start),
            )
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
        if self._marks:
            extra["visual_pos_masks"] = mx.array(visual)
        if any(deep):
            extra["deepstack_visual_embeds"] = [
                mx.concatenate(parts) for parts in zip(*deep, strict=True)
            ]
        return extra


def _spans_ahead(rows: list[ImageTokenRow], length: int) -> list[tuple[int, int, ImageSpan]]:
    """The pictures among the next tokens, each with its row and how much that has taken in."""
    return [
        (row, row_state.offset, span)
        for row, row_state in enumerate(rows)
        for span in row_state.image_spans
        if span.start < row_state.offset + length and span.end > row_state.offset
    ]
