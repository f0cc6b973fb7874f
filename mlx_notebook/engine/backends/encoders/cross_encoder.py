"""The backend of cross-encoders: an mlx-vlm model that scores a pair of texts and does no more.

`selection` imports it when the first one is loaded, since mlx-vlm takes two seconds.
"""

from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mlx_vlm.reranker_loader import load_sequence_classification_model

from mlx_notebook.engine.backends.backend import LoadStep
from mlx_notebook.engine.backends.encoders.encoder import EncoderBackend, load_encoder
from mlx_notebook.engine.backends.model_loader import loading
from mlx_notebook.engine.reranking.pair_scoring import PairReranker
from mlx_notebook.protocol import ModelOptions, Rerank

# What mlx-vlm's encoders compute, whatever the configuration says.
_COMPUTED = {
    "hidden_act": "gelu",
    "hidden_activation": "gelu",
    "position_embedding_type": "absolute",
}


class CrossEncoderBackend(EncoderBackend):
    """A cross-encoder in memory."""

    purpose = "only ranks documents: use v1/rerank"
    reranker: PairReranker

    def __init__(
        self, name: str, model: Any, tokenizer: Any, limit: int, config: dict[str, Any]
    ) -> None:
        super().__init__(name, model, tokenizer, limit)
        self.reranker = PairReranker(
            model,
            tokenizer,
            self.length_limit,
            model.config.pad_token_id if hasattr(model.config, "pad_token_id") else 0,
            types=config.get("type_vocab_size", 2) > 1,
        )

    def close(self) -> None:
        """Release the model, even if someone still holds this object."""
        super().close()
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

    def build(config: dict[str, Any]) -> Any:
        for setting, computed in _COMPUTED.items():
            if config.get(setting, computed) != computed:
                raise ValueError(f"its {setting} is {config[setting]!r}, which is not supported.")
        return load_sequence_classification_model(path, lazy=True, config=config)

    with loading(name):
        model, tokenizer, config, limit = yield from load_encoder(path, options, workers, build)
        backend = CrossEncoderBackend(name, model, tokenizer, limit, config)
        # This compiles what the first request needs, and finds files of the wrong kind.
        first = Rerank(id="", model=name, path="", query="a", documents=["b", "b b"])
        yield from backend.reranker.score(backend.reranker.pairs(first), limit)
    return backend
