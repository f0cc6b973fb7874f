"""Reuse of computed prompts: the longest known prefix of a prompt is not computed again.

A thin layer over mlx-lm's `LRUPromptCache` (a trie of token sequences), one a model: it shares one
memory budget between them, always leaves at least one token to feed, and evaluates what it keeps,
so that no entry holds on to the batch that it was cut out of. Where there is a disk to keep prompts
on, it is offered what comes and what goes. Prompts with different salts never share an entry, as
with vLLM's `cache_salt`.
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

from mlx_notebook.engine.kv_cache.disk_store import Arrays
from mlx_notebook.engine.kv_cache.disk_writer import PrefixDisk


class PrefixCache:
    """Key-value caches of past sequences.

    Parameters
    ----------
    max_entries
        Most sequences kept for one model.
    max_bytes
        Most memory kept for all models together, in bytes.
    disk
        Where they outlive the engine.
    """

    def __init__(self, max_entries: int, max_bytes: int, disk: PrefixDisk | None = None):
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._models: dict[str, LRUPromptCache] = {}
        self._disk = disk

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(int(entries.nbytes) for entries in self._models.values())

    def open(self, model: str, identity: str, empty: list[Any]) -> None:
        """Have a model's prompts kept on disk, if there is one (`PrefixDisk.open`)."""
        if self._disk is not None:
            self._disk.open(model, identity, empty)

    def fetch(
        self, model: str, tokens: list[int], salt: str = ""
    ) -> tuple[list[Any] | None, list[int]]:
        """The cache of the longest known prefix of `tokens`, and the tokens that remain to feed.

        At least one token remains. The cache is a copy that the caller owns; None if nothing fits.
        """
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return None, tokens
        cache, rest = entries.fetch_nearest_cache(salt, tokens[:-1])
        if cache is not None:
            _refresh(entries, salt)
        return cache, [*rest, tokens[-1]]

    def covered(self, model: str, tokens: list[int], salt: str = "") -> int:
        """How many first tokens of a prompt are in memory, leaving one to feed."""
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return 0
        entries._trie.search(salt, tokens[:-1])
        return _nearest(entries, salt)[1]

    def on_disk(self, model: str, tokens: list[int], salt: str = "") -> int:
        """How many first tokens of a prompt are on disk. Any thread."""
        return self._disk.find(model, tokens, salt) if self._disk is not None else 0

    def read(self, model: str, tokens: list[int], salt: str = "") -> tuple[int, Arrays]:
        """Read from disk, for `restore`. Any thread."""
        return self._disk.read(model, tokens, salt) if self._disk is not None else (0, {})

    def restore(
        self, model: str, tokens: list[int], count: int, arrays: Arrays, salt: str = ""
    ) -> None:
        """Take in what was read, unless memory has more by now."""
        if self._disk is None or count <= self.covered(model, tokens, salt):
            return
        cache = self._disk.restore(model, count, arrays)
        if cache is not None:
            self._insert(model, tokens[:count], cache, salt)

    def keep(self, model: str, tokens: list[int], cache: list[Any], salt: str = "") -> None:
        """Remember the cache of a sequence; it must hold exactly `tokens`."""
        if not tokens or not cache:
            return
        self._insert(model, list(tokens), cache, salt)
        if self._disk is not None:
            self._disk.offer(model, tokens, cache, salt, going=False)

    def shrink(self, max_bytes: int) -> None:
        """Hold so many bytes at most from now until more comes; models unused for longest first."""
        for entries in self._models.values():
            excess = self.nbytes - max_bytes
            if excess <= 0:
                break
            entries.trim_to(n_bytes=max(0, entries.nbytes - excess))

    def forget(self, model: str) -> None:
        """Drop every entry of a model; what is worth it stays on disk."""
        entries = self._models.pop(model, None)
        if self._disk is not None:
            if entries is not None:
                entries.trim_to(n_sequences=0)
            self._disk.close(model)

    def close(self, seconds: float) -> None:
        """The engine ends: forget everything, and give the disk so long to write."""
        for model in list(self._models):
            self.forget(model)
        if self._disk is not None:
            self._disk.drain(seconds)

    def _insert(self, model: str, tokens: list[int], cache: list[Any], salt: str) -> None:
        mx.eval([layer.state for layer in cache])
        # The model used last stands last.
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
            self._disk.offer(model, tokens, cache, salt, going=True)


def _nearest(entries: LRUPromptCache, salt: str) -> tuple[list[int] | None, int]:
    """The entry that mlx-lm takes after its last search, and how many of its tokens are reused."""
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
    """Make the entry that was found last the one used last: mlx-lm orders them by insertion."""
    tokens, _ = _nearest(entries, salt)
    kind = entries._trie.get(salt, tokens).cache_type
    entries._lru.remove(salt, tokens)
    entries._lru.push(salt, tokens, kind)


class _Trie(PromptTrie):
    """mlx-lm's trie of entries; keeps what it found last, and tells of entries that go."""

    found: PromptTrieResult

    def __init__(self, gone: Callable[[str, list[int], list[Any]], None]):
        super().__init__()
        self._gone = gone

    def search(self, salt: str, tokens: list[int]) -> PromptTrieResult:
        """Find the entries nearest to `tokens`."""
        self.found = super().search(salt, tokens)
        return self.found

    def pop(self, salt: str, tokens: list[int]) -> Any:
        """Take an entry out."""
        entry = super().pop(salt, tokens)
        self._gone(salt, tokens, entry.prompt_cache)
        return entry
