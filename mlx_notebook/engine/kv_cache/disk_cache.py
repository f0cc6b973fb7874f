"""Decides which prompts of the prefix cache are written to disk, and when.

Hashing, reading and writing happen in other threads than the one that owns MLX. A sequence is
written at once if many of its tokens are not on disk yet, for example after a long system prompt.
Otherwise it is written when it leaves memory: when it is evicted, or when its model is unloaded.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from mlx_notebook.engine.kv_cache.arrays import can_be_stored, from_arrays, to_arrays
from mlx_notebook.engine.kv_cache.disk_store import BLOCK, Arrays, DiskStore

log = logging.getLogger(__name__)

WRITE_AT_ONCE = 512
"""A sequence with this many tokens that are not on disk yet is written at once."""

_MAX_PENDING_BYTES = 2**30


@dataclass(frozen=True)
class _StoredModel:
    identity: str
    empty: list[Any]


class DiskPrefixCache:
    """The part of the prefix cache that is on disk, for the models that were opened."""

    def __init__(self, store: DiskStore):
        self._store = store
        self._models: dict[str, _StoredModel] = {}
        self._writer = ThreadPoolExecutor(1, "prefixes")
        self._pending: dict[Future[None], int] = {}

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """Begin to store the prompts of a model.

        Parameters
        ----------
        identity
            A name for everything that its KV caches depend on (`identify`).
        empty
            An empty KV cache of the model. If it cannot be cut at any length, nothing is stored.
        """
        if can_be_stored(empty):
            self._models[model] = _StoredModel(identity, empty)
        else:
            log.info("prompts of %s are not stored on disk: its KV caches cannot be cut", model)

    def close(self, model: str) -> None:
        """Stop storing the prompts of a model, which is unloaded."""
        self._models.pop(model, None)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that wait to be written."""
        self._pending = {job: size for job, size in self._pending.items() if not job.done()}
        return sum(self._pending.values())

    def write(
        self, model: str, tokens: list[int], cache: list[Any], salt: str = "", *, evicted: bool
    ) -> None:
        """Write a sequence if enough of it is new; `evicted` if it is about to leave memory."""
        known = self._models.get(model)
        if known is None or len(tokens) < (BLOCK if evicted else WRITE_AT_ONCE):
            return
        size = sum(layer.nbytes for layer in cache)
        pending = self.nbytes
        if pending and pending + size > _MAX_PENDING_BYTES:
            log.debug("a prompt of %d tokens is not stored: the disk is slow", len(tokens))
            return
        arrays = to_arrays(cache, len(tokens))
        if arrays is not None:
            new = BLOCK if evicted else WRITE_AT_ONCE
            job = self._writer.submit(self._write, known.identity, list(tokens), arrays, salt, new)
            self._pending[job] = size

    def find(self, model: str, tokens: list[int], salt: str = "") -> int:
        """Return how many of a prompt's first tokens are on disk, at least one less than all.

        Any thread may call it.
        """
        known = self._models.get(model)
        return self._store.find(known.identity, tokens[:-1], salt) if known is not None else 0

    def read(self, model: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read what `find` found: a number of tokens and arrays for `restore`.

        Any thread may call it.
        """
        known = self._models.get(model)
        if known is None:
            return 0, {}
        return self._store.read(known.identity, tokens[:-1], salt)

    def restore(self, model: str, count: int, arrays: Arrays) -> list[Any] | None:
        """Return the KV cache that was read, or None; call it in the thread that owns MLX."""
        known = self._models.get(model)
        if known is None or not count:
            return None
        try:
            return from_arrays(known.empty, arrays, count)
        except (ValueError, KeyError, AttributeError) as error:
            log.warning("a stored prompt of %s does not fit it: %s", model, error)
            return None

    def drain(self, seconds: float) -> None:
        """Wait until everything is written, at most this long."""
        wait(self._pending, seconds)

    def _write(self, identity: str, tokens: list[int], arrays: Arrays, salt: str, new: int) -> None:
        try:
            if len(tokens) - self._store.find(identity, tokens, salt) >= new:
                written = self._store.write(identity, tokens, arrays, salt)
                log.debug("stored %d tokens on disk, %.1f MB new", len(tokens), written / 1e6)
        except Exception:
            log.exception("a prompt could not be written")
