"""A row of a batch: one answer, from the first token of its prompt to its last token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import TokenReport


@dataclass(eq=False)
class BatchRow:
    """A row and how far it has come.

    Attributes
    ----------
    uid
        Its number.
    settings
        How its tokens are chosen.
    cache
        Its KV caches, until its prompt begins.
    tokens
        The tokens in its KV cache, always the same list.
    segments
        What is left of its prompt. The last one is the last token alone, with which it begins to
        decode.
    max_tokens
        Most tokens to generate.
    ends
        Tokens that end it.
    user
        The user whose row it is.
    urgent
        Whether it goes before rows that are not urgent.
    patient
        Whether it goes after all others.
    known
        The tokens to feed next, if they are known already: the last one of the prompt, or those
        that its constraint forces. Empty if the next token is still being computed.
    ahead
        How many of `known` belong to the prompt.
    generated
        Tokens generated.
    total
        Tokens of the prompt that the prefix cache did not hold.
    """

    uid: int
    settings: Row
    cache: list[Any]
    tokens: list[int]
    segments: list[list[int]]
    max_tokens: int
    ends: frozenset[int]
    user: str = ""
    urgent: bool = False
    patient: bool = False
    known: list[int] = field(default_factory=list)
    ahead: int = 0
    generated: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        self.segments = split_last(self.segments)
        self.total = sum(map(len, self.segments))

    @property
    def left(self) -> int:
        """Tokens of the prompt to compute before it can decode."""
        return sum(map(len, self.segments[:-1]))

    @property
    def room(self) -> int:
        """How many more tokens it may generate."""
        return self.max_tokens - self.generated

    def begin(self) -> None:
        """Set what it decodes with first: the last token of the prompt, and what must follow."""
        self.known, self.ahead = list(self.segments.pop()), 1
        self._foresee()

    @property
    def one_by_one(self) -> bool:
        """Whether every token must be fed alone, since something is computed for each."""
        return self.settings.logprobs is not None or self.settings.adjusted

    def follow(self, tokens: list[int]) -> None:
        """Let the constraint process generated tokens; find out which ones must follow."""
        constraint = self.settings.constraint
        if constraint is None:
            return
        for token in tokens:
            constraint.advance(token)
        if not self.known and constraint.failure is None:
            self._foresee(len(tokens))

    def _foresee(self, fed: int = 0) -> None:
        """Append the tokens that the constraint forces now, up to the row's end."""
        constraint = self.settings.constraint
        if constraint is None:
            return
        for token in constraint.forced()[: self.room - fed]:
            if token in self.ends:
                break
            self.known.append(token)


@dataclass(frozen=True)
class PromptProgress:
    """How much of a row's prompt is computed, beyond the cached tokens.

    Attributes
    ----------
    uid, done
        The row, and its computed tokens.
    end_of_segment, end_of_prompt
        Whether a segment has just ended, and whether the row now decodes.
    """

    uid: int
    done: int
    end_of_segment: bool
    end_of_prompt: bool


@dataclass(frozen=True)
class NewToken:
    """A generated token; with the last one of a row, what its KV cache holds.

    Attributes
    ----------
    uid, token
        The row and its token.
    report
        What `BatchSampler` reports, if the row asks for it.
    finish
        Why the row ends with it: `stop` (an end token) or `length`.
    all_tokens, cache
        The tokens in the row's KV cache, and the cache.
    """

    uid: int
    token: int
    report: TokenReport | None = None
    finish: str | None = None
    all_tokens: list[int] = field(default_factory=list)
    cache: list[Any] = field(default_factory=list)


def split_last(segments: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the segments without empty ones, and with the last token as a segment of its own.

    Raises
    ------
    ValueError
        If there is no token.
    """
    parts = [list(segment) for segment in segments if segment]
    if not parts:
        raise ValueError("The prompt is empty.")
    *head, last = parts[-1]
    return [*parts[:-1], *([head] if head else []), [last]]
