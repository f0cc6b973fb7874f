"""Models in memory that do one thing and write no answers."""

from collections.abc import Callable, Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar

from mlx.utils import tree_flatten

from mlx_notebook.engine.backends.adapters import BaseWeights
from mlx_notebook.engine.backends.backend import Backend, LoadStep, Vectors
from mlx_notebook.engine.backends.model_loader import (
    open_tokenizer,
    read_parts,
    require_tokenizer,
)
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.protocol import ModelOptions, Prompt


class SinglePurposeBackend(Backend):
    """A model in memory that does one thing, and refuses all else.

    Parameters
    ----------
    name
        The model's name.
    model
        The model.
    tokenizer
        Its tokenizer.
    limit
        Most tokens that it takes at once.

    Attributes
    ----------
    purpose
        What it does and which route is for that, as the end of a sentence about it.
    """

    purpose: ClassVar[str]

    def __init__(self, name: str, model: Any, tokenizer: Any, limit: int) -> None:
        self.name, self.tokenizer = name, tokenizer
        self.context_length = limit
        self.length_limit = LengthLimit(limit, longest=longest_token(tokenizer))
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = BaseWeights(self.nbytes)
        self._model = model

    def refusal(self) -> InvalidRequest:
        """Return the error for a request to do something else."""
        return InvalidRequest(f"{self.name} {self.purpose}, or another model.", "model")

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Refuse all prompts."""
        raise self.refusal()

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Refuse to embed."""
        raise self.refusal()

    def close(self) -> None:
        """Release the model, even if someone still holds this object."""
        del self._model


def load_with_tokenizer(
    path: Path,
    config: dict[str, Any],
    options: ModelOptions,
    workers: Executor,
    build: Callable[[], Any],
) -> Generator[LoadStep, None, tuple[Any, Any]]:
    """Read a model in slices (see `selection.load`) while a worker opens its tokenizer.

    Parameters
    ----------
    config
        The model's `config.json`.
    build
        Returns the model with weights that are not read yet, or raises `ValueError`.

    Returns
    -------
    model, tokenizer

    Raises
    ------
    FileNotFoundError
        If the folder has no tokenizer.
    """
    require_tokenizer(path)
    extra = {"trust_remote_code": options.trust_remote_code}
    opening = workers.submit(open_tokenizer, path, config, extra)
    model = build()
    _, (tokenizer,) = yield from read_parts(model, opening)
    return model, tokenizer
