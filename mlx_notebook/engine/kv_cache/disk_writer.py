"""Between the prompts in memory and those on disk: what is written, when, and by which thread.

The owner's thread only hands out arrays and takes them in; hashing, reading and writing happen
elsewhere. A sequence is written as soon as much of it is not on disk yet, as after a long system
prompt, and otherwise when memory lets go of it: by eviction, with its model, at the end.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from mlx_notebook.engine.kv_cache.arrays import can_be_stored, from_arrays, to_arrays
from mlx_notebook.engine.kv_cache.disk_store import BLOCK, Arrays, PrefixStore

log = logging.getLogger(__name__)

WORTH = 512
"""So many tokens that are not on disk yet are written at once."""

_MOST_PENDING = 2**30


@dataclass(frozen=True)
class _Model:
    identity: str
    empty: list[Any]


class PrefixDisk:
    """Keeps prompts of those models on disk that it was told of."""

    def __init__(self, store: PrefixStore):
        self._store = store
        self._models: dict[str, _Model] = {}
        self._writer = ThreadPoolExecutor(1, "prefixes")
        self._pending: dict[Future[None], int] = {}

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """From now on keep this model's prompts.

        Parameters
        ----------
        identity
            What its keys and values depend on (`identify`).
        empty
            A fresh cache of it. Kinds that cannot be cut at any length are not kept.
        """
        if can_be_stored(empty):
            self._models[model] = _Model(identity, empty)
        else:
            log.info("prompts of %s are not kept on disk: its caches cannot be cut", model)

    def close(self, model: str) -> None:
        """The model is unloaded."""
        self._models.pop(model, None)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that wait to be written."""
        self._pending = {done: size for done, size in self._pending.items() if not done.done()}
        return sum(self._pending.values())

    def offer(
        self, model: str, tokens: list[int], cache: list[Any], salt: str = "", *, going: bool
    ) -> None:
        """Have a sequence written if it is worth it; `going`: memory lets go of it now."""
        known = self._models.get(model)
        if known is None or len(tokens) < (BLOCK if going else WORTH):
            return
        size = sum(layer.nbytes for layer in cache)
        held = self.nbytes
        if held and held + size > _MOST_PENDING:
            log.debug("a prompt of %d tokens is not kept: the disk is slow", len(tokens))
            return
        arrays = to_arrays(cache, len(tokens))
        if arrays is not None:
            new = BLOCK if going else WORTH
            job = self._writer.submit(self._write, known.identity, list(tokens), arrays, salt, new)
            self._pending[job] = size

    def find(self, model: str, tokens: list[int], salt: str = "") -> int:
        """How many first tokens of a prompt are on disk, leaving one to feed. Any thread."""
        known = self._models.get(model)
        return self._store.find(known.identity, tokens[:-1], salt) if known is not None else 0

    def read(self, model: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read what `find` found; a count and arrays for `restore`. Any thread."""
        known = self._models.get(model)
        if known is None:
            return 0, {}
        return self._store.read(known.identity, tokens[:-1], salt)

    def restore(self, model: str, count: int, arrays: Arrays) -> list[Any] | None:
        """The cache that was read, or None if there is none. On the owner's thread."""
        known = self._models.get(model)
        if known is None or not count:
            return None
        try:
            return from_arrays(known.empty, arrays, count)
        except (ValueError, KeyError, AttributeError) as error:
            log.warning("a kept prompt of %s does not fit it: %s", model, error)
            return None

    def drain(self, seconds: float) -> None:
        """Wait for what is being written, at most so long."""
        wait(self._pending, seconds)

    def _write(self, identity: str, tokens: list[int], arrays: Arrays, salt: str, new: int) -> None:
        try:
            if len(tokens) - self._store.find(identity, tokens, salt) >= new:
                written = self._store.write(identity, tokens, arrays, salt)
                log.debug("kept %d tokens on disk, %.1f MB new", len(tokens), written / 1e6)
        except Exception:
            log.exception("a prompt could not be written")
