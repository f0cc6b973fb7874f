"""The KV caches of one model's past sequences, found by their beginnings.

A sequence that continues another takes its place, and its checkpoints. What two conversations have
in common is kept longest. The last sequence that holds it is not evicted, but cut to the common
beginning. Such beginnings are evicted last.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.kv_cache.checkpoints import (
    Checkpoint,
    always_cuttable,
    compact,
    cut,
    make_checkpoint,
)

Tokens = npt.NDArray[np.int64]

_MOST_CHECKPOINTS = 8
_LEAST_CHECKPOINTS = 3
"""Checkpoints of one sequence. Between these numbers they take no more memory than its cache."""

_FIRST_COMPARED = 64


@dataclass(eq=False)
class PrefixEntry:
    """A sequence and its KV cache.

    Attributes
    ----------
    tokens, salt
        What the cache holds. Only prompts with the same salt use it.
    layers
        The cache.
    checkpoints
        By length in tokens, for the layers that cannot be cut.
    common
        How many of its first tokens another conversation has used too.
    nbytes
        Bytes of the cache, without checkpoints.
    """

    tokens: Tokens
    salt: str
    layers: list[Any]
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    common: int = 0
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.nbytes = sum(int(layer.nbytes) for layer in self.layers)

    def shares(self, tokens: Tokens) -> int:
        """Return how many first tokens are equal."""
        most = min(len(self.tokens), len(tokens))
        if not most or self.tokens[0] != tokens[0]:
            return 0
        for end in (min(most, _FIRST_COMPARED), most):
            different = self.tokens[:end] != tokens[:end]
            first = int(different.argmax())
            if different[first]:
                return first
        return most

    def usable(self, shared: int) -> int:
        """Return the greatest length, at most `shared`, to which the cache can be cut."""
        if shared == len(self.tokens) or all(layer.is_trimmable() for layer in self.layers):
            return shared
        return max((length for length in self.checkpoints if length <= shared), default=0)

    def cut(self, length: int) -> list[Any]:
        """Return a copy of the cache's first `length` tokens."""
        checkpoint = self.checkpoints.get(length) if length < len(self.tokens) else None
        return cut(self.layers, len(self.tokens) - length, checkpoint)

    def thin(self) -> None:
        """Drop checkpoints that are too many, or larger than the cache: those nearest to others.

        The first one and the last two stay.
        """
        while len(self.checkpoints) > _LEAST_CHECKPOINTS and (
            len(self.checkpoints) > _MOST_CHECKPOINTS
            or sum(checkpoint.nbytes for checkpoint in self.checkpoints.values()) > self.nbytes
        ):
            lengths = sorted(self.checkpoints)
            gaps = {at: lengths[n + 1] - lengths[n - 1] for n, at in enumerate(lengths[:-2]) if n}
            del self.checkpoints[min(gaps, key=lambda at: gaps[at])]


@dataclass(frozen=True)
class PrefixMatch:
    """What a search found.

    Attributes
    ----------
    entry, length
        The entry with the longest usable beginning, and that length in tokens, which may be 0.
    nearest, shared
        The entry that agrees with the prompt furthest, and how far.
    """

    entry: PrefixEntry
    length: int
    nearest: PrefixEntry
    shared: int


