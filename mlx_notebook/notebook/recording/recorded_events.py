"""Server-sent events in a recording: short, readable, and the same bytes when replayed.

Each event is an object with `t`, the seconds since the request was sent, and one of

    {"t": 0.2, "data": {...}}                  a line `data: ` with this JSON
    {"t": 0.2, "event": "x", "data": {...}}    the same after a line `event: x`
    {"t": 0.2, "then": {...}}                  the previous event's data with these fields replaced
    {"t": 0.2, "text": "..."}                  any other text
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Event = dict[str, Any]
_LONGEST_SECONDS = 24 * 3600


def pack(chunks: Iterable[tuple[float, str]], clean: Callable[[str], str] = str) -> list[Event]:
    """Turn the chunks of a stream, each with its time, into events; `clean` rewrites each text."""
    events: list[Event] = []
    before: dict[str, Any] = {}
    for seconds, text in _split(chunks):
        event, before = _pack_one(clean(text), before)
        events.append({"t": round(seconds, 3), **event})
    return events


def unpack(events: Iterable[Event]) -> Iterator[tuple[float, str]]:
    """Turn events back into the texts of the stream, each with its time."""
    before: dict[str, Any] = {}
    for event in events:
        if "text" in event:
            before = {}
            yield event["t"], event["text"]
            continue
        before = {**before, **event["then"]} if "then" in event else event["data"]
        yield event["t"], _written(event.get("event"), before)


def is_event(event: Event) -> bool:
    """Return whether a value from a file is an event that `unpack` can read."""
    seconds: Any = event.get("t")
    kinds = {"data": dict, "then": dict, "text": str}
    held = [isinstance(event[name], kind) for name, kind in kinds.items() if name in event]
    return (
        held == [True]
        and type(seconds) in (int, float)
        and 0 <= seconds <= _LONGEST_SECONDS
        and isinstance(event.get("event", ""), str)
    )


def _split(chunks: Iterable[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Split and join chunks at the blank lines that end events.

    An event has the time of its last chunk.
    """
    rest, seconds = "", 0.0
    for seconds, piece in chunks:
        *whole, rest = (rest + piece).split("\n\n")
        for text in whole:
            yield seconds, text + "\n\n"
    if rest:
        yield seconds, rest


def _pack_one(text: str, before: dict[str, Any]) -> tuple[Event, dict[str, Any]]:
    """Return the shortest form of an event that unpacks to the same text, and the event's data."""
    name = None
    line = text.removesuffix("\n\n")
    if line.startswith("event: "):
        name, _, line = line.removeprefix("event: ").partition("\n")
    try:
        data = json.loads(line.removeprefix("data: "))
    except ValueError:
        data = None
    if not isinstance(data, dict) or _written(name, data) != text:
        return {"text": text}, {}
    if name is not None:
        return {"event": name, "data": data}, data
    if before and list(before) == list(data):
        then = {key: value for key, value in data.items() if value != before[key]}
        # 1, 1.0 and True are equal, but not as text.
        if _written(None, {**before, **then}) == text:
            return {"then": then}, data
    return {"data": data}, data


def _written(name: str | None, data: dict[str, Any]) -> str:
    line = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name is not None else "") + f"data: {line}\n\n"
