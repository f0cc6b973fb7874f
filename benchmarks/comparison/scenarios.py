"""What happens beside plain bursts: late arrivals, long prompts, grammars, cancelled requests.

Each scenario records rows: one figure or more of one way to do one case. Ratios are taken to the
base of the case in the same round. `serving` and `accelerator` both run these.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.client import Reply, get
from benchmarks.harness.contenders import OURS, Contender, Server, as_sample
from benchmarks.harness.lineup import Lineup, say
from benchmarks.harness.load import Burst, Request, Sample, make_prompts, poisson

TEN_KEYS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "first_name": {"type": "string", "maxLength": 12},
        "last_name": {"type": "string", "maxLength": 12},
        "date_of_birth": {"type": "string", "pattern": "^[12][0-9]{3}-[01][0-9]-[0-3][0-9]$"},
        "favourite_colour": {"enum": ["red", "green", "blue", "yellow"]},
        "number_of_children": {"type": "integer", "minimum": 0, "maximum": 12},
        "is_member": {"type": "boolean"},
        "city_of_residence": {"type": "string", "maxLength": 16},
        "occupation": {"type": "string", "maxLength": 16},
        "height_in_centimetres": {"type": "integer", "minimum": 50, "maximum": 250},
        "preferred_language": {"enum": ["English", "French", "German", "Spanish"]},
    },
    "additionalProperties": False,
}
TEN_KEYS["required"] = list(TEN_KEYS["properties"])
_FORMAT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": TEN_KEYS, "strict": True},
    }
}

VARIANTS: dict[str, dict[str, Any]] = {
    "kv8": {"kv_bits": 8},
    "kv4": {"kv_bits": 4},
    "plain": {"prompt_lookup": 0},
}
"""The settings of the further models of our server, by the ending of their names."""

REPEATS = "repeats"
"""The folder beside the model that holds one whose answers repeat themselves, if there is one."""


def link_variants(models: Path) -> None:
    """Link each model in a folder under the names of its variants."""
    for model in list(models.iterdir()):
        for ending in VARIANTS:
            model.with_name(f"{model.name}-{ending}").symlink_to(model.name)


def variants_of(model: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the variants of a model, and of the one that repeats itself."""
    return {
        f"{name}-{ending}": settings
        for name in (model.name, REPEATS)
        for ending, settings in VARIANTS.items()
    }


@dataclass(frozen=True)
class Row:
    """Figures of one `way` in one round of a case. Times are in seconds, rates in tokens/s."""

    section: str
    case: str
    way: str
    round: int
    figures: dict[str, float | None]
    base: bool = False


@dataclass(frozen=True)
class Sizes:
    """How large the scenarios are. `rate` is requests per second (`None`: from the bursts)."""

    prompt_tokens: int = 200
    tokens: int = 128
    rounds: int = 2
    long: tuple[int, ...] = (4000, 16000)
    streams: int = 8
    arrivals: int = 32
    rate: float | None = None


@dataclass
class Stage:
    """The contenders, the model, the sizes, and the rows so far."""

    lineup: Lineup
    model: Path
    sizes: Sizes
    bursts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def prompts(self, count: int, salt: str, tokens: int | None = None) -> list[str]:
        """Return new prompts."""
        return make_prompts(self.model, count, tokens or self.sizes.prompt_tokens, salt)

    def record(self, row: Row) -> None:
        """Keep a row, and print it."""
        self.rows.append(row)
        shown = ", ".join(f"{k} {v:.4g}" for k, v in row.figures.items() if v is not None)
        say(f"{row.section}: {row.case}: {row.way}: {shown}")

    def as_data(self) -> list[dict[str, Any]]:
        """Return the rows for a JSON file."""
        return [asdict(row) for row in self.rows]


def figures(samples: list[Sample], *keys: str) -> dict[str, float | None]:
    """Return these figures of a burst. Raise `RuntimeError` if a stream failed."""
    burst = Burst("", "", len(samples), 0, samples)
    if burst.errors:
        raise RuntimeError(f"{len(burst.errors)} of {len(samples)} failed: {burst.errors[0]}")
    found = burst.figures
    return {key: found[key] for key in keys}


def _many(stage: Stage) -> list[Contender]:
    """Return the contenders that take many streams; of mlx-lm's loops the wide one."""
    loops = [c for c in stage.lineup.loops if c.loop == "wide"]
    return [*loops, *(c for c in stage.lineup.contenders if c not in stage.lineup.loops)]


async def arrivals(stage: Stage) -> None:
    """Requests that arrive at random, the same times for all contenders."""
    sizes = stage.sizes
    rate = sizes.rate or _half_rate(stage)
    case = f"{sizes.arrivals} requests, {rate:.1f} a second"
    for number in range(sizes.rounds):
        delays = poisson(sizes.arrivals, rate, f"{number}")
        for contender in _many(stage):
            prompts = stage.prompts(sizes.arrivals, f"arrivals {number} {contender.name}")
            requests = [
                Request(prompt, sizes.tokens, delay)
                for prompt, delay in zip(prompts, delays, strict=True)
            ]
            samples = await contender.send(requests)
            keys = ("total", "stream", "first", "first_p95", "pause")
            base = contender in stage.lineup.loops
            row = figures(samples, *keys)
            stage.record(Row("arrivals", case, contender.name, number, row, base))