class PrefixEntries:
    """The entries of one model, in the order of their last use."""

    def __init__(self) -> None:
        self._entries: list[PrefixEntry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[PrefixEntry]:
        return iter(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all entries. A checkpoint that several entries have counts once."""
        held = {id(c): c.nbytes for entry in self._entries for c in entry.checkpoints.values()}
        return sum(held.values()) + sum(entry.nbytes for entry in self._entries)

    def find(self, tokens: Tokens, salt: str) -> PrefixMatch | None:
        """Find the entry that leaves the fewest tokens to compute."""
        best, nearest = None, None
        for entry in reversed(self._entries):
            if entry.salt != salt:
                continue
            shared = entry.shares(tokens)
            if nearest is None or shared > nearest[1]:
                nearest = entry, shared
            if shared and (best is None or shared > best[1]):
                length = entry.usable(shared)
                if length and (best is None or length > best[1]):
                    best = entry, length
        if nearest is None or not nearest[1]:
            return None
        return PrefixMatch(*(best or (nearest[0], 0)), *nearest)

    def use(self, match: PrefixMatch, opening: int | None) -> list[Any]:
        """Return a copy of what was found, and mark its entry as used.

        Parameters
        ----------
        opening
            How many of the prompt's first tokens belong to its system prompt, tools and first user
            message. A prompt that leaves the entry before that is another conversation. None: any
            prompt that leaves it is.
        """
        entry = match.entry
        self._entries.remove(entry)
        self._entries.append(entry)
        shared = match.shared if match.nearest is entry else match.length
        if shared < len(entry.tokens) and (opening is None or shared < opening):
            entry.common = max(entry.common, match.length)
        return entry.cut(match.length)

    def add(
        self, tokens: Tokens, layers: list[Any], checkpoints: Mapping[int, Checkpoint], salt: str
    ) -> PrefixEntry:
        """Add a sequence, whose cache is evaluated; return the entry that has it now."""
        new = PrefixEntry(tokens, salt, layers, dict(checkpoints))
        for entry in [entry for entry in self._entries if entry.salt == salt]:
            shared = entry.shares(tokens)
            if shared == len(tokens) < len(entry.tokens) and entry.usable(shared) == shared:
                # A part of this entry: there is nothing new in it.
                entry.checkpoints = {**new.checkpoints, **entry.checkpoints}
                entry.thin()
                entry.common = max(entry.common, new.common)
                self._entries.remove(entry)
                self._entries.append(entry)
                return entry
            kept = {at: held for at, held in entry.checkpoints.items() if at <= shared}
            if entry.common <= shared:
                new.common = max(new.common, entry.common)
            if shared == len(entry.tokens):
                self._entries.remove(entry)
                if shared < len(tokens) and not all(map(always_cuttable, entry.layers)):
                    kept[shared] = make_checkpoint(entry.layers)
            new.checkpoints = {**kept, **new.checkpoints}
        new.thin()
        self._entries.append(new)
        return new

    def shrink(self, max_entries: int, max_bytes: int) -> None:
        """Evict entries until no more than these are left."""
        while len(self._entries) > max_entries or self.nbytes > max_bytes:
            entry = self._least_wanted(max_entries, max_bytes)
            index = self._entries.index(entry)
            del self._entries[index]
            if (common := self._cut_to_common(entry)) is not None:
                self._entries.insert(index, common)

    def _least_wanted(self, max_entries: int, max_bytes: int) -> PrefixEntry:
        """Return the entry to evict: common beginnings last, but they get half of the room.

        Of other entries it is the least recently used one of the salt that takes most of what is
        short: entries, or memory. So one user evicts no more of another's than needed.
        """
        common = [entry for entry in self._entries if entry.common == len(entry.tokens)]
        others = [entry for entry in self._entries if entry.common < len(entry.tokens)]
        fits = 2 * len(common) <= max_entries and 2 * sum(e.nbytes for e in common) <= max_bytes
        wanted = others if others and (fits or not common) else common
        taken = Counter[str]()
        for entry in wanted:
            taken[entry.salt] += 1 if len(self._entries) > max_entries else entry.nbytes
        most = max(taken.values())
        return next(entry for entry in wanted if taken[entry.salt] == most)

    def _cut_to_common(self, entry: PrefixEntry) -> PrefixEntry | None:
        """Return what other conversations use of an entry, unless another entry has it too."""
        length = entry.usable(entry.common)
        if not 0 < length < len(entry.tokens):
            return None
        tokens = entry.tokens[:length].copy()
        for other in self._entries:
            if other.salt == entry.salt and other.usable(other.shares(tokens)) == length:
                other.common = max(other.common, length)
                return None
        layers = entry.cut(length)
        compact(layers, length)
        mx.eval([layer.state for layer in layers])
        kept = {at: held for at, held in entry.checkpoints.items() if at < length}
        return PrefixEntry(tokens, entry.salt, layers, kept, length)
