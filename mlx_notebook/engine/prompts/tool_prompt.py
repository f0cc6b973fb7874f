"""Prepare conversations with tools for chat templates, also for those without tool support.

`normalize_messages` turns the messages of clients into the form that chat templates expect.
`as_text` is for templates without tool support. It describes the functions in the system message.
It writes calls and results as text, in the dialect of the model's family.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta

from mlx_notebook.engine.dialects.dialect import Dialect
from mlx_notebook.engine.dialects.families.llama import Llama
from mlx_notebook.engine.dialects.notations.python_calls import PythonCalls, literal
from mlx_notebook.engine.dialects.output_events import ToolCall
from mlx_notebook.engine.functions.arguments import dumps, resolve_ref
from mlx_notebook.engine.functions.declared import DeclaredFunctions, Function, python_name

Message = dict[str, Any]


class InvalidHistory(ValueError):
    """A conversation whose calls and results do not match."""


def supports_tools(template: str | None) -> bool:
    """Return whether a chat template supports tools."""
    if not template:
        return False
    environment = Environment(  # noqa: S701 - the template is only parsed for its variables
        extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        names = meta.find_undeclared_variables(environment.parse(template))
    except (TemplateSyntaxError, RecursionError):
        # A template with a tag of transformers, such as {% generation %}, or nested deeply.
        return "tools" in template
    return "tools" in names


# --- messages of clients -----------------------------------------------------------


def normalize_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return messages with calls and results in one form and a stable order.

    Calls get `type`, `id` and arguments as an object, with keys in the client's order. Arguments
    that are no object, as in a call that was cut off, stay text. Results get the function's `name`
    and the order of their calls, as templates without ids need it.

    Raises
    ------
    InvalidHistory
        If a result matches no call, or a call has no name.
    """
    out: list[Message] = []
    results: list[Message] = []
    open_calls: dict[str, str] = {}
    for position, given in enumerate(messages):
        message = dict(given)
        if message.get("role") in ("tool", "function"):
            results.append(_result(message, open_calls, results))
            continue
        _close(out, results, open_calls)
        results = []
        calls = message.get("tool_calls")
        if not calls and isinstance(message.get("function_call"), Mapping):
            calls = [{"function": message.pop("function_call")}]
        message.pop("tool_calls", None)
        if message.get("role") == "assistant" and calls:
            message["tool_calls"] = [
                _call(call, position, index) for index, call in enumerate(calls)
            ]
            open_calls = {call["id"]: call["function"]["name"] for call in message["tool_calls"]}
        if message.get("content") is None:
            message["content"] = ""
        out.append(message)
    _close(out, results, open_calls)
    return out


def _call(call: Mapping[str, Any], position: int, index: int) -> Message:
    function = call.get("function") or call
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidHistory(f"messages[{position}].tool_calls[{index}] has no function name.")
    return {
        "id": call.get("id") or f"call_{position}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": _arguments(function.get("arguments"))},
    }


def _arguments(given: Any) -> dict[str, Any] | str:
    if isinstance(given, Mapping):
        return dict(given)
    text = given if isinstance(given, str) else dumps(given or {})
    try:
        held = (json.loads(text) if text.strip() else None) or {}
    except (ValueError, RecursionError):
        return text
    return held if isinstance(held, dict) else text


