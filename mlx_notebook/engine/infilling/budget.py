"""Cut the text around a gap to a number of tokens.

The cut does not move with every key. Otherwise no prompt would begin as the one before it did, and
the prefix cache would hold nothing.
"""

from collections.abc import Callable, Sequence

Count = Callable[[str], int]
"""Returns the number of tokens of a text."""

_STEPS = 4
"""A text that is too long loses a quarter of its budget at a time."""

_BYTES_A_TOKEN = 4
"""Bytes of a token in a line that is too long itself."""


def last_part(text: str, most: int, count: Count) -> str:
    """Return the last lines of a text, of at most `most` tokens."""
    if _is_short(text, most) or count(text) <= most:
        return text
    lines = text.splitlines(keepends=True)
    sizes = [count(line) for line in lines]
    step = max(1, most // _STEPS)
    excess = sum(sizes) - most
    wanted = -(-excess // step) * step
    dropped = first = 0
    while first < len(lines) - 1 and dropped < wanted:
        dropped += sizes[first]
        first += 1
    rest = "".join(lines[first:])
    # The last line alone may be too long.
    return rest if sum(sizes[first:]) <= most else rest[-_characters(most) :]


def first_part(text: str, most: int, count: Count) -> str:
    """Return the first lines of a text, of at most `most` tokens."""
    if _is_short(text, most) or count(text) <= most:
        return text
    used = 0
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        used += count(line)
        if used > most:
            break
        kept.append(line)
    return "".join(kept) or text[: _characters(most)]


def nearest(texts: Sequence[str], most: int, count: Count) -> list[str]:
    """Return the last of some texts, of at most `most` tokens together, in their order.

    Of the last text its last lines are used, if the whole does not fit.
    """
    chosen: list[str] = []
    left = most
    for text in reversed(texts):
        size = count(text)
        if size > left:
            if not chosen and left:
                chosen.append(last_part(text, left, count))
            break
        chosen.append(text)
        left -= size
    return chosen[::-1]


def _is_short(text: str, most: int) -> bool:
    """Return whether a text has so few bytes that its tokens need not be counted."""
    return len(text) * _BYTES_A_TOKEN <= most


def _characters(most: int) -> int:
    # One character may be four tokens, where every byte is one.
    return max(1, most // _BYTES_A_TOKEN)
