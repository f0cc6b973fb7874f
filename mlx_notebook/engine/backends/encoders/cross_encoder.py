"""The backend of cross-encoders: an mlx-vlm model that scores a pair of texts and does no more.

`selection` imports it when the first one is loaded, since mlx-vlm takes two seconds.
"""

from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlx.utils import tree_flatten
from mlx_lm.utils import load_config
from mlx_vlm.reranker_loader import load_sequence_classification_model

from mlx_notebook.engine.backends.adapters import BaseWeights
from mlx_notebook.engine.backends.backend import Backend, LoadStep, Vectors, only_ranks
from mlx_notebook.engine.backends.encoders.encoder_activation import use_exact_gelu
from mlx_notebook.engine.backends.model_loader import (
    adapt_to_device,
    loading,
    open_tokenizer,
    read_parts,
    require_tokenizer,
)
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, tokenize_text
from mlx_notebook.engine.reranking.pair_scoring import PairReranker
from mlx_notebook.model_files.embedding_files import max_input_tokens
from mlx_notebook.protocol import ModelOptions, Prompt, Rerank, TextPrompt

_DEFAULT_LIMIT = 512
# What mlx-vlm's encoders compute, whatever the configuration says.
_COMPUTED = {
    "hidden_act": "gelu",
    "hidden_activation": "gelu",
    "position_embedding_type": "absolute",
}


class CrossEncoderBackend(Backend):
    """A cross-encoder in memory."""

    def __init__(self, name: str, model: Any, tokenizer: Any, limit: int, config: dict[str, Any]):
        self.name, self.tokenizer = name, tokenizer
        self.context_length = limit
        self.length_limit = LengthLimit(limit, longest=longest_token(tokenizer))
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = BaseWeights(self.nbytes)
        self.reranker: PairReranker = PairReranker(
            model,
            tokenizer,
            self.length_limit,
            model.config.pad_token_id if hasattr(model.config, "pad_token_id") else 0,
            types=config.get("type_vocab_size", 2) > 1,
        )

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Tokenize a text, to show its tokens; refuse a chat."""
        if not isinstance(prompt, TextPrompt):
            raise only_ranks(self.name)
        return tokenize_text(self.tokenizer, prompt, length_limit or self.length_limit)

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Refuse to embed."""
        raise only_ranks(self.name)

    def close(self) -> None:
        """Release the model, even if someone still holds this object."""
        del self.reranker


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, CrossEncoderBackend]:
    """Load a cross-encoder in slices (see `selection.load`).

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        config = load_config(path)
        require_tokenizer(path)
        for setting, computed in _COMPUTED.items():
            if config.get(setting, computed) != computed:
                raise ValueError(f"its {setting} is {config[setting]!r}, which is not supported.")
        extra = {"trust_remote_code": options.trust_remote_code}
        tokenizer = workers.submit(open_tokenizer, path, config, extra)
        model = load_sequence_classification_model(path, lazy=True, config=config)
        use_exact_gelu(model)
        adapt_to_device(model)
        _, parts = yield from read_parts(model, tokenizer)
        limit = max_input_tokens(path, config) or _DEFAULT_LIMIT
        limit = min(limit, options.context_limit or limit)
        backend = CrossEncoderBackend(name, model, parts[0], limit, config)
        # This compiles what the first request needs, and finds files of the wrong kind.
        first = Rerank(id="", model=name, path="", query="a", documents=["b", "b b"])
        yield from backend.reranker.score(backend.reranker.pairs(first), limit)
    return backend