def _half_rate(stage: Stage) -> float:
    """Return half of the requests a second that the fastest burst finished (else 2)."""
    totals = [b["total"] for b in stage.bursts if b.get("total")]
    return 0.5 * max(totals) / stage.sizes.tokens if totals else 2.0


async def long_prompts(stage: Stage) -> None:
    """A long prompt alone: cold, the same again, and the next turn of its conversation."""
    loops = [c for c in stage.lineup.loops if c.loop == "stream"]
    for length in stage.sizes.long:
        # The first round compiles; it does not count.
        for number in range(-1, stage.sizes.rounds):
            for contender in [*loops, *stage.lineup.servers]:
                (prompt,) = stage.prompts(1, f"long {length} {number} {contender.name}", length)
                if isinstance(contender, Server):
                    found = await _conversation(contender, prompt)
                else:
                    found = {"cold": figures(await contender.run([prompt], 8), "first")}
                if number < 0:
                    continue
                for way, row in found.items():
                    case = f"{length} tokens, {way}"
                    base = contender in loops
                    stage.record(Row("long prompts", case, contender.name, number, row, base))


async def _conversation(server: Server, prompt: str) -> dict[str, dict[str, float | None]]:
    """Send a prompt, the same prompt again, and the answer with another question."""
    first = Request(prompt, 8)
    answer = await server.ask(first)
    again = await server.ask(first)
    turns = [("user", prompt), ("assistant", answer.text), ("user", "Please go on.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    following = await server.ask(Request("", 8, fields={"messages": messages}))
    replies = {"cold": answer, "the same again": again, "next turn": following}
    return {
        way: figures([as_sample(reply, first)], "first") | {"cached": _cached(reply)}
        for way, reply in replies.items()
    }


def _cached(reply: Reply) -> float:
    """Return the share of the prompt's tokens that were cached."""
    sample = as_sample(reply, Request("", 0, exact=False))
    return sample.cached_tokens / max(1, sample.prompt_tokens)


async def pauses(stage: Stage) -> None:
    """The longest pause of running streams while a long prompt comes in."""
    sizes = stage.sizes
    length = max(sizes.long)
    for number in range(-1, sizes.rounds):
        for contender in _many(stage):
            salt = f"pauses {number} {contender.name}"
            running = [Request(p, 2 * sizes.tokens) for p in stage.prompts(sizes.streams, salt)]
            (prompt,) = stage.prompts(1, f"{salt} long", length)
            *others, late = await contender.send([*running, Request(prompt, 8, late=True)])
            if number < 0:
                continue
            found = [p for s in others if (p := s.pause(late.started)) is not None]
            row = figures(others, "stream") | {
                "pause": max(found, default=None),
                "first": figures([late], "first")["first"],
            }
            case = f"{sizes.streams} streams, a prompt of {length} tokens joins"
            base = contender in stage.lineup.loops
            stage.record(Row("pauses", case, contender.name, number, row, base))


async def _asked(server: Server, requests: list[Request]) -> tuple[list[Reply], list[Sample]]:
    """Send requests to a server at once and return its replies too."""
    replies = await asyncio.gather(*(server.ask(request) for request in requests))
    samples = [as_sample(r, request) for r, request in zip(replies, requests, strict=True)]
    return list(replies), samples


async def grammars(stage: Stage) -> None:
    """A schema of ten keys against free text of the same length, alone and in a batch."""
    server = stage.lineup.ours
    if server is None:
        return
    for streams in (1, stage.sizes.streams):
        case = "one stream" if streams == 1 else f"{streams} streams"
        for number in range(-1, stage.sizes.rounds):
            prompts = stage.prompts(streams, f"grammars {streams} {number}")
            asked = [Request(p, 1000, exact=False, fields=_FORMAT) for p in prompts]
            replies, bound = await _asked(server, asked)
            for reply in replies:
                if reply.error or set(json.loads(reply.text)) != set(TEN_KEYS["required"]):
                    raise RuntimeError(f"no object of ten keys: {reply.error or reply.text[:200]}")
            prompts = stage.prompts(streams, f"grammars free {streams} {number}")
            lengths = [sample.tokens for sample in bound]
            free = await server.send([Request(p, n) for p, n in zip(prompts, lengths, strict=True)])
            if number < 0:
                continue
            for way, samples in (("free text", free), ("ten keys", bound)):
                row = figures(samples, "total", "first", "wall", "tokens")
                stage.record(Row("grammars", case, way, number, row, way == "free text"))


def variant(server: Server, ending: str) -> dict[str, Any]:
    """Return the fields of a request for one of `VARIANTS` of our server's model."""
    return {"model": f"{server.setting.model.name}-{ending}"}


async def lookups(stage: Stage) -> None:
    """Prompt lookup, off and as shipped: an answer that repeats itself, and one that does not."""
    server = stage.lineup.ours
    if server is None:
        return
    sizes = stage.sizes
    usual = server.setting.model.name
    repeating = REPEATS if server.setting.model.with_name(REPEATS).exists() else usual
    cases = [
        ("repetitive answer, one stream", 1, True),
        (f"repetitive answers, {sizes.streams} streams", sizes.streams, True),
        ("other answer, one stream", 1, False),
    ]
    for case, streams, repetitive in cases:
        for number in range(-1, sizes.rounds):
            prompts = stage.prompts(streams, f"{case} {number}", sizes.prompt_tokens // 4)
            if repetitive:
                prompts = [f"{prompt} " * 4 for prompt in prompts]
            texts: dict[str, list[str]] = {}
            for way, ending in (("off", "-plain"), ("as shipped", "")):
                fields = {"model": f"{repeating if repetitive else usual}{ending}"}
                asked = [Request(p, 2 * sizes.tokens, fields=fields) for p in prompts]
                replies, samples = await _asked(server, asked)
                texts[way] = [reply.text for reply in replies]
                same = [a == b for a, b in zip(texts[way], texts["off"], strict=True)]
                if number >= 0:
                    row = figures(samples, "total", "stream") | {"same": statistics.mean(same)}
                    stage.record(Row("lookups", case, way, number, row, way == "off"))


async def quantised(stage: Stage) -> None:
    """KV caches in 8 and 4 bits against full precision."""
    server = stage.lineup.ours
    if server is None:
        return
    sizes = stage.sizes
    case = f"{sizes.streams} streams"
    ways = {
        "full precision": {},
        "8 bits": variant(server, "kv8"),
        "4 bits": variant(server, "kv4"),
    }
    for number in range(-1, sizes.rounds):
        for way, fields in ways.items():
            prompts = stage.prompts(sizes.streams, f"quantised {number} {way}")
            asked = [Request(p, sizes.tokens, fields=fields) for p in prompts]
            row = figures(await server.send(asked), "total", "stream", "first")
            if number >= 0:
                stage.record(Row("quantised", case, way, number, row, not fields))


async def cancelled(stage: Stage) -> None:
    """Half of the streams hang up: the others must become as fast as if they were alone."""
    sizes = stage.sizes
    half = max(1, sizes.streams // 2)
    for number in range(sizes.rounds):
        for server in stage.lineup.servers:
            salt = f"cancelled {number} {server.name}"
            alone = await server.run(stage.prompts(half, f"{salt} alone"), 2 * sizes.tokens)
            stay = [Request(p, 2 * sizes.tokens) for p in stage.prompts(half, f"{salt} stay")]
            # They would go on for so long that they cannot end by themselves.
            prompts = stage.prompts(half, f"{salt} leave")
            leave = [Request(p, 20 * sizes.tokens, drop=0.05) for p in prompts]
            freed = asyncio.create_task(_freed(server, half, 2 * half))
            try:
                samples = await server.send([*stay, *leave])
                stayed, left = samples[:half], samples[half:]
                gone = max(sample.ended for sample in left)
                empty = await freed
            finally:
                freed.cancel()
            waited = None if empty is None else max(0.0, empty - gone)
            rows: dict[str, dict[str, float | None]] = {
                f"{half} alone": {"stream": _rate(alone, 0.0), "freed": None},
                f"{half} after {half} others hung up": {
                    "stream": _rate(stayed, gone),
                    "freed": waited,
                },
            }
            for way, row in rows.items():
                base = way.endswith("alone")
                stage.record(Row("cancelled", server.name, way, number, row, base))


def _rate(samples: list[Sample], since: float) -> float | None:
    """Return the median tokens per second of streams after a time."""
    rates = []
    for sample in samples:
        times = [t for t in sample.times if t > since]
        if len(times) > 2 and times[-1] > times[0]:
            rates.append((len(times) - 1) / (times[-1] - times[0]))
    return statistics.median(rates) if rates else None


async def _freed(server: Server, rest: int, streams: int) -> float | None:
    """Return when our server's status has no more than `rest` requests after it had all of them.

    The engine reports a few times a second. `None` for another server, or if that never happened.
    """
    if server.name != OURS:
        return None
    deadline = time.monotonic() + 30
    full = False
    while time.monotonic() < deadline:
        code, status = await get(server.endpoint, "/mlx/status")
        live = len(status["requests"]) if code == 200 else 0
        full = full or live >= streams
        if full and live <= rest:
            return time.perf_counter()
        await asyncio.sleep(0.02)
    return None


Scenario = Callable[[Stage], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {
    "long": long_prompts,
    "pauses": pauses,
    "arrivals": arrivals,
    "grammars": grammars,
    "lookups": lookups,
    "quantised": quantised,
    "cancelled": cancelled,
}
"""All scenarios by the names of the command line, in the order of their worth."""
