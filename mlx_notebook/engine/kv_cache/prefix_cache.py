"""The prefix cache: the longest known prefix of a prompt is not computed again.

Each model has entries of its own (`PrefixEntries`). They share one limit on memory. At least one
token of a prompt is always left to compute. Entries are evaluated, so that none keeps the batch in
memory from which it was cut. A prefix cache on disk, if there is one, gets new entries, and those
in memory when a model is unloaded or the engine ends. It decides which of them to write. Prompts
with different salts never share an entry, as with vLLM's `cache_salt`. A declared beginning of a
prompt also has an entry of its own, with a salt that several users share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.kv_cache.checkpoints import Checkpoint, compact
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.disk.disk_cache import DiskPrefixCache
from mlx_notebook.engine.kv_cache.prefix_entries import PrefixEntries, PrefixEntry, PrefixMatch
from mlx_notebook.engine.prompts.broken_prefix import SHOWN_TOKENS, BrokenPrefix
from mlx_notebook.engine.prompts.shared_prefix import NOTHING_SHARED, SharedPrefix
from mlx_notebook.protocol import DiskWrites


@dataclass(frozen=True)
class PrefixHit:
    """What the prefix cache has of a prompt.

    Attributes
    ----------
    layers
        A copy of the KV cache of its first `length` tokens; None if `length` is 0.
    broken
        Where it leaves a cached sequence, if it does.
    """

    layers: list[Any] | None = None
    length: int = 0
    broken: BrokenPrefix | None = None


class PrefixCache:
    """KV caches of past sequences.

    Parameters
    ----------
    max_entries
        Most sequences for one model.
    max_bytes
        Most bytes for all models together.
    disk
        The prefix cache on disk, which is still there after a restart.
    """

    def __init__(self, max_entries: int, max_bytes: int, disk: DiskPrefixCache | None = None):
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._models: dict[str, PrefixEntries] = {}
        self._disk = disk

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return sum(entries.nbytes for entries in self._models.values())

    @property
    def disk_writes(self) -> DiskWrites:
        """How much the prefix cache on disk has written; zeros if there is none."""
        return self._disk.writes if self._disk is not None else DiskWrites()

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """Begin to store a model's prompts on disk (`DiskPrefixCache.open`)."""
        if self._disk is not None:
            self._disk.open(model, identity, empty)

    def fetch(
        self,
        model: str,
        tokens: list[int],
        salt: str = "",
        opening: int | None = None,
        shared: SharedPrefix = NOTHING_SHARED,
    ) -> PrefixHit:
        """Find the longest known prefix of `tokens`, at least one token shorter than they are.

        Parameters
        ----------
        opening
            As for `PrefixEntries.use`.
        shared
            The beginning that may come from other users.
        """
        match, broken = self._find(model, tokens, salt), None
        if match and match.shared < min(len(match.nearest.tokens), len(tokens) - 1):
            was = match.nearest.tokens[match.shared : match.shared + SHOWN_TOKENS]
            broken = BrokenPrefix(match.shared, was.tolist())
        match = self._longer(match, self._find_shared(model, tokens, shared))
        if match is None or not match.length:
            return PrefixHit(broken=broken)
        layers = self._models[model].use(match, opening)
        return PrefixHit(layers, match.length, broken)

    def covered(
        self,
        model: str,
        tokens: list[int],
        salt: str = "",
        shared: SharedPrefix = NOTHING_SHARED,
    ) -> int:
        """Return how many of a prompt's first tokens are in memory, at least one less than all."""
        match = self._longer(
            self._find(model, tokens, salt), self._find_shared(model, tokens, shared)
        )
        return 0 if match is None else match.length

    def on_disk(
        self,
        model: str,
        tokens: list[int],
        salt: str = "",
        shared: SharedPrefix = NOTHING_SHARED,
    ) -> int:
        """Record a new prompt, and return how many of its first tokens are on disk.

        Any thread may call it.
        """
        if self._disk is None:
            return 0
        own = self._disk.arrive(model, tokens, salt)
        if not shared.length:
            return own
        return max(own, self._disk.arrive(model, tokens[: shared.length + 1], shared.salt))

    def read(
        self,
        model: str,
        tokens: list[int],
        salt: str = "",
        shared: SharedPrefix = NOTHING_SHARED,
    ) -> tuple[int, Arrays]:
        """Read a prefix from disk, for `restore`. Any thread may call it."""
        if self._disk is None:
            return 0, {}
        own = self._disk.read(model, tokens, salt)
        if own[0] >= shared.length:
            return own
        common = self._disk.read(model, tokens[: shared.length + 1], shared.salt)
        return max(own, common, key=lambda found: found[0])

    def restore(
        self, model: str, tokens: list[int], count: int, arrays: Arrays, salt: str = ""
    ) -> None:
        """Add what was read from disk, unless a longer prefix is in memory by now."""
        if self._disk is None or count <= self.covered(model, tokens, salt):
            return
        cache = self._disk.restore(model, count, arrays)
        if cache is not None:
            self._insert(model, tokens[:count], cache, salt)

    def keep(
        self,
        model: str,
        tokens: list[int],
        cache: list[Any],
        salt: str = "",
        checkpoints: Mapping[int, Checkpoint] | None = None,
        shared: SharedPrefix = NOTHING_SHARED,
    ) -> None:
        """Store the KV cache of a sequence, which must hold exactly `tokens`.

        Parameters
        ----------
        checkpoints
            By length, for the layers that cannot be cut.
        shared
            The beginning to store for other users too.
        """
        if not tokens or not cache:
            return
        entry = self._insert(model, list(tokens), cache, salt, checkpoints)
        if self._disk is not None:
            self._disk.write(model, tokens, cache, salt, entry.checkpoints)
        length = shared.length
        if not 0 < length < len(tokens) or entry.usable(length) < length:
            return
        known = self._find_shared(model, tokens, shared)
        if known is None or known.length < length:
            layers = entry.cut(length)
            compact(layers, length)
            kept = {at: held for at, held in entry.checkpoints.items() if at <= length}
            self.keep(model, tokens[:length], layers, shared.salt, kept)

    def shrink(self, max_bytes: int) -> None:
        """Evict entries down to `max_bytes`, those of the least recently used model first."""
        for entries in self._models.values():
            excess = self.nbytes - max_bytes
            if excess <= 0:
                break
            entries.shrink(self._max_entries, max(0, entries.nbytes - excess))

    def forget(self, model: str) -> None:
        """Remove every entry of a model from memory, and write them to disk."""
        entries = self._models.pop(model, None)
        if self._disk is not None:
            for entry in reversed(list(entries or ())):  # what was used last is written first
                tokens = entry.tokens.tolist()
                self._disk.write(
                    *(model, tokens, entry.layers, entry.salt, entry.checkpoints), left=True
                )
            self._disk.close(model)

    def close(self, seconds: float) -> None:
        """Remove everything, and write it to disk for at most `seconds`."""
        for model in reversed(list(self._models)):
            self.forget(model)
        if self._disk is not None:
            self._disk.drain(seconds)
            self._disk.stop()

    def _find(self, model: str, tokens: list[int], salt: str) -> PrefixMatch | None:
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return None
        return entries.find(np.array(tokens[:-1], np.int64), salt)

    def _find_shared(
        self, model: str, tokens: list[int], shared: SharedPrefix
    ) -> PrefixMatch | None:
        if not shared.length:
            return None
        return self._find(model, tokens[: shared.length + 1], shared.salt)

    @staticmethod
    def _longer(one: PrefixMatch | None, other: PrefixMatch | None) -> PrefixMatch | None:
        if one is None or (other is not None and other.length > one.length):
            return other
        return one

    def _insert(
        self,
        model: str,
        tokens: list[int],
        cache: list[Any],
        salt: str,
        checkpoints: Mapping[int, Checkpoint] | None = None,
    ) -> PrefixEntry:
        mx.eval([layer.state for layer in cache])
        # The most recently used model is last.
        entries = self._models.pop(model, None) or PrefixEntries()
        self._models[model] = entries
        entry = entries.add(np.array(tokens, np.int64), cache, checkpoints or {}, salt)
        entries.shrink(self._max_entries, self._max_bytes)
        self.shrink(self._max_bytes)
        return entry
