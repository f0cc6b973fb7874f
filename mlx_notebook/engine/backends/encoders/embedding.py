"""The embedding backend: an mlx-vlm model that turns texts, or images too, into vectors.

`selection` imports it when the first embedding model is loaded, since mlx-vlm takes two seconds.
"""

import json
import threading
from collections.abc import Generator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.embedding_loader import EMBEDDING_MODEL_REMAPPING, load_embedding_model
from mlx_vlm.encoder_loader import load_encoder_model
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.models.pooling import pool_by_config
from mlx_vlm.utils import process_inputs_with_fallback

from mlx_notebook.engine.backends.backend import LoadStep, PreparedChat, Vectors
from mlx_notebook.engine.backends.encoders.encoder import EncoderBackend, load_encoder
from mlx_notebook.engine.backends.model_loader import loading, wait
from mlx_notebook.engine.backends.vision.vision_processor import open_processor
from mlx_notebook.engine.batching.padding import padded
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.sandbox.sandbox import decode
from mlx_notebook.model_files.embedding_files import as_embedding_type, embeds_images
from mlx_notebook.protocol import ChatPrompt, ModelOptions

# Modules of sentence-transformers that mlx-vlm applies itself or does not need.
_MODULES = ("Transformer", "Pooling", "Normalize")


class EmbeddingBackend(EncoderBackend):
    """An embedding model in memory."""

    purpose = "embeds texts and writes none: use v1/embeddings"

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        limit: int,
        padding: int,
        processor: Any = None,
    ) -> None:
        super().__init__(name, model, tokenizer, limit)
        self._padding = padding
        # Reads chats with images, for a model that embeds them.
        self._processor, self._lock = processor, threading.Lock()

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Return a vector for each tokenized text, pooled as the model's files say.

        Most of these models attend to later tokens. Only one that does not can yield in between.
        """
        model = self._model
        tokens, mask = padded(batch, self._padding)
        positions = tokens.shape[1]
        in_pieces = self._processor is None and model.model_type == "qwen3_embedding"
        if positions <= chunk or not in_pieces:
            self._forget_positions()
            output = model(mx.array(tokens), attention_mask=mx.array(mask))
            return np.array(output.text_embeds.astype(mx.float32))
        cache = make_prompt_cache(model)
        pieces = []
        for begin in range(0, positions, chunk):
            if begin:
                yield
            pieces.append(model.model(mx.array(tokens[:, begin : begin + chunk]), cache))
            mx.eval(pieces)
        how = model.pooling_config or {"pooling_mode": "lasttoken"}
        pooled = pool_by_config(mx.concatenate(pieces, axis=1), mx.array(mask), how)
        return np.array(pooled.astype(mx.float32))

    def prepare_chat(self, chat: ChatPrompt) -> PreparedChat:
        """Render a chat to embed and read its images. Called on worker threads."""
        if self._processor is None:
            return super().prepare_chat(chat)
        most = self.length_limit.characters
        text = apply_template(self.tokenizer, chat.messages, [], {}, True, most=most)
        images = [decode(image) for image in chat.images]
        try:
            with self._lock:  # processors share a tokenizer, which is not thread-safe
                given = process_inputs_with_fallback(
                    self._processor,
                    images=images or None,
                    audio=None,
                    prompts=[text],
                    add_special_tokens=False,
                )
        except ValueError as error:
            raise InvalidRequest(f"an input cannot be shown to this model: {error}", "input") from (
                error
            )
        inputs = {
            name: np.array(value)
            for name, value in given.items()
            if name not in ("token_type_ids", "mm_token_type_ids") and value is not None
        }
        return PreparedChat(inputs["input_ids"][0].tolist(), partial(self._embed_chat, inputs))

    def _embed_chat(self, inputs: dict[str, Any]) -> Vectors:
        """Return the vector of what the processor made of a chat."""
        self._forget_positions()
        output = self._model(**{name: mx.array(value) for name, value in inputs.items()})
        return np.array(output.text_embeds.astype(mx.float32))

    def _forget_positions(self) -> None:
        """Forget the positions of the last input, which mlx-vlm would use again for this one."""
        if self._processor is not None:
            self._model.language_model._position_ids = None
            self._model.language_model._rope_deltas = None


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, EmbeddingBackend]:
    """Load an embedding model in slices (see `selection.load`).

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    opening: Future[Any] | None = None

    def build(config: dict[str, Any]) -> Any:
        pooling = _pooling(path, config)
        nonlocal opening
        if embeds_images(name, config):
            opening = workers.submit(open_processor, path, options.trust_remote_code)
            names = {**EMBEDDING_MODEL_REMAPPING, **as_embedding_type(config)}
            model = load_encoder_model(path, model_remapping=names, lazy=True)
        else:
            model = load_embedding_model(path, lazy=True)
        model.pooling_config = pooling
        return model

    with loading(name):
        model, tokenizer, config, limit = yield from load_encoder(path, options, workers, build)
        processor = (yield from wait(opening)) if opening is not None else None
        padding = config.get("pad_token_id") or 0
        backend = EmbeddingBackend(name, model, tokenizer, limit, padding, processor)
        # This compiles what the first request needs, and finds models of the wrong kind.
        vectors = yield from backend.embed([[0, 1], [0]], limit)
        if vectors.ndim != 2:
            raise ValueError("it makes a vector of each token, not one of a text.")
    return backend


def _pooling(path: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Read how the model's files pool token vectors into one; None if they do not say.

    Raises
    ------
    ValueError
        If the files ask for a step that is not supported.
    """
    folder = path / "1_Pooling"
    file = path / "modules.json"
    modules = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for module in modules:
        family, _, kind = str(module["type"]).rpartition(".")
        known = kind in _MODULES or (kind == "Dense" and config["model_type"] == "gemma3_text")
        if not family.startswith("sentence_transformers.") or not known:
            raise ValueError(f"its modules.json asks for {module['type']}, which is not supported.")
        if kind == "Pooling":
            folder = path / module["path"]
    if not folder.resolve().is_relative_to(path.resolve()):
        raise ValueError("its modules.json leads out of its folder.")
    file = folder / "config.json"
    settings: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return settings
