"""What the scheduler asks of a resident model, whichever library runs it."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backends.adapters import Base
from mlx_notebook.engine.prompts.chat_format import OutputPlan
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.sampling.sampler import Row
from mlx_notebook.engine.sampling.vocabulary import Vocabulary
from mlx_notebook.protocol import Generate, Prompt

Done = int | None
"""What loading yields: the bytes of weights in memory; None before the files are checked."""

Vectors = npt.NDArray[np.float32]
"""Shape (texts, dimensions)."""


@dataclass(frozen=True)
class Token:
    """What one step gave a sequence. `finish` is mlx-lm's reason: `stop` (end token), `length`."""

    uid: int
    id: int
    finish: str | None
    logprob: tuple[Any, Any, Any] | None


@dataclass(frozen=True)
class Progress:
    """How much of a sequence's prompt is computed, in tokens beyond the reused ones."""

    uid: int
    done: int
    end: bool


class Backend(Protocol):
    """A model in memory and the batch of sequences that it decodes.

    Everything but `prepare` and `plan` belongs to the thread that owns MLX. `len` counts its
    sequences; a model that only embeds never has any, since `plan` refuses what would be one.

    Attributes
    ----------
    model
        Called with tokens, shape (B, L), and `cache`, it gives logits.
    context_length
        Most tokens of prompt and answer together.
    length_limit
        How long a prompt may be before it is tokenized.
    nbytes
        What the weights take, in bytes.
    base
        The part of them that models with other adapters share.
    defaults
        The model's own generation settings.
    trimmable
        Whether its caches can be cut back at any length.
    sees
        Whether prompts may show it pictures.
    """

    name: str
    model: Any
    tokenizer: Any
    vocabulary: Vocabulary
    defaults: dict[str, float]
    context_length: int
    length_limit: LengthLimit
    nbytes: int
    base: Base
    trimmable: bool
    sees: bool

    def __len__(self) -> int: ...

    @property
    def kv_bytes(self) -> int:
        """What the keys and values of its sequences take, in bytes."""
        ...

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Render and tokenize a prompt and read its pictures; called on a worker's thread.

        `length_limit` stands in the place of the model's own.

        Raises
        ------
        InvalidRequest, VisionNotSupported
            If the prompt, or a picture in it, cannot be fed to this model.
        """
        ...

    def plan(self, command: Generate) -> tuple[PreparedPrompt, OutputPlan]:
        """Make a request's prompt and the plan for its rows; called on a worker's thread.

        Raises
        ------
        InvalidRequest, VisionNotSupported
            If this model cannot do what is asked.
        """
        ...

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Make a vector of each tokenized text, whatever else is in the batch.

        Stops after each `chunk` positions of a longer text, where the model can go on from there.

        Raises
        ------
        InvalidRequest
            If the model has none to give.
        """
        ...

    def insert(
        self, row: Row, prompt: PreparedPrompt, max_tokens: int, *, endless: bool
    ) -> tuple[int, int]:
        """Take a sequence into the batch.

        Parameters
        ----------
        row
            Its sampling settings.
        prompt
            What it begins with.
        endless
            Ignore the model's end tokens.

        Returns
        -------
        uid, cached
            The sequence's number, and how many prompt tokens were reused.
        """
        ...

    def fork(self, uid: int, row: Row, max_tokens: int, *, endless: bool) -> int:
        """Take in another sequence with the prompt of `uid`, which has just been computed."""
        ...

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running sequence, then compute one chunk of waiting prompts."""
        ...

    def remove(self, uids: list[int]) -> None:
        """Take sequences out of the batch; what was computed of them is kept for reuse."""
        ...

    def close(self) -> None:
        """Let go of everything that holds memory, whoever still holds this object."""
        ...
