"""Invent tools that people ask for in natural sentences: "warm the {noun} in the {room}"."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mlx_notebook.demo_models.training.tiny_chat.language import values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from .tool import Parameter, Request, Tool


@dataclass(frozen=True)
class Slot:
    """One parameter: its possible names, the kind of its value, and ways to say the value."""

    names: tuple[str, ...]
    kind: str
    ways: tuple[str, ...]
    told: str = ""
    """What the description says of it."""


def _slot(names: str, kind: str, ways: str, told: str = "") -> Slot:
    return Slot(tuple(names.split()), kind, tuple(ways.split("; ")), told)


ADDED = (
    _slot("room", "room", "in the {v}", "in a room"),
    _slot("city place town location", "city", "in {v}; at {v}", "in a city"),
    _slot("minutes", "small", "for {v} minutes", "for some minutes"),
    _slot("hours", "small", "for {v} hours", "for some hours"),
    _slot("days", "small", "for {v} days; by {v} days"),
    _slot("seconds duration", "small", "for {v} seconds"),
    _slot("percent level", "int", "to {v} percent", "to a percentage"),
    _slot("degrees angle", "int", "by {v} degrees; to {v} degrees"),
    _slot("strength level value", "small", "with strength {v}; to {v}"),
    _slot("times count repeat", "small", "{v} times"),
    _slot("person who recipient name", "person", "for {v}; with {v}", "for a person"),
    _slot("date day when", "date", "on {v}", "on a date"),
    _slot("time at start", "time", "at {v}", "at a time"),
    _slot("colour color", "colour", "in {v}", "in a colour"),
    _slot("topic subject course", "topic", "about {v}; in {v}", "about a topic"),
    _slot("language", "language", "in {v}"),
    _slot("litres", "small", "with {v} litres"),
    _slot("price amount euros", "number", "for {v} euros"),
)
"""Parameters that a sentence adds after the thing."""
DIRECT = (
    _slot("path file", "file", "{v}; the {noun} {v}"),
    _slot("name", "word", "the {noun} {v}; {noun} {v}"),
    _slot("id number code", "code", "the {noun} {v}; {noun} {v}; {v}"),
    _slot("title", "title", 'the {noun} {v}; the {noun} "{v}"'),
    _slot("person student name", "person", "{v}; the {noun} of {v}"),
    _slot("litres kilos pieces amount", "int", "{v} litres of {noun}; {v} pieces of {noun}"),
    _slot("url address", "url", "{v}"),
    _slot("to address email", "email", "the {noun} to {v}"),
    _slot("text message", "text", 'the {noun} "{v}"'),
    _slot("city place", "city", "the {noun} of {v}; {v}"),
)
"""Parameters that are the thing itself, or name it."""
JOURNEY = (
    _slot("origin start departure from_place", "city", "from {v}"),
    _slot("goal destination arrival to_place", "city", "to {v}"),
)
WORDS = ("in", "to", "with", "from", "on", "by")
ASPECTS: dict[str, tuple[str, ...]] = {
    "price": (
        "what does the {noun} cost {at}",
        "how much is the {noun} {at}",
        "price of the {noun} {at}",
    ),
    "time": ("when is the {noun} {at}", "at what time is the {noun} {at}", "{noun} time {at}"),
    "count": (
        "how many {noun}s are there {at}",
        "number of {noun}s {at}",
        "count the {noun}s {at}",
    ),
    "status": (
        "how is the {noun} {at}",
        "is the {noun} all right {at}",
        "status of the {noun} {at}",
    ),
    "place": ("where is the {noun} {at}", "where do I find the {noun} {at}"),
    "list": ("which {noun}s are there {at}", "show me all {noun}s {at}", "list the {noun}s {at}"),
    "size": ("how big is the {noun} {at}", "size of the {noun} {at}"),
    "age": ("how old is the {noun} {at}", "age of the {noun} {at}"),
    "height": ("how high is the {noun} {at}", "height of the {noun} {at}"),
    "length": ("how long is the {noun} {at}", "length of the {noun} {at}"),
    "owner": ("who owns the {noun} {at}", "whose is the {noun} {at}", "owner of the {noun} {at}"),
    "rule": ("may I take a {noun} {at}", "is a {noun} allowed {at}", "do I need a {noun} {at}"),
    "info": (
        "what is the {noun} {at}",
        "tell me about the {noun} {at}",
        "{noun} {at}",
        "the {noun} {at}, please",
    ),
}
"""What a tool tells of a thing, and how people ask for it."""
WHERE = (
    _slot("city place town location", "city", "in {v}; for {v}; of {v}"),
    _slot("country", "country", "in {v}; for {v}"),
    _slot("date day", "date", "on {v}; for {v}"),
    _slot("name person", "person", "of {v}; for {v}"),
    _slot("name title", "title", "{v}; called {v}"),
    _slot("name", "word", "{v}; of {v}"),
    _slot("hours", "small", "for {v} hours"),
    _slot("id number", "code", "{v}; number {v}"),
)


def deed(rng: Random, verb: str, noun: str) -> tuple[Tool, list[Slot]]:
    """Return a tool that does something, and the slots of its sentences."""
    slots: list[Slot] = []
    form = rng.random()
    if form < 0.45:
        slots.append(rng.choice(DIRECT))
        if rng.random() < 0.2:  # Two things with a short word between them.
            kind, name = rng.choice((("topic", "course"), ("word", "target"), ("title", "list")))
            slots.append(Slot((name,), kind, (rng.choice(WORDS) + " {v}",)))
    elif form < 0.52:
        slots += JOURNEY
    if len(slots) < 2 and rng.random() < 0.65:
        slots.append(rng.choice(ADDED))
        if rng.random() < 0.25:
            slots.append(rng.choice(ADDED))
    return _tool(
        rng, f"{verb}_{noun}", f"{verb.capitalize()} {rng.choice(('the', 'a'))} {noun}", slots
    )


def aspect(rng: Random, noun: str, told: str) -> tuple[Tool, list[Slot]]:
    """Return a tool that tells one aspect of a thing, and the slots of its sentences."""
    name = (
        noun
        if told == "info"
        else rng.choice((f"{noun}_{told}", f"get_{noun}_{told}", f"{told}_of_{noun}"))
    )
    description = f"{told.capitalize()} of {rng.choice(('the', 'a'))} {noun}"
    return _tool(rng, name, description, [rng.choice(WHERE)])


def _tool(rng: Random, name: str, description: str, slots: list[Slot]) -> tuple[Tool, list[Slot]]:
    kept: list[Slot] = []
    tool = Tool(name, description if rng.random() < 0.8 else "")
    for slot in slots:
        free = [name for name in slot.names if name not in [p.name for p in tool.parameters]]
        if free and slot.kind not in [other.kind for other in kept if slot not in JOURNEY]:
            if slot.told and rng.random() < 0.4 and tool.description:
                tool.description += " " + slot.told
            tool.parameters.append(Parameter(rng.choice(free), slot.kind))
            kept.append(slot)
    return tool, kept


def deed_request(
    tool: Tool, slots: list[Slot], verb: str, noun: str, rng: Random, lexicon: Lexicon
) -> Request:
    """Return a request for a tool that does something."""
    parts, arguments = _said(tool, slots, noun, rng, lexicon)
    thing = [] if slots and slots[0] in DIRECT else [f"{rng.choice(('the', 'a', 'my'))} {noun}"]
    return Request(tool, arguments, " ".join([verb, *thing, *parts]), f"{verb} {noun}")


def aspect_request(
    tool: Tool, slots: list[Slot], noun: str, told: str, rng: Random, lexicon: Lexicon
) -> Request:
    """Return a request for a tool that tells something."""
    parts, arguments = _said(tool, slots, noun, rng, lexicon)
    said = rng.choice(ASPECTS[told]).format(noun=noun, at=" ".join(parts))
    return Request(tool, arguments, said, f"{noun} {told}")


def _said(
    tool: Tool, slots: list[Slot], noun: str, rng: Random, lexicon: Lexicon
) -> tuple[list[str], dict[str, object]]:
    parts: list[str] = []
    arguments: dict[str, object] = {}
    for parameter, slot in zip(tool.parameters, slots, strict=True):
        value = values.draw(slot.kind, rng, lexicon)
        while value.json in arguments.values():  # Equal values would make the call ambiguous.
            value = values.draw(slot.kind, rng, lexicon)
        arguments[parameter.name] = value.json
        parts.append(rng.choice(slot.ways).format(v=value.spoken, noun=noun))
    return parts, arguments
