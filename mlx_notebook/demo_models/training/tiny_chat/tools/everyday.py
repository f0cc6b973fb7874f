"""Generate realistic tools and requests for them from everyday.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from mlx_notebook.demo_models.training.tiny_chat.language import values
from mlx_notebook.demo_models.training.tiny_chat.language.lexicon import Lexicon

from .tool import Parameter, Request, Tool


@dataclass(frozen=True)
class Slot:
    """One parameter of a family: alternative names, kind of value, and optional description."""

    names: tuple[str, ...]
    kind: str
    description: str
    required: bool

    @property
    def key(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Family:
    """Tools that do the same thing under different names."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    slots: tuple[Slot, ...]
    phrasings: tuple[str, ...]

    def build(self, rng: Random, lexicon: Lexicon) -> tuple[Tool, dict[str, str]]:
        """Return a tool of this family, and the chosen name of each slot."""
        chosen = {slot.key: rng.choice(slot.names) for slot in self.slots}
        tool = Tool(rng.choice(self.names), rng.choice(self.descriptions))
        if lexicon.invented and rng.random() < 0.1:
            tool.name = values.invented_word(rng).lower()
        if lexicon.invented and len(self.slots) == 1 and rng.random() < 0.2:
            chosen[self.slots[0].key] = values.invented_word(rng).lower()
        for slot in self.slots:
            kind, item = slot.kind, ""
            choices: tuple[str, ...] = ()
            if kind.startswith("enum "):
                kind, choices = "enum", tuple(slot.kind[5:].split("/"))
            elif kind.startswith("list "):
                kind, item = "list", slot.kind[5:]
            tool.parameters.append(
                Parameter(chosen[slot.key], kind, slot.description, slot.required, choices, item)
            )
        return tool, chosen

    def request(self, tool: Tool, chosen: dict[str, str], rng: Random, lexicon: Lexicon) -> Request:
        """Return a user's request for this tool, with the arguments of the right call."""
        phrasing = rng.choice(self.phrasings)
        keep = rng.random() < 0.6
        phrasing = re.sub(r"\[([^\]]*)\]", (lambda m: m.group(1)) if keep else "", phrasing)
        drawn: dict[str, Any] = {}
        said = phrasing
        for slot in self.slots:
            if "{" + slot.key + "}" in phrasing:
                value = _draw(slot.kind, rng, lexicon)
                if value.json in drawn.values():  # Equal values would make the call ambiguous.
                    value = _draw(slot.kind, rng, lexicon)
                drawn[slot.key] = value.json
                spoken = value.spoken
                if (
                    '"{' + slot.key not in phrasing
                    and slot.kind in QUOTABLE
                    and rng.random() < 0.15
                ):
                    quote = rng.choice(('"', '"', "'"))
                    spoken = f"{quote}{spoken}{quote}"
                said = said.replace("{" + slot.key + "}", spoken)
            elif (found := re.search(r"\{" + slot.key + r"=([^}]*)\}", phrasing)) is not None:
                drawn[slot.key] = {"true": True, "false": False}.get(found.group(1), found.group(1))
                said = said.replace(found.group(0), "")
        arguments = {chosen[slot.key]: drawn[slot.key] for slot in self.slots if slot.key in drawn}
        return Request(tool, arguments, " ".join(said.split()), self.descriptions[0])


QUOTABLE = {"text", "task", "title", "query", "file", "column", "table", "word", "folder", "colour"}


def _draw(kind: str, rng: Random, lexicon: Lexicon) -> values.Value:
    if kind.startswith("enum "):
        choice = rng.choice(kind[5:].split("/"))
        return values.Value(choice, choice)
    if kind.startswith("list "):
        return several(kind[5:], rng, lexicon)
    return values.draw(kind, rng, lexicon)


def several(kind: str, rng: Random, lexicon: Lexicon) -> values.Value:
    """Return two to four values, written as a list with commas and "and"."""
    items: list[values.Value] = []
    for _ in range(rng.choice((2, 2, 3, 3, 4))):
        item = values.draw(kind, rng, lexicon)
        if item.json not in [other.json for other in items]:
            items.append(item)
    spoken = [item.spoken for item in items]
    if len(spoken) == 1:
        text = spoken[0]
    elif rng.random() < 0.25:
        text = ", ".join(spoken)
    else:
        text = ", ".join(spoken[:-1]) + " and " + spoken[-1]
    return values.Value([item.json for item in items], text)


@cache
def families() -> tuple[Family, ...]:
    """Return all families in everyday.txt."""
    source = files(__package__).joinpath("everyday.txt").read_text(encoding="utf-8")
    blocks = [
        block for block in source.split("\n\n") if not block.startswith("#") and block.strip()
    ]
    return tuple(_parse(block) for block in blocks)


def _parse(block: str) -> Family:
    names, descriptions, *rest = block.strip().splitlines()
    slots = [_slot(line) for line in rest if line.startswith("- ")]
    phrasings = [line for line in rest if not line.startswith("- ")]
    return Family(
        tuple(names.split()), tuple(descriptions.split(" | ")), tuple(slots), tuple(phrasings)
    )


def _slot(line: str) -> Slot:
    names, kind, *description = line.removeprefix("- ").split(" : ")
    required = not names.endswith("?")
    return Slot(
        tuple(names.rstrip("?").split()), kind, description[0] if description else "", required
    )
