"""What the engine asks of a resident model, whichever library runs it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backends.adapters import BaseWeights
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.kv_cache.row_cache import RowCache
from mlx_notebook.engine.prompts.chat_format import OutputPlan
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.reranking.reranker import Reranker
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import TokenReport
from mlx_notebook.engine.sampling.vocabulary import Vocabulary
from mlx_notebook.protocol import ChatPrompt, Generate, Prompt

LoadStep = int | None
"""What a load yields: the bytes of weights in memory; None until the files are checked."""

Vectors = npt.NDArray[np.float32]
"""Shape (texts, dimensions)."""


@dataclass(frozen=True)
class Token:
    """One new token of a row. `finish` is mlx-lm's reason: `stop` (end token) or `length`."""

    uid: int
    id: int
    finish: str | None
    report: TokenReport | None


@dataclass(frozen=True)
class Progress:
    """How many tokens of a row's prompt are computed, beyond the cached ones."""

    uid: int
    done: int
    end: bool


@dataclass(frozen=True)
class PreparedChat:
    """A chat to embed: its tokens, and a function that returns its vector, shape (1, size).

    Only the thread that owns MLX may call `embed`.
    """

    tokens: list[int]
    embed: Callable[[], Vectors]


class Backend(ABC):
    """A model in memory.

    Only `prepare` may be called in any thread; all else belongs to the thread that owns MLX.

    Attributes
    ----------
    name
        The model's name.
    tokenizer
        Its tokenizer, as mlx-lm wraps it.
    context_length
        Most tokens of prompt and answer together, or of a text to embed.
    length_limit
        How long a prompt may be before it is tokenized.
    nbytes
        Bytes of the weights.
    base
        The part of the weights that models with other adapters share.
    takes_images, takes_sounds
        Whether a prompt may contain images, and sounds.
    reranker
        Ranks documents with this model; None if it cannot.
    """

    name: str
    tokenizer: Any
    context_length: int
    length_limit: LengthLimit
    nbytes: int
    base: BaseWeights
    takes_images: bool = False
    takes_sounds: bool = False
    reranker: Reranker | None = None

    @abstractmethod
    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Render and tokenize a prompt and read its images. Called on worker threads.

        Parameters
        ----------
        length_limit
            Replaces the model's own.

        Raises
        ------
        InvalidRequest, VisionNotSupported
            If the prompt, or an image in it, cannot be fed to this model.
        """

    @abstractmethod
    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Return a vector for each tokenized text; it does not depend on the others.

        Yields after each `chunk` positions of a longer text, if the model can go on from there.

        Raises
        ------
        InvalidRequest
            If the model has no embeddings.
        """

    def prepare_chat(self, chat: ChatPrompt) -> PreparedChat:
        """Render a chat to embed and read its images. Called on worker threads.

        Raises
        ------
        InvalidRequest
            If the model embeds no images.
        """
        raise InvalidRequest(f"{self.name} embeds no images", "input")

    @abstractmethod
    def close(self) -> None:
        """Release everything that holds memory, even if someone still holds this object."""


class GeneratingBackend(Backend):
    """A model in memory that generates, with its batch of rows. `len` counts the rows.

    `plan`, too, may be called in any thread.

    Attributes
    ----------
    model
        Called with tokens, shape (B, L), and `cache`, it returns logits.
    vocabulary
        The bytes of its tokens.
    sampling_defaults
        The sampling settings of its `generation_config.json`.
    trimmable
        Whether its KV caches can be cut back to any length.
    """

    model: Any
    vocabulary: Vocabulary
    sampling_defaults: dict[str, float]
    trimmable: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def kv_bytes(self) -> int:
        """Bytes of the KV caches of its rows."""

    @abstractmethod
    def plan(self, command: Generate) -> tuple[PreparedPrompt, OutputPlan]:
        """Return a request's prompt and the plan for its rows. Called on worker threads.

        Raises
        ------
        InvalidRequest, VisionNotSupported
            If this model cannot do what the request asks for.
        """

    @abstractmethod
    def plain_cache(self) -> RowCache:
        """Return the caches of a row without tokens, which are not quantised."""

    @abstractmethod
    def wait_seconds(self, tokens: int) -> float:
        """Return how many seconds a prompt of so many tokens that came alone waits for others."""

    @abstractmethod
    def insert(
        self, row: Row, prompt: PreparedPrompt, max_tokens: int, *, endless: bool
    ) -> tuple[int, int]:
        """Add a row to the batch.

        Parameters
        ----------
        row
            Its sampling settings.
        endless
            Whether to ignore the model's end tokens.

        Returns
        -------
        uid, cached
            The number of the row, and how many prompt tokens the prefix cache held.
        """

    @abstractmethod
    def fork(self, uid: int, row: Row, max_tokens: int, *, endless: bool) -> int:
        """Add another row with the prompt of `uid`, which has just been computed."""

    @abstractmethod
    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running row, then compute one chunk of waiting prompts."""

    @abstractmethod
    def remove(self, uids: list[int]) -> None:
        """Remove rows from the batch; the prefix cache keeps what was computed of them."""
