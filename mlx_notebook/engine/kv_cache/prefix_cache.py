"""The prefix cache: the longest known prefix of a prompt is not computed again.

A thin layer over mlx-lm's `LRUPromptCache`, a trie of token sequences; each model has one. They
share one limit on memory. At least one token of a prompt is always left to compute. Entries are
evaluated, so that none keeps the batch in memory from which it was cut. If there is a prefix cache
on disk, it gets new and evicted entries. Prompts with different salts never share an entry, as with
vLLM's `cache_salt`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    LRUPromptCache,
    PromptTrie,
    PromptTrieResult,
    can_trim_prompt_cache,
)

from mlx_notebook.engine.kv_cache.disk_cache import DiskPrefixCache
from mlx_notebook.engine.kv_cache.disk_store import Arrays


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
        self._models: dict[str, LRUPromptCache] = {}
        self._disk = disk

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return sum(int(entries.nbytes) for entries in self._models.values())

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """Begin to store a model's prompts on disk (`DiskPrefixCache.open`)."""
        if self._disk is not None:
            self._disk.open(model, identity, empty)

    def fetch(
        self, model: str, tokens: list[int], salt: str = ""
    ) -> tuple[list[Any] | None, list[int]]:
        """Find the longest known prefix of `tokens`.

        Returns
        -------
        cache, rest
            A copy of the prefix's KV cache, or None, and the tokens that remain to compute: at
            least one.
        """
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return None, tokens
        cache, rest = entries.fetch_nearest_cache(salt, tokens[:-1])
        if cache is not None:
            _refresh(entries, salt)
        return cache, [*rest, tokens[-1]]

    def covered(self, model: str, tokens: list[int], salt: str = "") -> int:
        """Return how many of a prompt's first tokens are in memory, at least one less than all."""
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return 0
        entries._trie.search(salt, tokens[:-1])
        return _nearest(entries, salt)[1]

    def on_disk(self, model: str, tokens: list[int], salt: str = "") -> int:
        """Return how many of a prompt's first tokens are on disk. Any thread may call it."""
        return self._disk.find(model, tokens, salt) if self._disk is not None else 0

    def read(self, model: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read a prefix from disk, for `restore`. Any thread may call it."""
        return self._disk.read(model, tokens, salt) if self._disk is not None else (0, {})

    def restore(
        self, model: str, tokens: list[int], count: int, arrays: Arrays, salt: str = ""
    ) -> None:
        """Add what was read from disk, unless a longer prefix is in memory by now."""
        if self._disk is None or count <= self.covered(model, tokens, salt):
            return
        cache = self._disk.restore(model, count, arrays)
        if cache is not None:
            self._insert(model, tokens[:count], cache, salt)

    def keep(self, model: str, tokens: list[int], cache: list[Any], salt: str = "") -> None:
        """Store the KV cache of a sequence, which must hold exactly `tokens`."""
        if not tokens or not cache:
            return
        self._insert(model, list(tokens), cache, salt)
        if self._disk is not None:
            self._disk.write(model, tokens, cache, salt, evicted=False)

    def shrink(self, max_bytes: int) -> None:
        """Evict entries down to `max_bytes`, those of the least recently used model first."""
        for entries in self._models.values():
            excess = self.nbytes - max_bytes
            if excess <= 0:
                break
            entries.trim_to(n_bytes=max(0, entries.nbytes - excess))

    def forget(self, model: str) -> None:
        """Remove every entry of a model from memory."""
        entries = self._models.pop(model, None)
        if self._disk is not None:
            if entries is not None:
                entries.trim_to(n_sequences=0)
            self._disk.close(model)

    def close(self, seconds: float) -> None:
        """Remove everything and wait until it is on disk, at most `seconds`."""
        for model in list(self._models):
            self.forget(model)
        if self._disk is not None:
            self._disk.drain(seconds)

    def _insert(self, model: str, tokens: list[int], cache: list[Any], salt: str) -> None:
        mx.eval([layer.state for layer in cache])
        # The most recently used model is last.
        entries = self._models.pop(model, None) or self._entries(model)
        self._models[model] = entries
        entries.insert_cache(salt, tokens, cache)
        self.shrink(self._max_bytes)

    def _entries(self, model: str) -> LRUPromptCache:
        entries = LRUPromptCache(self._max_entries, self._max_bytes)
        entries._trie = _Trie(partial(self._evicted, model))
        return entries

    def _evicted(self, model: str, salt: str, tokens: list[int], cache: list[Any]) -> None:
        if self._disk is not None:
            self._disk.write(model, tokens, cache, salt, evicted=True)


def _nearest(entries: LRUPromptCache, salt: str) -> tuple[list[int] | None, int]:
    """Return the entry that mlx-lm chose in its last search, and how many tokens it shares."""
    found = entries._trie.found
    if found.exact is not None:
        return found.exact, len(found.exact)
    shorter = len(found.shorter or ())
    if found.longer is not None and found.common_prefix > shorter:
        longer = entries._trie.get(salt, found.longer).prompt_cache
        if can_trim_prompt_cache(longer):
            return found.longer, int(found.common_prefix)
    return found.shorter, shorter


def _refresh(entries: LRUPromptCache, salt: str) -> None:
    """Mark the entry that was found as used last; mlx-lm orders entries by insertion."""
    tokens, _ = _nearest(entries, salt)
    kind = entries._trie.get(salt, tokens).cache_type
    entries._lru.remove(salt, tokens)
    entries._lru.push(salt, tokens, kind)


class _Trie(PromptTrie):
    """mlx-lm's trie of entries, with the result of the last search and a call for removed ones."""

    found: PromptTrieResult

    def __init__(self, evicted: Callable[[str, list[int], list[Any]], None]):
        super().__init__()
        self._evicted = evicted

    def search(self, salt: str, tokens: list[int]) -> PromptTrieResult:
        """Find the entries nearest to `tokens`."""
        self.found = super().search(salt, tokens)
        return self.found

    def pop(self, salt: str, tokens: list[int]) -> Any:
        """Remove an entry and return it."""
        entry = super().pop(salt, tokens)
        self._evicted(salt, tokens, entry.prompt_cache)
        return entry
