"""The images and positions of the rows of a batch, kept as one more layer of the KV cache.

A row joins or leaves a batch, is copied, kept for reuse or trimmed. Each of these happens to all
layers of its cache, so mlx-lm's bookkeeping covers the images too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageFeatures:
    """An image as the language model takes it, encoded by the vision part.

    Attributes
    ----------
    embeds
        Embeddings of the image's N tokens, shape (N, hidden size).
    visual
        Which of the N tokens are image tokens; the others are separators.
    deep
        Qwen3-VL's additions to the hidden states of the first layers: one array per layer, shape
        (image tokens, hidden size).
    per_layer
        Gemma's additional embeddings, one per token.
    """

    embeds: mx.array
    visual: npt.NDArray[np.bool_]
    deep: tuple[mx.array, ...] = ()
    per_layer: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        extra = [] if self.per_layer is None else [self.per_layer]
        return sum(int(array.nbytes) for array in (self.embeds, *self.deep, *extra))


@dataclass(eq=False)
class ProcessedImage:
    """An image after decoding and preprocessing; or a sound, for a model that hears.

    Attributes
    ----------
    token
        The model's token for a patch of it.
    tokens
        Its tokens in a prompt, from the first image token to the last.
    keys
        The same, with image tokens replaced by numbers made from the image's content.
    before, after
        Text that the processor puts around the image.
    inputs
        Output of the processor; empty once there are features.
    marks
        Text of the model's template around an image that `before` and `after` contain already.
    count
        Number of images that take the place of one: the groups of frames of a video.
    grid
        Patches in time, height and width, for models with multi-dimensional positions.
    features
        Output of the vision part, once the model has encoded the image.
    """

    token: int
    tokens: list[int]
    keys: list[int]
    before: str
    after: str
    inputs: dict[str, Any]
    grid: npt.NDArray[Any] | None = None
    features: ImageFeatures | None = None
    marks: tuple[str, str] = ("", "")
    count: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        if self.features is not None:
            return self.features.nbytes
        return sum(int(getattr(value, "nbytes", 0)) for value in self.inputs.values())


@dataclass(frozen=True)
class ImageSpan:
    """An image and the index of its first token in the prompt."""

    start: int
    image: ProcessedImage

    @property
    def end(self) -> int:
        """Index after its last token."""
        return self.start + len(self.image.tokens)


@dataclass
class ImageTokenRow:
    """The images and positions of one row.

    Attributes
    ----------
    offset
        Number of tokens that the model has processed.
    positions
        Positions of the prompt's tokens in time, height and width, shape (3, N).
    delta
        Difference between position and index of tokens after the prompt.
    image_spans
        The prompt's images.
    end
        Length of the prompt. Positions and images are dropped after it.
    """

    offset: int = 0
    positions: npt.NDArray[np.int64] | None = None
    delta: int = 0
    image_spans: Sequence[ImageSpan] = field(default=())
    end: int = 0

    def copy(self) -> "ImageTokenRow":
        """Return an independent copy, without the images of a prompt that is processed."""
        if self.offset > self.end:
            return ImageTokenRow(self.offset, delta=self.delta)
        return replace(self)

    def window(self, length: int) -> npt.NDArray[np.int64]:
        """Return the positions of the next tokens, shape (3, length)."""
        index = np.arange(self.offset, self.offset + length)
        where = np.broadcast_to(index + self.delta, (3, length))
        if self.positions is None or self.offset >= self.positions.shape[1]:
            return where
        known = self.positions[:, self.offset : self.offset + length]
        return np.concatenate([known, where[:, known.shape[1] :]], axis=1)


class ImageTokenCache:
    """The `ImageTokenRow`s of a batch, in the form of a KV cache's layer."""

    def __init__(self, rows: Sequence[ImageTokenRow] = ()):
        self.rows = list(rows)
        self._padding = [0] * len(self.rows)

    def advance(self, length: int) -> None:
        """Count `length` processed tokens for every row."""
        for row in self.rows:
            row.offset += length

    @property
    def text_only(self) -> bool:
        """Whether no row has images or multi-dimensional positions ahead."""
        return all(row.offset >= row.end for row in self.rows)

    @property
    def unencoded(self) -> list[ProcessedImage]:
        """Images ahead that are not encoded yet, each once."""
        ahead = [
            span.image
            for row in self.rows
            for span in row.image_spans
            if span.end > row.offset and span.image.features is None
        ]
        return list(dict.fromkeys(ahead))

    # --- as a cache ---------------------------------------------------------------------------

    @classmethod
    def merge(cls, caches: Sequence["ImageTokenCache"]) -> "ImageTokenCache":
        """Return one batch of several."""
        return cls([row.copy() for cache in caches for row in cache.rows])

    def extend(self, other: "ImageTokenCache") -> None:
        """Add the rows of another batch."""
        self.rows.extend(other.rows)
        self._padding.extend(other._padding)

    def filter(self, keep: Any) -> None:
        """Keep only these rows."""
        indices = keep.tolist() if isinstance(keep, mx.array) else list(keep)
        self.rows = [self.rows[index] for index in indices]
        self._padding = [self._padding[index] for index in indices]

    def extract(self, index: int) -> "ImageTokenCache":
        """Return a copy of one row."""
        return ImageTokenCache([self.rows[index].copy()])

    def __deepcopy__(self, memo: Any) -> "ImageTokenCache":
        return ImageTokenCache.merge([self])

    def prepare(self, *, right_padding: Sequence[int] | None = None, **_: Any) -> None:
        """Set how much of the next tokens is padding, per row."""
        self._padding = list(right_padding or [0] * len(self.rows))

    def finalize(self) -> None:
        """Subtract the padding, which was processed."""
        for row, padding in zip(self.rows, self._padding, strict=True):
            row.offset -= padding
        self._padding = [0] * len(self.rows)

    def trim(self, n: int) -> int:
        """Drop the last `n` tokens."""
        for row in self.rows:
            row.offset -= n
        return n

    def cut(self, counts: Sequence[int]) -> None:
        """Drop the last `counts[i]` tokens of row i."""
        for row, count in zip(self.rows, counts, strict=True):
            row.offset -= count

    def is_trimmable(self) -> bool:
        """Return True: every row can be trimmed."""
        return True

    def size(self) -> int:
        """Return the tokens of the longest row."""
        return max((row.offset for row in self.rows), default=0)

    def empty(self) -> bool:
        """Return whether no row has processed a token."""
        return not self.size()

    @property
    def state(self) -> list[Any]:
        """Empty: this layer has no arrays."""
        return []

    @property
    def nbytes(self) -> int:
        """0: the image cache counts the features."""
        return 0
