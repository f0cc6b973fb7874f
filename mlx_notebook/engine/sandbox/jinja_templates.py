"""Render chat templates as transformers does, but with Jinja alone.

This runs in a sandbox process, which must start fast: nothing here imports transformers.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_REASONING = ("reasoning_content", "thinking", "reasoning")


class RenderTemplate(msgspec.Struct, kw_only=True, frozen=True, tag="render"):
    """A template to render, with its messages and variables.

    `tools` is None if there are no tools. `variables` are the model's special tokens and the
    request's `chat_template_kwargs`. `most` is the maximum number of characters of the result.
    """

    template: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    variables: dict[str, Any] = {}
    add_generation_prompt: bool = False
    most: int


class TooLong(ValueError):
    """The rendered text is longer than the limit."""


def render(task: RenderTemplate) -> str:
    """Render a chat template.

    Raises
    ------
    TooLong
        If the text has more characters than `task.most`.
    Exception
        Whatever the template raises.
    """
    if not task.messages:
        raise ValueError("there are no messages")
    documents = task.variables.get("documents")
    if documents is not None and not all(isinstance(part, dict) for part in documents):
        raise ValueError("'documents' must be a list of objects")
    variables = {
        "messages": [_message(message) for message in task.messages],
        "tools": task.tools,
        "documents": None,
        "add_generation_prompt": task.add_generation_prompt,
        **task.variables,
    }
    blocks, size = [], 0
    for block in _compiled(task.template).generate(variables):
        size += len(block)
        if size > task.most:
            raise TooLong
        blocks.append(block)
    return "".join(blocks)


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without empty fields, with its reasoning under every name that is in use."""
    message = {key: value for key, value in given.items() if value is not None}
    thoughts = next((message[name] for name in _REASONING if name in message), None)
    if thoughts is not None:
        message = {"thinking": thoughts, **message, "reasoning_content": thoughts}
    return message


class _Generation(Extension):
    """The tag `generation`, which marks the assistant's text for training."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Render the content of the block unchanged."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Any) -> str:
        return str(caller())


class _Dict:
    """`dict` in templates, without attributes of the Python type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Make a dictionary with the same value for all keys."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` in templates, which refuses names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *given = args
        values = dict(*given, **kwargs)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace's attribute cannot be named {name!r}")


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    """Compile a template in the environment that transformers gives to chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals.update(
        raise_exception=_raise, strftime_now=_now, dict=_Dict(), namespace=_Namespace
    )
    return environment.from_string(template)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON without escaping HTML, unlike Jinja's own filter."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format)
