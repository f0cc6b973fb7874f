"""Tools and their parameters, and the various styles in which clients write JSON schemas."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any


@dataclass
class Parameter:
    """One parameter of a tool.

    `kind` names a generator in :mod:`.values`, or is "bool", "enum", "list" or "record".
    """

    name: str
    kind: str
    description: str = ""
    required: bool = True
    choices: tuple[str, ...] = ()
    item: str = ""
    fields: tuple[Parameter, ...] = ()
    default: Any = None

    def schema(self, style: Style) -> dict[str, Any]:
        """Return the parameter's JSON schema in one client's style."""
        if self.kind == "enum":
            kind: dict[str, Any] = {"type": "string", "enum": list(self.choices)}
        elif self.kind == "list":
            kind = {"type": "array", "items": {"type": _json_type(self.item)}}
        elif self.kind == "record":
            kind = {
                "type": "object",
                "properties": {f.name: f.schema(style) for f in self.fields},
            }
            if style.required:
                kind["required"] = [f.name for f in self.fields]
        else:
            kind = {"type": _json_type(self.kind)}
        description = (
            {"description": self.description} if style.describe and self.description else {}
        )
        title = {"title": self.name.replace("_", " ").title()} if style.titles else {}
        default = {} if self.default is None or not style.defaults else {"default": self.default}
        if style.description_first:
            return {**description, **default, **title, **kind}
        return (
            {**kind, **description, **default, **title}
            if not style.titles
            else {**default, **description, **title, **kind}
        )


def _json_type(kind: str) -> str:
    return {"int": "integer", "small": "integer", "number": "number", "bool": "boolean"}.get(
        kind, "string"
    )


@dataclass(frozen=True)
class Style:
    """One client's style of schemas: which optional keys it sends, and in which order."""

    describe: bool = True
    titles: bool = False
    required: bool = True
    closed: bool = False
    defaults: bool = True
    description_first: bool = False
    wrapper: str = "type first"

    @classmethod
    def random(cls, rng: Random) -> Style:
        """Return a style that real clients use; half of the time it is the plain one."""
        if rng.random() < 0.5:
            return cls(describe=rng.random() < 0.75)
        titles = rng.random() < 0.4
        return cls(
            describe=rng.random() < 0.6,
            titles=titles,
            required=rng.random() < 0.9,
            closed=rng.random() < 0.4,
            defaults=rng.random() < 0.7,
            description_first=not titles and rng.random() < 0.3,
        )


@dataclass
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: list[Parameter] = field(default_factory=list)

    def schema(self, style: Style) -> dict[str, Any]:
        """Return the tool in OpenAI's format."""
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": {p.name: p.schema(style) for p in self.parameters},
        }
        required = [p.name for p in self.parameters if p.required]
        if style.required and (required or not style.closed):
            parameters["required"] = required
        if style.closed:
            parameters["additionalProperties"] = False
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = parameters
        return {"type": "function", "function": function}


@dataclass
class Request:
    """A user's request, and the exact call that answers it."""

    tool: Tool
    arguments: dict[str, Any]
    said: str
    """The user's words: a clause, without final punctuation if possible."""
    topic: str = ""
    """A short name of the subject, for the reasoning."""

    def call(self) -> dict[str, Any]:
        """Return the assistant's tool call in OpenAI's format."""
        return {
            "type": "function",
            "function": {"name": self.tool.name, "arguments": self.arguments},
        }
