"""Where guesses of the next tokens come from: the row's own past, or a smaller model."""

from typing import Any, Protocol

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from mlx_notebook.engine.sampling.sampler import Row, choose_ahead

MOST_DRAFTED = 8
"""How many tokens a draft model guesses at most before they are checked."""

_GRAMS = (3, 2)


class Pace:
    """How many tokens to guess: more while they hold, fewer and then none for a while if not."""

    def __init__(self, limit: int):
        self._limit, self._length = limit, min(limit, 4)
        self._misses = self._rest = 0

    def next(self) -> int:
        """How many to guess now."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._length

    def note(self, guessed: int, held: int) -> None:
        """So many of the guesses held."""
        full = held == guessed
        self._length = min(2 * self._length, self._limit) if full else max(1, held)
        self._misses = 0 if held else self._misses + 1
        if self._misses == 4:
            self._misses, self._rest = 0, 16


class Drafter(Protocol):
    """A source of guesses for a lone row."""

    pace: Pace

    @property
    def nbytes(self) -> int:
        """What it keeps of the row on the device, in bytes."""
        ...

    def draft(self, row: Row, tokens: list[int], last: mx.array, count: int) -> mx.array | None:
        """Guess up to `count` tokens.

        Parameters
        ----------
        tokens
            All that the row's cache holds; the same list while the row lives.
        last
            The token after those, shape (1,), perhaps not computed yet.

        Returns
        -------
        Shape (k,), k <= count, perhaps not computed yet; None if there is no guess.
        """
        ...

    def note(self, fed: list[int]) -> None:
        """After a guess: the last token and the guesses, as they turned out."""
        ...


class PromptLookup:
    """Guesses that what followed the last words before follows them again.

    Quotations, code that is edited and lists repeat what the prompt said; it costs no model.
    """

    nbytes = 0

    def __init__(self, limit: int):
        self.pace = Pace(limit)
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._seen = 0

    def draft(self, row: Row, tokens: list[int], last: mx.array, count: int) -> mx.array | None:
        """What followed the latest occurrence of the last two or three tokens."""
        self._index(tokens)
        newest = int(last.item())
        for size in _GRAMS:
            if len(tokens) < size:
                continue
            place = self._after.get((*tokens[len(tokens) - size + 1 :], newest))
            if place is not None:
                found = [*tokens[place : place + count], newest][:count]
                # Where it reaches the present it begins again: repetition has a period.
                return mx.array((found * count)[:count], mx.uint32)
        return None

    def note(self, fed: list[int]) -> None:
        """Nothing to remember."""

    def _index(self, tokens: list[int]) -> None:
        if tokens is not self._tokens:
            self._tokens, self._after, self._seen = tokens, {}, 0
        for end in range(self._seen + 1, len(tokens) + 1):
            for size in _GRAMS:
                if end >= size:
                    self._after[tuple(tokens[end - size : end])] = end
        self._seen = len(tokens)


class DraftModel:
    """Guesses by a smaller model of the same vocabulary.

    It chooses with the row's own settings and random stream, so its guesses hold for sampled rows
    too wherever the two models agree. Its cache stays for the next turn.

    Parameters
    ----------
    width
        How many logits the large model has.
    prefill_step
        How many tokens of a prompt it takes in at a time; the row decodes without it meanwhile.
    """

    def __init__(self, model: Any, width: int, prefill_step: int):
        self.pace = Pace(MOST_DRAFTED)
        self._model, self._width, self._prefill_step = model, width, prefill_step
        self._cache = make_prompt_cache(model)
        self._tokens: list[int] = []

    @property
    def nbytes(self) -> int:
        """What its cache takes, in bytes."""
        return sum(int(layer.nbytes) for layer in self._cache)

    def draft(self, row: Row, tokens: list[int], last: mx.array, count: int) -> mx.array | None:
        """Let the small model go on."""
        self._agree(tokens)
        behind = tokens[len(self._tokens) :]
        if len(behind) > self._prefill_step:
            self._take_in(behind[: self._prefill_step])
            return None
        self._tokens.extend(behind)
        inputs = mx.concatenate([mx.array(behind, mx.uint32), last]) if behind else last
        guesses = []
        for place in range(count):
            logits = self._model(inputs[None], cache=self._cache)[0, -1:, : self._width]
            inputs = choose_ahead(row, logits, place).astype(mx.uint32)
            mx.async_eval(inputs)
            guesses.append(inputs)
        return mx.concatenate(guesses)

    def note(self, fed: list[int]) -> None:
        """The last guess was not fed to the small model."""
        self._tokens.extend(fed[:-1])

    def _agree(self, tokens: list[int]) -> None:
        """Cut the cache back to what the row has in common with it."""
        known = self._tokens
        if tokens[: len(known)] == known:
            return
        shared = next(
            (i for i, (a, b) in enumerate(zip(known, tokens, strict=False)) if a != b),
            min(len(known), len(tokens)),
        )
        trim_prompt_cache(self._cache, len(known) - shared)
        self._tokens = known[:shared]

    def _take_in(self, tokens: list[int]) -> None:
        self._model(mx.array([tokens], mx.uint32), cache=self._cache)
        mx.eval([layer.state for layer in self._cache])
        self._tokens.extend(tokens)
