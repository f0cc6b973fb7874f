"""The load: prompts, and what one burst of streams measured."""

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
    """Return `count` prompts of about `tokens` tokens of `model`, different from the first word on.

    `salt` names the burst: another burst gets other prompts, so no cache of prefixes can help.
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
    """One stream: seconds on one clock, token counts, and why it failed if it did."""

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

    Rates are tokens per second, times are seconds; `wall` spans the first request to the last
    answer, so `total` includes reading the prompts. `cpu` is the CPU seconds that the contender's
    processes used meanwhile.
    """

    table: str
    contender: str
    streams: int
    round: int
    samples: list[Sample] = field(repr=False)
    cpu: float = 0.0

    @property
    def errors(self) -> list[str]:
        """What went wrong, one entry a failed stream."""
        return [sample.error for sample in self.samples if sample.error]

    @property
    def figures(self) -> dict[str, Any]:
        """The burst in numbers, as they go into the JSON file."""
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
