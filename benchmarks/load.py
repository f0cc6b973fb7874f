"""The load: prompts, and the measurements of one burst of streams."""

import random
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part",
    "place", "case", "week", "company", "system", "program", "question", "work", "government",
    "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story",
    "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
    "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game",
    "line", "end", "member", "law", "car", "city", "community", "name", "president", "team",
    "minute", "idea", "body", "information", "back", "parent", "face", "others", "level",
    "office", "door", "health", "person", "art", "war", "history", "party", "result", "change",
    "morning", "reason", "research", "girl", "guy", "moment", "air", "teacher", "force",
    "education",
]  # fmt: skip


def make_prompts(model: Path, count: int, tokens: int, salt: str) -> list[str]:
    """Return `count` prompts of about `tokens` tokens each, which differ from the first word on.

    Each burst has its own `salt` and so its own prompts, so that no prefix cache can help.
    """
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    choose = random.Random(f"prompts {salt}")
    overhead = 20  # What a chat template adds around one message.
    prompts = []
    for _ in range(count):
        words = [choose.choice(_WORDS).capitalize()]
        while len(tokenizer.encode(" ".join(words)).ids) < tokens - overhead:
            words += choose.choices(_WORDS, k=4)
        prompts.append(" ".join(words) + ".")
    return prompts


@dataclass(frozen=True)
class Sample:
    """One stream: times in seconds on one clock, token counts, and its error if it failed."""

    started: float
    first: float | None
    ended: float
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    error: str | None = None


@dataclass
class Burst:
    """`streams` requests sent at once to one contender.

    Rates are in tokens per second, times in seconds. `wall` is the time from the first request to
    the last answer, so `total` includes prefill. `cpu` is the CPU time of the contender's processes
    during that time.
    """

    table: str
    contender: str
    streams: int
    round: int
    samples: list[Sample] = field(repr=False)
    cpu: float = 0.0

    @property
    def errors(self) -> list[str]:
        """The errors, one per failed stream."""
        return [sample.error for sample in self.samples if sample.error]

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the burst, for the JSON file."""
        good = [s for s in self.samples if not s.error]
        base = {
            "table": self.table,
            "contender": self.contender,
            "streams": self.streams,
            "round": self.round,
            "errors": self.errors[:3],
            "failed": len(self.samples) - len(good),
        }
        if not good:
            return base
        wall = max(s.ended for s in good) - min(s.started for s in good)
        first = [s.first - s.started for s in good if s.first is not None]
        rates = [
            (s.tokens - 1) / (s.ended - s.first)
            for s in good
            if s.first is not None and s.ended > s.first
        ]
        return base | {
            "total": sum(s.tokens for s in good) / wall,
            "stream": statistics.median(rates) if rates else None,
            "first": statistics.median(first) if first else None,
            "first_worst": max(first, default=None),
            "wall": wall,
            "cpu": 1000 * self.cpu / sum(s.tokens for s in good),
            "prompt_tokens": round(statistics.mean(s.prompt_tokens for s in good)),
            "cached_tokens": round(statistics.mean(s.cached_tokens for s in good)),
            "tokens": min(s.tokens for s in good),
        }
