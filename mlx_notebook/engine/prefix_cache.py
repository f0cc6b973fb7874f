"""Reuse of computed prompts: the longest known prefix of a prompt is not computed again.

A thin layer over mlx-lm's `LRUPromptCache` (a trie of token sequences), one a model: it shares one
memory budget between them, always leaves at least one token to feed, and evaluates what it keeps,
so that no entry holds on to the batch that it was cut out of.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import LRUPromptCache


class PrefixCache:
    """Key-value caches of past sequences.

    Parameters
    ----------
    max_entries
        Most sequences kept for one model.
    max_bytes
        Most memory kept for all models together, in bytes.
    """

    def __init__(self, max_entries: int, max_bytes: int):
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._models: dict[str, LRUPromptCache] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(int(entries.nbytes) for entries in self._models.values())

    def fetch(self, model: str, tokens: list[int]) -> tuple[list[Any] | None, list[int]]:
        """The cache of the longest known prefix of `tokens`, and the tokens that remain to feed.

        At least one token remains. The cache is a copy that the caller owns; None if nothing fits.
        """
        entries = self._models.get(model)
        if entries is None or len(tokens) < 2:
            return None, tokens
        cache, rest = entries.fetch_nearest_cache(model, tokens[:-1])
        return cache, [*rest, tokens[-1]]

    def keep(self, model: str, tokens: list[int], cache: list[Any]) -> None:
        """Remember the cache of a sequence; it must hold exactly `tokens`."""
        if not tokens or not cache:
            return
        mx.eval([layer.state for layer in cache])
        # The model used last stands last.
        entries = self._models.pop(model, None) or LRUPromptCache(
            self._max_entries, self._max_bytes
        )
        self._models[model] = entries
        entries.insert_cache(model, list(tokens), cache)
        for other in self._models.values():
            excess = self.nbytes - self._max_bytes
            if excess <= 0:
                break
            other.trim_to(n_bytes=other.nbytes - excess)

    def forget(self, model: str) -> None:
        """Drop every entry of a model."""
        self._models.pop(model, None)
