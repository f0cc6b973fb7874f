"""The functions that all ranks call in the same order, each on its own part of a model."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from mlx_notebook.engine.batching.hidden_states import HiddenStates
from mlx_notebook.engine.distributed.rank_group import RankGroup
from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.kv_cache.checkpoints import Checkpoint, compact, cut, make_checkpoint
from mlx_notebook.engine.kv_cache.quantized import row_caches
from mlx_notebook.engine.kv_cache.row_cache import RowCache
from mlx_notebook.protocol import ModelOptions

log = logging.getLogger(__name__)


class RankModel:
    """A rank's part of a model.

    Parameters
    ----------
    model
        The part that is in this rank's memory.
    name, options
        Its name and settings.
    ranks
        All ranks.
    """

    def __init__(self, model: Any, name: str, options: ModelOptions, ranks: RankGroup):
        self.model = model
        self._name, self._options, self._ranks = name, options, ranks
        self.empty_cache: Callable[[], list[Any]] = list

    def apply_settings(self) -> None:
        """Test the model with its settings, as rank 0 does at the same time."""
        try:
            self.empty_cache = row_caches(self._name, self.model, self._options)
        except LoadFailed as error:  # rank 0 has the same error, and reports it
            log.warning("%s", error.message)

    def receive(self, rows: int, length: int, batch: BatchCache) -> mx.array:
        """Return the tokens that rank 0 feeds into a batch, shape (rows, length)."""
        return self._ranks.broadcast(mx.zeros((rows, length), mx.uint32), batch.state)


def _settings(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> None:
    rank.apply_settings()


def _row(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> RowCache:
    (plain,) = numbers
    return RowCache(make_prompt_cache(rank.model) if plain else rank.empty_cache())


def _feed(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> None:
    (batch,), (only_state, length, *counts) = objects, numbers
    tokens = rank.receive(len(counts), length, batch)
    logits = batch.feed(rank.model, tokens, counts, only_state=bool(only_state))
    mx.async_eval(batch.state if only_state else [logits, batch.state])


def _cut(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> RowCache:
    row, *kept = objects
    checkpoint: Checkpoint | None = kept[0] if kept else None
    return cut(row, numbers[0], checkpoint)


def _hidden(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> HiddenStates:
    return HiddenStates(rank.model, bool(numbers[0]))


def _next_hidden(rank: RankModel, objects: Sequence[Any], numbers: list[int]) -> None:
    texts, *tokens = numbers
    mx.eval(objects[0].next(np.array(tokens, np.int32).reshape(texts, -1)))


Function = Callable[[RankModel, Sequence[Any], list[int]], object]

FUNCTIONS: dict[str, Function] = {
    "settings": _settings,
    "row": _row,
    "batch": lambda rank, objects, numbers: BatchCache(objects),
    "feed": _feed,
    "cut_back": lambda rank, objects, numbers: objects[0].cut(numbers),
    "extend": lambda rank, objects, numbers: objects[0].extend(objects[1]),
    "keep": lambda rank, objects, numbers: objects[0].keep(numbers),
    "split": lambda rank, objects, numbers: objects[0].split(numbers),
    "extract": lambda rank, objects, numbers: objects[0].extract(numbers[0]),
    "cut": _cut,
    "checkpoint": lambda rank, objects, numbers: make_checkpoint(objects[0]),
    "compact": lambda rank, objects, numbers: compact(objects[0], numbers[0]),
    "hidden": _hidden,
    "next_hidden": _next_hidden,
}
"""By name. Each gets the rank's model, the objects and the numbers of the call."""


def arrays_of(result: object) -> list[Any]:
    """Return what must be computed of a result, so that it keeps no larger arrays in memory."""
    if isinstance(result, RowCache):
        return [layer.state for layer in result if not layer.empty()]
    return result.state if isinstance(result, BatchCache) else []
