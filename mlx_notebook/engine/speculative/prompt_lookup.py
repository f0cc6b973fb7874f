"""Prompt lookup: drafts what followed the last tokens of a row earlier in its text.

Quotations, edited code and lists repeat parts of the prompt. A row's lookup also predicts every
token that the row gets anyway, without a draft. So it knows what a draft would bring before the
model has to check one.
"""

from collections.abc import Sequence

_BITS = 20
_TOKEN = (1 << _BITS) - 1
_PAIR = (1 << 2 * _BITS) - 1

_SLICE = 2_000
"""Prompt tokens that one call of `extend` indexes. It takes about a millisecond."""

_MOST_PROMPT = 65_536
"""Prompt tokens that are indexed, from the last one back. They take about 20 megabytes."""

_MOST_RECENT = 131_072
"""Entries of the answer's index before the older half is dropped."""

# A prediction is as good as those before it were. The first two are new matches of two and of
# three tokens; the others follow a match that has been right for at least so many tokens.
_STREAKS = (0, 0, 1, 2, 4, 8, 16)
_PRIOR_HITS = (0.5, 1.0, 1.2, 1.4, 1.6, 1.7, 1.8)
_PRIOR_TRIES = 2.0
_MOST_TRIES = 64.0
_LEVEL_OF_STREAK = tuple(
    max(level for level, least in enumerate(_STREAKS) if least <= streak) for streak in range(17)
)


class RowLookup:
    """The lookup of one row.

    Parameters
    ----------
    prompt
        The row's prompt tokens.
    limit
        Most tokens of a draft.
    """

    def __init__(self, prompt: Sequence[int], limit: int) -> None:
        self._text = list(prompt)
        self._limit = limit
        # The last tokens -> the place after their latest occurrence. Keys are two or three tokens.
        self._prompt: dict[int, int] = {}
        self._older: dict[int, int] = {}
        self._recent: dict[int, int] = {}
        self._unindexed = len(self._text) - 1
        self._first = max(1, len(self._text) - _MOST_PROMPT)
        self._pair = self._triple = 0
        for token in self._text[-3:]:
            self._shift(token)
        # The place of the predicted token, -1 without a match, and how often the match was right.
        self._at = -1
        self._streak = 0
        self._level = 0
        self._tries = [_PRIOR_TRIES] * len(_STREAKS)
        self._hits = list(_PRIOR_HITS)
        # What the last draft promised, and what drafts promised and kept of late.
        self._promise = 0.0
        self._promised = self._kept = 4.0
        self._accepted: list[float] = []
        # The end of the prompt is indexed with the answer: it must not match itself.
        self._index_prompt()
        self._match(self._pair, self._triple)

    def extend(self, tokens: Sequence[int]) -> None:
        """Add the row's new tokens, in order, and compare them with what was predicted."""
        if self._unindexed > self._first:
            self._index_prompt()
        text, recent = self._text, self._recent
        for token in tokens:
            self._index_end(recent)
            at = self._at
            if at >= 0:
                self._count(text[at] == token)
            text.append(token)
            self._shift(token)
            if at >= 0 and text[at] == token:
                self._at = at + 1
            else:
                self._match(self._pair, self._triple)
        self._accepted = []
        # Old outcomes count less and less.
        self._kept += 0.02 * (self._promised - self._kept)
        if len(recent) > _MOST_RECENT:
            self._older, self._recent = recent, {}

    def draft(self, count: int, newest: int | None = None) -> list[int]:
        """Return up to `count` tokens that are predicted to follow; empty without a match.

        A match that reaches the end of the text goes on with its own prediction, because
        repetitions have a period.

        Parameters
        ----------
        newest
            The token after those that `extend` has seen, if it is known already.
        """
        text, at = self._text, self._at
        count = min(count, self._limit)
        end = len(text)
        if newest is not None:
            expected = at >= 0
            if expected and text[at] == newest:
                at += 1
            else:
                at, level = self._find(*self._shifted(newest))
                # `expected` has spoken of another match.
                if expected and 2 * self._hits[level] < self._tries[level]:
                    at = -1
        if at < 0 or count <= 0:
            return []
        self._promise = self._average(count)
        found = text[at : at + count]
        if newest is not None and len(found) < count:
            found.append(newest)
            end += 1
        period = end - at
        while len(found) < count:
            found.append(found[-period])
        return found

    def expected(self, count: int) -> float:
        """Return how many of `count` drafted tokens will be accepted on average."""
        if self._at < 0:
            return 0.0
        count = min(count, self._limit)
        return min(float(count), self._kept / self._promised * self._average(count))

    def verified(self, drafted: int, accepted: int) -> None:
        """Take the real outcome of the last draft."""
        if drafted:
            self._promised = 0.9 * self._promised + self._promise
            self._kept = 0.9 * self._kept + accepted

    def _average(self, count: int) -> float:
        """Return how many of `count` tokens would have been accepted, by the predictions so far."""
        if not self._accepted:
            self._accepted = self._survival()
        return self._accepted[count]

    def _survival(self) -> list[float]:
        """Return that number for 0, 1, 2 ... tokens."""
        rates = [hits / tries for hits, tries in zip(self._hits, self._tries, strict=True)]
        total, chance, streak, level = 0.0, 1.0, self._streak, self._level
        sums = [0.0]
        for _ in range(self._limit):
            chance *= rates[level]
            total += chance
            sums.append(total)
            streak += 1
            level = _LEVEL_OF_STREAK[min(streak, 16)]
        return sums

    def _count(self, right: bool) -> None:
        """Count a prediction that was right or not, and go on with its match or end it."""
        level = self._level
        if self._tries[level] >= _MOST_TRIES:
            self._tries[level] /= 2
            self._hits[level] /= 2
        self._tries[level] += 1
        if right:
            self._hits[level] += 1
            self._streak += 1
            self._level = _LEVEL_OF_STREAK[min(self._streak, 16)]

    def _match(self, pair: int, triple: int) -> None:
        """Look for the last tokens in the text before them."""
        self._at, self._level = self._find(pair, triple)
        self._streak = 0

    def _find(self, pair: int, triple: int) -> tuple[int, int]:
        """Return the place after the latest occurrence, or -1, and the level of that match."""
        for level, key in ((1, triple), (0, pair)):
            for index in (self._recent, self._older, self._prompt):
                at = index.get(key)
                if at is not None:
                    return at, level
        return -1, 0

    def _shift(self, token: int) -> None:
        self._pair, self._triple = self._shifted(token)

    def _shifted(self, token: int) -> tuple[int, int]:
        """Return the keys of the last two and three tokens after one more. No key is of both."""
        pair = (self._pair & _TOKEN) << _BITS | token
        return pair, (self._triple & _PAIR) << _BITS | token | 1 << 3 * _BITS

    def _index_end(self, index: dict[int, int]) -> None:
        """Record that the next token follows the last ones."""
        end = len(self._text)
        if end > 1:
            index[self._pair] = end
        if end > 2:
            index[self._triple] = end

    def _index_prompt(self) -> None:
        """Index the next slice of the prompt, from its end back. Later places go before earlier."""
        text, index = self._text, self._prompt
        low = max(self._first, self._unindexed - _SLICE)
        for end in range(self._unindexed, low, -1):
            pair = text[end - 2] << _BITS | text[end - 1]
            index.setdefault(pair, end)
            if end > 2:
                index.setdefault(text[end - 3] << 2 * _BITS | pair | 1 << 3 * _BITS, end)
        self._unindexed = low
