"""What models share that read texts as a whole: embedding models and cross-encoders."""

from collections.abc import Callable, Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_config

from mlx_notebook.engine.backends.backend import LoadStep
from mlx_notebook.engine.backends.encoders.encoder_activation import use_exact_gelu
from mlx_notebook.engine.backends.model_loader import adapt_to_device
from mlx_notebook.engine.backends.single_purpose import (
    SinglePurposeBackend,
    load_with_tokenizer,
)
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, tokenize_text
from mlx_notebook.model_files.embedding_files import max_input_tokens
from mlx_notebook.protocol import ModelOptions, Prompt, TextPrompt

_DEFAULT_LIMIT = 512


class EncoderBackend(SinglePurposeBackend):
    """A model in memory that reads texts as a whole."""

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Tokenize a text; refuse a chat."""
        if not isinstance(prompt, TextPrompt):
            raise self.refusal()
        return tokenize_text(self.tokenizer, prompt, length_limit or self.length_limit)


def load_encoder(
    path: Path,
    options: ModelOptions,
    workers: Executor,
    build: Callable[[dict[str, Any]], Any],
) -> Generator[LoadStep, None, tuple[Any, Any, dict[str, Any], int]]:
    """Read an encoder in slices (see `selection.load`).

    Parameters
    ----------
    build
        Called with the model's `config.json`, it returns the model with weights that are not read
        yet, or raises `ValueError`.

    Returns
    -------
    model, tokenizer, config, limit
        The model, its tokenizer, its `config.json`, and most tokens of a text.
    """
    config = load_config(path)

    def adapted() -> Any:
        model = build(config)
        use_exact_gelu(model)
        adapt_to_device(model)
        return model

    model, tokenizer = yield from load_with_tokenizer(path, config, options, workers, adapted)
    limit = max_input_tokens(path, config) or _DEFAULT_LIMIT
    return model, tokenizer, config, min(limit, options.context_limit or limit)
