"""The load: prompts, requests and when they arrive, and the measurements of a burst of streams."""

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
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


@lru_cache
def _counter(model: Path) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, by the model's tokenizer."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def make_prompts(model: Path, count: int, tokens: int, salt: str) -> list[str]:
    """Return `count` prompts of about `tokens` tokens each, which differ from the first word on.

    Each burst has its own `salt` and so its own prompts, so that no prefix cache can help.
    """
    count_tokens = _counter(model)
    choose = random.Random(f"prompts {salt}")
    overhead = 20  # What a chat template adds around one message.
    prompts = []
    for _ in range(count):
        words = [choose.choice(_WORDS).capitalize()]
        # The words are counted one by one: counting the whole text each time is quadratic.
        length = count_tokens(words[0])
        while length < tokens - overhead:
            more = choose.choices(_WORDS, k=4)
            length += count_tokens(" " + " ".join(more))
            words += more
        prompts.append(" ".join(words) + ".")
    return prompts


def poisson(count: int, rate: float, salt: str) -> list[float]:
    """Return the seconds at which `count` requests arrive, `rate` of them a second on average."""
    choose = random.Random(f"arrivals {salt}")
    times = [0.0]
    while len(times) < count:
        times.append(times[-1] + choose.expovariate(rate))
    return times


@dataclass(frozen=True)
class Request:
    """One stream to generate.

    It has `tokens` tokens (`exact=False`: at most) and is sent `delay` seconds after the first one,
    or, if it is `late`, as soon as all others have begun to answer. `fields` are further fields of
    the body, which only servers understand. The client hangs up `drop` seconds after the first text
    (`None`: never).
    """

    prompt: str
    tokens: int
    delay: float = 0.0
    exact: bool = True
    fields: dict[str, Any] = field(default_factory=dict)
    drop: float | None = None
    late: bool = False


@dataclass(frozen=True)
class Sample:
    """One stream: times in seconds on one clock, token counts, and its error if it failed.

    `times` says when text arrived, the first text included.
    """

    started: float
    first: float | None
    ended: float
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    error: str | None = None
    times: tuple[float, ...] = ()

    def pause(self, since: float = 0.0) -> float | None:
        """Return the longest time without text that ended after `since`; `None` if there is none.

        Only the time between two texts counts, not the time before the first one.
        """
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((b - max(a, since) for a, b in pairs if b > since), default=None)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest of the values that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


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
            "first_p95": percentile(first, 0.95) if first else None,
            "first_worst": max(first, default=None),
            "pause": max((p for s in good if (p := s.pause()) is not None), default=None),
            "wall": wall,
            "cpu": 1000 * self.cpu / sum(s.tokens for s in good),
            "prompt_tokens": round(statistics.mean(s.prompt_tokens for s in good)),
            "cached_tokens": round(statistics.mean(s.cached_tokens for s in good)),
            "tokens": min(s.tokens for s in good),
        }
