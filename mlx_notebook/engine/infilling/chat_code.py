"""Read the answer of a chat model that fills a gap: only the text of the gap remains.

The answer has begun with a code fence and the text before the gap, which the model is to continue.
Some models begin again, with a fence or with the last lines before the gap, and many go on after
the gap's end.
"""

from mlx_notebook.engine.infilling.gap_place import GapPlace

_FENCE = "```"
_REPEATED = 3
"""Fewest characters of a line before the gap that count as a repetition of it."""

_MOST_LINES = 20
"""Most lines before the gap in which a repetition may begin."""


class ChatCode:
    """Reads one answer piece by piece.

    Parameters
    ----------
    prefix
        The text before the gap.
    place
        The place of the gap.

    Attributes
    ----------
    ended
        Whether the text of the gap is complete.
    """

    def __init__(self, prefix: str, place: GapPlace) -> None:
        self.ended = False
        lines = prefix.splitlines(keepends=True)[-_MOST_LINES:]
        tails = {"".join(lines[at:]) for at in range(len(lines))}
        tails |= {tail.lstrip() for tail in tails}
        # The longest repetition first.
        self._tails = sorted(
            (tail for tail in tails if len(tail.strip()) >= _REPEATED), key=len, reverse=True
        )
        self._line_starts = tuple(filter(None, (_FENCE, place.next_line)))
        self._start = ""  # the beginning of the answer, until it is certain what it is
        self._deciding = True
        self._held = ""  # the beginning of a line, until it is certain what it is
        self._may_hold = False

    def feed(self, text: str) -> str:
        """Read new text; return the text that is certain to belong to the gap."""
        if self.ended:
            return ""
        if self._deciding:
            self._start += text
            begun = self._begin(final=False)
            if begun is None:
                return ""
            text = begun
        return self._read(text)

    def finish(self) -> str:
        """End the answer; return the rest of the text."""
        if self.ended:
            return ""
        text = self._read(self._begin(final=True) or "") if self._deciding else ""
        held, self._held = self._held, ""
        return text if self.ended or held.strip() in self._line_starts else text + held

    def _begin(self, *, final: bool) -> str | None:
        """Return the beginning of the answer without what it repeats; None while undecided."""
        text = self._start
        opening = text.lstrip("\n")
        if not final and not opening:
            return None
        if opening.startswith(_FENCE) or (_FENCE.startswith(opening) and not final):
            line, newline, after = opening.partition("\n")
            if not newline and not final:
                return None
            if not line[len(_FENCE) :].strip():  # it closes the fence
                self.ended = True
                return ""
            text = opening = after
        if not final and any(tail.startswith(opening) for tail in self._tails):
            return None
        self._deciding = False
        for tail in self._tails:
            if opening.startswith(tail):
                return opening[len(tail) :]
        return text

    def _read(self, text: str) -> str:
        """Return text up to a line that does not belong to the gap."""
        shown: list[str] = []
        for character in text:
            if character == "\n":
                if self._may_hold and self._ends_here():
                    break
                shown.append(self._held + character)
                self._held, self._may_hold = "", True
                continue
            if not self._may_hold:
                shown.append(character)
                continue
            self._held += character
            line = self._held.strip()
            if line.startswith(_FENCE):
                self._end()
                break
            if not any(start.startswith(line) for start in self._line_starts):
                shown.append(self._held)
                self._held, self._may_hold = "", False
        return "".join(shown)

    def _ends_here(self) -> bool:
        ends = self._held.strip() in self._line_starts
        if ends:
            self._end()
        return ends

    def _end(self) -> None:
        self.ended, self._held = True, ""
