"""A transcript, as text, rows and in a cell."""

import html
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TimedText:
    """A segment or a word of a transcript; `start` and `end` are seconds of the sound."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What is spoken in a sound. `str` is its text.

    Attributes
    ----------
    language
        Name of the language, such as "english".
    seconds
        Length of the sound.
    segments, words
        Its parts with their times. `words` is empty unless it was asked for.
    """

    text: str
    language: str
    seconds: float
    segments: list[TimedText] = field(default_factory=list)
    words: list[TimedText] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text

    def rows(self) -> list[dict[str, Any]]:
        """Return the segments as rows, for a DataFrame."""
        return [vars(segment) for segment in self.segments]

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><td>{_clock(one.start)}</td><td>{_clock(one.end)}</td>"
            f"<td style='text-align:left'>{html.escape(one.text.strip())}</td></tr>"
            for one in self.segments
        )
        about = html.escape(f"{self.language}, {_clock(self.seconds)}")
        head = "<tr><th>from</th><th>to</th><th style='text-align:left'>text</th></tr>"
        return f"<table><caption>{about}</caption>{head}{lines}</table>"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
