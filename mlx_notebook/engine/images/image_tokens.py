"""What a model sees in the tokens of its batch: pictures and positions, row by row.

They travel as one more layer of the cache. Whatever happens to a row (it joins a batch, leaves it,
is forked, kept for reuse, cut back) happens to all layers of its cache alike, so no second
bookkeeping is needed beside mlx-lm's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageFeatures:
    """A image as the language model takes it.

    `embeds` are those of all tokens that stand for it, shape (N, hidden size); `visual` marks
    which of them are pixels; `deep` is what Qwen3-VL adds to the first layers' hidden states, one
    array a layer, shape (pixel tokens, hidden size); `per_layer` Gemma's further embeddings, one
    a token.
    """

    embeds: mx.array
    visual: npt.NDArray[np.bool_]
    deep: tuple[mx.array, ...] = ()
    per_layer: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        extra = [] if self.per_layer is None else [self.per_layer]
        return sum(int(array.nbytes) for array in (self.embeds, *self.deep, *extra))


@dataclass(eq=False)
class ProcessedImage:
    """A image that was decoded and preprocessed; `features` once a model has encoded it.

    `tokens` stand for it in a prompt, from its first pixel to its last, `keys` are the same with
    numbers of its content in the place of pixels; `before` and `after` are texts that surround it.
    `inputs` is what the processor made of it; dropped once there are features.
    """

    tokens: list[int]
    keys: list[int]
    before: str
    after: str
    inputs: dict[str, Any]
    grid: npt.NDArray[Any] | None = None
    features: ImageFeatures | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        if self.features is not None:
            return self.features.nbytes
        return sum(int(getattr(value, "nbytes", 0)) for value in self.inputs.values())


@dataclass(frozen=True)
class ImageSpan:
    """A image and where in its prompt it begins, in tokens."""

    start: int
    image: ProcessedImage

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.image.tokens)


@dataclass
class ImageTokenRow:
    """One row: how many tokens it has taken in, and what those to come look like.

    Attributes
    ----------
    offset
        Tokens taken in so far.
    positions
        Of the prompt's tokens, shape (3, N), where time, height and width count apart.
    delta
        What the position of a token after the prompt is beyond its index.
    image_spans
        The prompt's pictures.
    end
        Where the prompt ends; nothing of it is needed any more beyond.
    """

    offset: int = 0
    positions: npt.NDArray[np.int64] | None = None
    delta: int = 0
    image_spans: Sequence[ImageSpan] = field(default=())
    end: int = 0

    def copy(self) -> "ImageTokenRow":
        """An independent copy, without what is not needed any more."""
        if self.offset > self.end:
            return ImageTokenRow(self.offset, delta=self.delta)
        return replace(self)

    def window(self, length: int) -> npt.NDArray[np.int64]:
        """Positions of the next tokens, shape (3, length)."""
        index = np.arange(self.offset, self.offset + length)
        where = np.broadcast_to(index + self.delta, (3, length))
        if self.positions is None or self.offset >= self.positions.shape[1]:
            return where
        known = self.positions[:, self.offset : self.offset + length]
        return np.concatenate([known, where[:, known.shape[1] :]], axis=1)


class ImageTokenCache:
    """The rows of a batch's rows, in the form of a layer's cache."""

    def __init__(self, rows: Sequence[ImageTokenRow] = ()):
        self.rows = list(rows)
        self._padding = [0] * len(self.rows)

    def advance(self, length: int) -> None:
        """Note that every row has taken in so many tokens."""
        for row in self.rows:
            row.offset += length

    @property
    def text_only(self) -> bool:
        """Whether no row has a image or positions of its own ahead."""
        return all(row.offset >= row.end for row in self.rows)

    @property
    def unencoded(self) -> list[ProcessedImage]:
        """Pictures ahead that are not encoded, each once."""
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
        """One batch of several."""
        return cls([row.copy() for cache in caches for row in cache.rows])

    def extend(self, other: "ImageTokenCache") -> None:
        """Take in another batch's rows."""
        self.rows.extend(other.rows)
        self._padding.extend(other._padding)

    def filter(self, keep: Any) -> None:
        """Keep only these rows."""
        indices = keep.tolist() if isinstance(keep, mx.array) else list(keep)
        self.rows = [self.rows[index] for index in indices]
        self._padding = [self._padding[index] for index in indices]

    def extract(self, index: int) -> "ImageTokenCache":
        """A copy of one row."""
        return ImageTokenCache([self.rows[index].copy()])

    def __deepcopy__(self, memo: Any) -> "ImageTokenCache":
        return ImageTokenCache.merge([self])

    def prepare(self, *, right_padding: Sequence[int] | None = None, **_: Any) -> None:
        """Note how much of what comes next is padding."""
        self._padding = list(right_padding or [0] * len(self.rows))

    def finalize(self) -> None:
        """The padding was taken in: it does not count."""
        for row, padding in zip(self.rows, self._padding, strict=True):
            row.offset -= padding
        self._padding = [0] * len(self.rows)

    def trim(self, n: int) -> int:
        """Forget the last tokens."""
        for row in self.rows:
            row.offset -= n
        return n

    def is_trimmable(self) -> bool:
        """Always."""
        return True

    def size(self) -> int:
        """Tokens of the longest row."""
        return max((row.offset for row in self.rows), default=0)

    def empty(self) -> bool:
        """Whether no row has taken in anything."""
        return not self.size()

    @property
    def state(self) -> list[Any]:
        """No arrays of its own."""
        return []

    @property
    def nbytes(self) -> int:
        """None: features belong to the image cache."""
        return 0
