"""Finds where the messages of a conversation are in its rendered text and in its tokens.

The contents are searched for in the text from its end to its beginning. That costs no second
rendering. A message whose content the template changes is not found; its neighbours are.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_SEARCHED = 160
"""Characters of a content that are searched for: a longer text would take too long."""

_MOST_MISSES = 8
"""Messages that may be missing before the search ends; each costs a pass over the text."""

_MOST_TRIES = 32
"""Places of a content that may turn out to be inside of words."""

_LAST_BORDERS = 3


@dataclass(frozen=True)
class Place:
    """Where the content of a message begins and ends. `message` is its index."""

    message: int
    role: str
    start: int
    end: int


@dataclass(frozen=True)
class MessagePlaces:
    """The messages that were found, in their order. Their places are numbers of tokens."""

    places: Sequence[Place] = ()

    @property
    def opening(self) -> int | None:
        """How many first tokens end with the first message that is not a system message."""
        first = self._first()
        return None if first is None else first.end

    def complete(self, messages: Sequence[Any]) -> bool:
        """Return whether the last one of these messages was found."""
        return bool(self.places) and self.places[-1].message == len(messages) - 1

    def is_new(self, token: int) -> bool:
        """Return whether a token belongs to what makes a prompt a new one.

        That is the first message, which begins another conversation, or the last one.
        """
        first = self._first()
        if first is None:
            return False
        last_begins = max((p.end + 1 for p in self.places[:-1]), default=0)
        if first is self.places[-1]:
            last_begins = first.start
        return first.start <= token <= first.end or token >= last_begins

    @property
    def borders(self) -> list[int]:
        """Numbers of tokens that another prompt is likely to share.

        The system prompt with the tools, the prompt up to the last user message, and up to each of
        the last messages.
        """
        first = self._first()
        users = [place.end for place in self.places if place.role == "user"][-1:]
        ends = [place.end for place in self.places[-_LAST_BORDERS:]]
        starts = [] if first is None else [first.start]
        return sorted({*starts, *users, *ends} - {0})

    def changed(self, token: int) -> int | None:
        """Return the index of the message to which a token belongs.

        None: it belongs to no content that was found, but to text between the system prompt and the
        first message, where templates put tools.
        """
        before = [place for place in self.places if place.end < token]
        after = self.places[len(before) :]
        following = before[-1].message + 1 if before else 0
        if not after:
            return following if before else None
        if token >= after[0].start:
            return after[0].message
        return None if after[0] is self._first() else following

    def shifted(self, mapped: Callable[[int], int]) -> "MessagePlaces":
        """Return the same places with other numbers of tokens."""
        return MessagePlaces(
            [Place(p.message, p.role, mapped(p.start), mapped(p.end)) for p in self.places]
        )

    def _first(self) -> Place | None:
        return next((p for p in self.places if p.role not in ("system", "developer")), None)


def find_messages(
    text: str, messages: Sequence[dict[str, Any]], tokens_before: Callable[[int], int]
) -> MessagePlaces:
    """Find the messages in a rendered text.

    Parameters
    ----------
    tokens_before
        Returns how many tokens lie wholly before a character of the text.
    """
    places: list[Place] = []
    end, misses = len(text), 0
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        content = [part for part in _texts(message.get("content")) if part]
        if not content:
            continue
        found = _find(text, content, end)
        if found is None:
            misses += 1
            if misses == _MOST_MISSES:
                break
            continue
        end = found[0]
        before = end
        # A token may join the end of the header with the beginning of the content.
        while before and text[before - 1].isspace():
            before -= 1
        start = tokens_before(before)
        role = str(message.get("role"))
        places.append(Place(index, role, start, tokens_before(found[1])))
    return MessagePlaces(places[::-1])


def counter(ends: Sequence[int]) -> Callable[[int], int]:
    """Return the function `tokens_before` for the ends of tokens in their text."""
    return lambda character: bisect_right(ends, character)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content.strip()
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"].strip()


def _find(text: str, content: list[str], end: int) -> tuple[int, int] | None:
    """Return the characters between which a message's parts are, before `end`."""
    first, last = content[0], content[-1]
    tail = last[-_SEARCHED:]
    found = _rfind(text, tail, end, starts=tail == last)
    if found is None:
        return None
    begin, until = found
    if text.startswith(last, max(0, until - len(last))):
        begin = max(0, until - len(last))
    if len(content) > 1:
        head = first[:_SEARCHED]
        found = _rfind(text, head, begin, ends=head == first)
        begin = begin if found is None else found[0]
    return begin, until


def _rfind(
    text: str, part: str, end: int, *, starts: bool = True, ends: bool = True
) -> tuple[int, int] | None:
    """Find the last place before `end` where `part` stands as it is, or as in JSON.

    Where `part` starts or ends a content, it is not found inside a word.
    """
    for form in dict.fromkeys((part, json.dumps(part, ensure_ascii=False)[1:-1])):
        until = end
        for _ in range(_MOST_TRIES):
            at = text.rfind(form, 0, until)
            if at < 0:
                break
            until = at + len(form)
            before, after = text[max(0, at - 1) : at], text[until : until + 1]
            inside = starts and before.isalnum() and form[0].isalnum()
            inside |= ends and after.isalnum() and form[-1].isalnum()
            if not inside:
                return at, until
            until -= 1
    return None