def _written(arguments: dict[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else dumps(arguments)


def _result(message: Message, calls: Mapping[str, str], earlier: list[Message]) -> Message:
    """Return a result with the id and the name of its call."""
    answered = {result["tool_call_id"] for result in earlier}
    asked = message.get("tool_call_id")
    if asked is None:
        waiting = [key for key in calls if key not in answered]
        named = [key for key in waiting if calls[key] == message.get("name")]
        if not waiting:
            raise InvalidHistory("A tool result has no tool_call_id, and no call waits for one.")
        asked = (named or waiting)[0]
    if asked not in calls:
        raise InvalidHistory(
            f"The tool result with tool_call_id {asked!r} answers no call before it."
        )
    content = message.get("content")
    return {
        **message,
        "role": "tool",
        "tool_call_id": asked,
        "name": calls[asked],
        "content": "" if content is None else content,
    }


def _close(out: list[Message], results: list[Message], calls: Mapping[str, str]) -> None:
    order = {key: index for index, key in enumerate(calls)}
    out += sorted(results, key=lambda result: order[result["tool_call_id"]])


def takes_text_arguments(template: str | None) -> bool:
    """Return whether a chat template takes arguments as text, as DeepSeek's do.

    Most templates take an object and write it as JSON themselves.
    """
    return bool(template) and _TEXT_ARGUMENTS.search(template or "") is not None


_TEXT_ARGUMENTS = re.compile(r"""\+\s*[\w.\[\]'"]*\barguments['"\]]*\s*\+""")


def with_text_arguments(messages: Sequence[Message]) -> list[Message]:
    """Return messages with the arguments of calls as JSON text."""
    out = []
    for message in messages:
        calls = message.get("tool_calls")
        if calls:
            calls = [
                {
                    **call,
                    "function": {
                        **call["function"],
                        "arguments": _written(call["function"]["arguments"]),
                    },
                }
                for call in calls
            ]
            message = {**message, "tool_calls": calls}
        out.append(message)
    return out


def with_content_parts(messages: Sequence[Message]) -> list[Message]:
    """Return messages with their content as lists of parts."""
    return [{**message, "content": _parts(message["content"])} for message in messages]


# --- templates without tool support -----------------------------------------------------


def as_text(
    messages: Sequence[Mapping[str, Any]],
    tools: DeclaredFunctions,
    dialect: Dialect,
    *,
    system_role: bool = True,
) -> list[Message]:
    """Return a conversation with tools and tool messages written as text.

    Parameters
    ----------
    messages
        As `normalize_messages` returns them.
    tools
        Functions to describe. If there are none, only the messages are rewritten.
    system_role
        Whether the template supports a system message. If not, the first user message starts
        with it.

    Adjacent messages of one role are joined, because many such templates need alternating roles.

    Raises
    ------
    InvalidHistory
        As `normalize_messages`.
    """
    out: list[Message] = []
    for message in normalize_messages(messages):
        role, content = message.get("role"), message["content"]
        if role == "assistant" and message.get("tool_calls"):
            calls = [
                ToolCall(call["function"]["name"], _written(call["function"]["arguments"]))
                for call in message["tool_calls"]
            ]
            try:
                written = dialect.write(calls)
            except ValueError:  # the dialect cannot write arguments that are no object
                written = "\n".join(f"{call.name} {call.arguments}" for call in calls)
            content = _joined(content, written)
        elif role == "tool":
            role, content = "user", _result_text(message, dialect)
        elif role == "developer":
            role = "system"
        kept = {key: value for key, value in message.items() if key in ("reasoning_content",)}
        if out and out[-1]["role"] == role:
            out[-1]["content"] = _joined(out[-1]["content"], content)
        else:
            out.append({"role": role, "content": content, **kept})
    if len(tools):
        text = describe(tools, dialect)
        if out and out[0]["role"] == "system":
            out[0]["content"] = _joined(out[0]["content"], text)
        else:
            out.insert(0, {"role": "system", "content": text})
    if not system_role and out and out[0]["role"] == "system":
        text = out.pop(0)["content"]
        if out and out[0]["role"] == "user":
            out[0]["content"] = _joined(text, out[0]["content"])
        else:
            out.insert(0, {"role": "user", "content": text})
    return out


def _joined(first: Any, second: Any) -> Any:
    """Join two contents: texts with an empty line between them, or lists of parts."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _result_text(message: Message, dialect: Dialect) -> Any:
    """Write a tool result for a user message."""
    content, name = message["content"], message["name"]
    images: list[Any] = []
    if not isinstance(content, str):
        texts = [part for part in content if isinstance(part, Mapping) and "text" in part]
        images = [part for part in content if part not in texts]
        content = "\n".join(part["text"] for part in texts)
    if isinstance(dialect, PythonCalls):
        text = f"```tool_output\n# {python_name(name)}\n{content}\n```"
    else:
        result = f'{{"name": {dumps(name)}, "content": {_value(content)}}}'
        text = f"<tool_response>\n{result}\n</tool_response>"
    return _joined(text, images) if images else text


def _value(content: str) -> str:
    """Return a result as JSON: an object or a list unchanged, other text as a string."""
    try:
        found = json.loads(content)
    except ValueError:
        return dumps(content)
    return content.strip() if isinstance(found, dict | list) else dumps(content)


def describe(tools: DeclaredFunctions, dialect: Dialect) -> str:
    """Write the instructions that describe the tools and how to call them."""
    if isinstance(dialect, PythonCalls):
        stubs = "\n\n".join(_stub(function) for function in tools.functions)
        example = dialect.layout.open + "function_name(parameter=value)" + dialect.layout.close
        return (
            "You can call the following Python functions. When one of them helps with the "
            "request, answer with nothing but a block that calls it, with keyword arguments that "
            f"are literals:\n\n{example}\n\nSeveral calls stand on lines of their own. The results "
            "come back in tool_output blocks; then answer the user in plain words. When no "
            "function fits, answer without calling one.\n\n"
            f"```python\n{stubs}\n```"
        )
    key = "parameters" if isinstance(dialect, Llama) else "arguments"
    lines = "\n".join(_line(function) for function in tools.functions)
    name, arguments = "function_name", '{"parameter": "value"}'
    example = dialect.write([ToolCall(name, arguments)])
    return (
        "# Tools\n\nYou can call the following functions, each described by a name, a purpose and "
        f"a JSON schema of its {key}:\n<tools>\n{lines}\n</tools>\n\nWhen one of them helps with "
        f"the request, answer with nothing but the call, in exactly this form:\n{example}\n\n"
        "The results come back in <tool_response> tags; then answer the user in plain words. When "
        "no function fits, answer without calling one."
    )


def _line(function: Function) -> str:
    return dumps(
        {
            "name": function.name,
            "description": function.description,
            "parameters": function.parameters or {"type": "object", "properties": {}},
        }
    )


_PYTHON_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}


def _stub(function: Function) -> str:
    """Write the Python declaration of a function, with a docstring."""
    required = [name for name in function.properties if name in function.required]
    others = [name for name in function.properties if name not in function.required]
    parameters, notes = [], []
    for name in (*required, *others):
        schema = resolve_ref(function.properties[name], function.parameters)
        schema = schema if isinstance(schema, Mapping) else {}
        text = f"{python_name(name)}: {_python_type(schema, function.parameters)}"
        if name not in function.required:
            text += f" = {literal(schema.get('default'))}"
        parameters.append(text)
        if schema.get("description"):
            notes.append(f"        {python_name(name)}: {schema['description']}")
    lines = [f"def {python_name(function.name)}({', '.join(parameters)}):"]
    about = (function.description or function.name).replace('"""', "'''")
    if notes:
        listed = "\n".join(notes).replace('"""', "'''")
        lines.append(f'    """{about}\n\n    Args:\n{listed}\n    """')
    else:
        lines.append(f'    """{about}"""')
    return "\n".join(lines)


def _python_type(schema: Any, root: Mapping[str, Any], depth: int = 0) -> str:
    """Return a type annotation for a schema, from Python's built-in types."""
    schema = resolve_ref(schema, root)
    if not isinstance(schema, Mapping) or depth > 4:
        return "object"
    if isinstance(schema.get("enum"), list):
        return f"Literal[{', '.join(map(literal, schema['enum']))}]"
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, list):
        return " | ".join(_python_type(branch, root, depth + 1) for branch in branches)
    kinds = schema.get("type")
    names = []
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind == "array" and isinstance(schema.get("items"), Mapping):
            names.append(f"list[{_python_type(schema['items'], root, depth + 1)}]")
        else:
            names.append(_PYTHON_TYPES.get(str(kind), "object"))
    return " | ".join(names)
