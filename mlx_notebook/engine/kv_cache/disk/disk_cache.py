"""Decides which prompts of the prefix cache are written to disk, and when.

Only what is likely to come back is written: a beginning that two prompts share, the prompts of a
pinned model, and what is in memory when a model is unloaded or the engine ends. A prompt that came
once and was pushed out of memory by others is not written. So the disk is not worn by prompts that
nobody needs.

Hashing, reading and writing happen in other threads than the one that owns MLX. While requests run,
the writing thread works only a small share of its time.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlx_notebook.engine.kv_cache.checkpoints import Checkpoint, always_cuttable
from mlx_notebook.engine.kv_cache.disk.arrays import can_be_stored, from_arrays, to_arrays, to_state
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.disk.block_names import BLOCK, block_names
from mlx_notebook.engine.kv_cache.disk.disk_store import DiskStore
from mlx_notebook.engine.kv_cache.disk.seen_blocks import SeenBlocks
from mlx_notebook.engine.kv_cache.disk.write_limit import WriteLimit
from mlx_notebook.protocol import DiskWrites

log = logging.getLogger(__name__)

WRITE_PINNED = 512
"""A sequence of a pinned model is written if this many of its tokens are not on disk yet."""

_MAX_PENDING_BYTES = 2**30

# How much of its time the writing thread may work while requests run. It shares the processor with
# them: on two cores a share of a half would cost running streams a quarter of their speed.
_SHARE = 0.02
# The same for what was left by a model. Its memory is needed, so it should not wait for long.
_SHARE_LEFT = 0.2


@dataclass(frozen=True)
class _StoredModel:
    """A model whose prompts are stored. `exact`: its KV caches can be cut at checkpoints only."""

    identity: str
    empty: list[Any]
    exact: bool


@dataclass(frozen=True)
class _Job:
    """A sequence to write.

    Attributes
    ----------
    returned
        How many of its first tokens have come back.
    all_from
        All of it is written if so many tokens are not on disk yet. None: never.
    share
        How much of its time the thread may work while requests run.
    checkpoints
        The arrays of its checkpoints, by length.
    """

    identity: str
    tokens: list[int]
    arrays: Arrays
    salt: str
    returned: int
    all_from: int | None
    share: float
    checkpoints: dict[int, Arrays]


class DiskPrefixCache:
    """The part of the prefix cache that is on disk, for the models that were opened.

    Parameters
    ----------
    limit
        The limit on bytes written within an hour. None: no limit.
    busy
        Returns whether requests run, in any thread.
    pinned
        Returns whether a model is pinned, in the thread that owns MLX.
    """

    def __init__(
        self,
        store: DiskStore,
        limit: WriteLimit | None = None,
        busy: Callable[[], bool] = lambda: False,
        pinned: Callable[[str], bool] = lambda _: False,
    ):
        self._store, self._limit, self._pinned = store, limit or WriteLimit(0), pinned
        self._models: dict[str, _StoredModel] = {}
        self._seen = SeenBlocks()
        self._pace = WritePace(busy)
        self._writer = ThreadPoolExecutor(1, "prefixes")
        self._pending: dict[Future[None], tuple[int, str]] = {}
        self._stopped = False

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """Begin to store the prompts of a model.

        Parameters
        ----------
        identity
            A name for everything that its KV caches depend on (`identify`).
        empty
            An empty KV cache of the model. If it has a layer of an unknown kind, nothing is stored.
        """
        if can_be_stored(empty):
            exact = not all(map(always_cuttable, empty))
            self._models[model] = _StoredModel(identity, empty, exact)
        else:
            kinds = ", ".join(sorted({type(layer).__name__ for layer in empty}))
            log.info("prompts of %s are not stored on disk: its KV caches are %s", model, kinds)

    def close(self, model: str) -> None:
        """Stop storing the prompts of a model, which is unloaded."""
        self._models.pop(model, None)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that wait to be written."""
        self._pending = {job: about for job, about in self._pending.items() if not job.done()}
        return sum(size for size, _ in self._pending.values())

    @property
    def writes(self) -> DiskWrites:
        """How much was written, and how much was not because of the limit."""
        return self._limit.status

    def write(
        self,
        model: str,
        tokens: list[int],
        cache: list[Any],
        salt: str = "",
        checkpoints: Mapping[int, Checkpoint] | None = None,
        *,
        left: bool = False,
    ) -> None:
        """Write what is likely to come back of a sequence, or all if it is `left` by its model.

        Call it in the thread that owns MLX.

        Parameters
        ----------
        checkpoints
            Its layers that cannot be cut, by length.
        """
        known = self._models.get(model)
        if known is None or len(tokens) < BLOCK or self._stopped:
            return
        names = block_names(known.identity, tokens, salt)
        self._seen.add_sequence(names)
        returned = self._seen.returned(names) * BLOCK
        all_from = WRITE_PINNED if self._pinned(model) else None
        if left:  # without its last checkpoint, the tokens before it are of little use
            all_from = 1 if known.exact else BLOCK
        if not returned and (all_from is None or len(tokens) < all_from):
            return
        most = len(tokens) if all_from is not None else returned + BLOCK - 1
        kept = {at: held for at, held in (checkpoints or {}).items() if BLOCK <= at <= most}
        size = sum(layer.nbytes for layer in cache) + sum(held.nbytes for held in kept.values())
        pending = self.nbytes
        end = min(most, len(tokens))
        what = f"{names[end // BLOCK - 1]} {[*sorted(kept), end] if known.exact else ''}"
        if any(what == waiting for _, waiting in self._pending.values()):
            return  # for example a prompt of several requests at a time
        if pending and pending + size > _MAX_PENDING_BYTES:
            log.debug("a prompt of %d tokens is not stored: the disk is slow", len(tokens))
            return
        arrays = to_arrays(cache, len(tokens))
        if arrays is not None:
            share = _SHARE_LEFT if left else _SHARE
            states = {at: to_state(held.layers) for at, held in kept.items()}
            if known.exact and len(tokens) <= most:
                states[len(tokens)] = to_state(cache)
            job = _Job(
                known.identity, list(tokens), arrays, salt, returned, all_from, share, states
            )
            self._pending[self._writer.submit(self._write, job)] = size, what

    def arrive(self, model: str, tokens: list[int], salt: str = "") -> int:
        """Record a new prompt, and return how many of its first tokens are on disk.

        That is at least one less than all. Any thread may call it.
        """
        known = self._models.get(model)
        if known is None:
            return 0
        self._seen.add_prompt(block_names(known.identity, tokens, salt))
        find = self._store.find_checkpoint if known.exact else self._store.find
        return find(known.identity, tokens[:-1], salt)

    def read(self, model: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read what `arrive` found: a number of tokens and arrays for `restore`.

        Any thread may call it.
        """
        known = self._models.get(model)
        if known is None:
            return 0, {}
        read = self._store.read_checkpoint if known.exact else self._store.read
        return read(known.identity, tokens[:-1], salt)

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
        """Wait until everything is written, at full speed, for at most this long."""
        with self._pace.hurry():
            wait(self._pending, seconds)

    def stop(self) -> None:
        """Write no more after the current block."""
        self._stopped = True
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _write(self, job: _Job) -> None:
        try:
            self._pace.begin()
            tokens, count = job.tokens, job.returned
            stored = self._store.find(job.identity, tokens, job.salt)
            if job.all_from is not None and len(tokens) - stored >= job.all_from:
                count = len(tokens)
            if count - stored >= BLOCK or (count and job.checkpoints):
                allows = partial(self._may_write, job.share)
                # A checkpoint may lie behind the last whole block.
                held = tokens[: count + BLOCK - 1]
                written = self._store.write(
                    job.identity, held, job.arrays, job.salt, allows, job.checkpoints
                )
                log.debug("stored %d tokens on disk, %.1f MB new", count, written / 1e6)
            self._pace.wait(job.share)
        except Exception:
            log.exception("a prompt could not be written")

    def _may_write(self, share: float, size: int) -> bool:
        self._pace.wait(share)
        return not self._stopped and self._limit.take(size)


class WritePace:
    """Lets a thread rest while requests run, in proportion to the work that it has done.

    Parameters
    ----------
    busy
        Returns whether requests run.
    """

    def __init__(self, busy: Callable[[], bool]):
        self._busy, self._hurry = busy, threading.Event()
        self._since = 0.0

    def begin(self) -> None:
        """Begin to count the time of this thread."""
        self._since = time.perf_counter()

    def wait(self, share: float) -> None:
        """Rest, so that the work since the last call was `share` of the time; not while idle."""
        if self._busy():
            self._hurry.wait((time.perf_counter() - self._since) * (1 / share - 1))
        self.begin()

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Do not rest within this context."""
        self._hurry.set()
        try:
            yield
        finally:
            self._hurry.clear()
