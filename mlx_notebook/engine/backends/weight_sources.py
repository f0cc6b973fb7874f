"""Where a text model comes from: a folder in mlx-lm's format, or a GGUF file."""

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_config, load_model

from mlx_notebook.engine.backends.adapters import base_names
from mlx_notebook.engine.backends.model_loader import (
    open_tokenizer,
    read_weights,
    require_tokenizer,
)
from mlx_notebook.engine.gguf.gguf_model import GgufModelFile
from mlx_notebook.engine.gguf.gguf_tokenizer import write_tokenizer


class WeightSource(Protocol):
    """A text model on disk.

    Attributes
    ----------
    config
        Its configuration, as in config.json.
    """

    config: dict[str, Any]

    def tokenizer(self) -> Any:
        """Return its tokenizer, mlx-lm's `TokenizerWrapper`. Any thread may call this."""

    def build(self) -> Any:
        """Return its layers; their weights are not in memory yet."""

    def read(self, model: Any) -> Generator[int, None, int]:
        """Read its weights into a model of `build`, in slices; yield and return the bytes."""


def open_source(path: Path, *, trusted: bool) -> WeightSource:
    """Open the model at a path. `trusted` allows Python code of its folder to run.

    Raises
    ------
    ValueError, OSError
        If it cannot be loaded; the message says why.
    """
    return GgufSource(path) if path.is_file() else FolderSource(path, trusted=trusted)


class FolderSource:
    """A folder in mlx-lm's format. See `WeightSource`."""

    def __init__(self, path: Path, *, trusted: bool) -> None:
        self._path, self._trusted = path, trusted
        self.config: dict[str, Any] = load_config(path)
        require_tokenizer(path)

    def tokenizer(self) -> Any:
        """Return the tokenizer."""
        return open_tokenizer(self._path, self.config, {"trust_remote_code": self._trusted})

    def build(self) -> Any:
        """Return the layers, with weights that are read when they are first used."""
        model, self.config = load_model(self._path, lazy=True, trust_remote_code=self._trusted)
        return model

    def read(self, model: Any) -> Generator[int, None, int]:
        """Read the weights."""
        return (yield from read_weights(model))


class GgufSource:
    """A GGUF file. See `WeightSource`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = GgufModelFile(path)
        self.config = self._file.config

    def tokenizer(self) -> Any:
        """Return the tokenizer, made from the metadata."""
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            ends = self.write_tokenizer(folder)
            return open_tokenizer(folder, {"eos_token_id": ends}, name=self._path.name)

    def write_tokenizer(self, folder: Path) -> list[int]:
        """Write the tokenizer's files into a folder; return the tokens that end an answer."""
        return write_tokenizer(self._path, self._file.header, self.config, folder)

    def build(self) -> Any:
        """Return the layers, with random weights that are not in memory."""
        return self._file.build()

    def read(self, model: Any) -> Generator[int, None, int]:
        """Read the weights."""
        yield from self._file.read(model, base_names(model))
        # What an adapter adds, and buffers that layers compute.
        mx.eval(model.parameters())
        return sum(array.nbytes for _, array in tree_flatten(model.parameters()))
