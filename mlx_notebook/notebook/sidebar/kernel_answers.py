"""Answer JupyterLab's sidebar: what a variable holds, which tools there are, what one returns.

The sidebar asks with a silent request, as an expression whose value is text. Questions and answers
are JSON in Base64, so that nothing in them has to be escaped.
"""

import base64
import json
from typing import Any

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.answers.tool_result import Content, content_of
from mlx_notebook.notebook.errors import NotebookError
from mlx_notebook.notebook.inputs.as_text import as_text, from_library, trimmed
from mlx_notebook.notebook.inputs.images import EncodedImage, is_image
from mlx_notebook.notebook.tools.approval import format_call
from mlx_notebook.notebook.tools.tool import Tool
from mlx_notebook.notebook.tools.tool_runner import ToolRunner

Namespace = dict[str, Any]

# The most characters of the rows of a table. A few rows say what a table holds.
_ROW_CHARACTERS = 800
_MAX_COLUMNS = 200
_MAX_TOOLS = 64


def answer(namespace: Namespace, question: str) -> str:
    """Answer a question.

    Parameters
    ----------
    namespace
        The notebook's variables.
    question
        JSON in Base64: `{"variable": name, "characters": most}`, `{"tools": true}`, or `{"call":
        name, "arguments": JSON, "id": id}`.

    Returns
    -------
    str
        JSON in Base64: a list of content parts, a list of tools, or a call with its result.
        `{"problem": sentence}` says why there is none.
    """
    asked = json.loads(base64.b64decode(question))
    given: Any
    try:
        if "variable" in asked:
            given = _parts(describe_variable(namespace, asked["variable"], asked["characters"]))
        elif "call" in asked:
            call = ToolCall(asked["id"], asked["call"], asked["arguments"])
            call.decode()
            given = call_tool(namespace, call)
        else:
            given = [tool.definition for tool in find_tools(namespace).values()]
    except NotebookError as error:
        given = {"problem": str(error)}
    return base64.b64encode(json.dumps(given).encode()).decode()


def describe_variable(namespace: Namespace, name: str, characters: int) -> Content:
    """Describe a variable to a model: the schema of a table with a few rows, an array, an image.

    Raises
    ------
    NotebookError
        If there is no such variable, or it cannot be described.
    """
    if name not in namespace:
        raise NotebookError(f"There is no variable {name!r} in this kernel.")
    value = namespace[name]
    try:
        if is_image(value):
            return [EncodedImage.of(value).part]
        text = as_text(value, min(characters, _ROW_CHARACTERS) if _is_table(value) else characters)
        content = content_of(value) if text is None else _schema(value) + text
    except NotebookError:
        raise
    except Exception as error:  # the object's own code has raised it
        raise NotebookError(f"{name} cannot be described: {error!r}") from None
    return trimmed(content, characters) if isinstance(content, str) else content


def find_tools(namespace: Namespace) -> dict[str, Tool]:
    """Return the notebook's tools by name: what `@tool` has made, by any public variable."""
    found: dict[str, Tool] = {}
    for name, value in list(namespace.items()):
        if isinstance(value, Tool) and not name.startswith("_") and len(found) < _MAX_TOOLS:
            found.setdefault(value.name, value)
    return found


def call_tool(namespace: Namespace, call: ToolCall) -> dict[str, Any]:
    """Call a tool of the notebook, as a chat does after its approval.

    Returns
    -------
    dict
        `call` as a person reads it, its `state`, the `content` for the model, and `seconds`.
    """
    for _ in ToolRunner(find_tools(namespace)).run([call]):
        pass
    return {
        "call": format_call(call),
        "state": call.state,
        "content": call.content,
        "seconds": call.seconds,
    }


def _parts(content: Content) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _is_table(value: Any) -> bool:
    return from_library(value, "pandas", "polars") and hasattr(value, "shape")


def _schema(value: Any) -> str:
    """Return the columns of a table with their types as one line; nothing for other objects."""
    if not _is_table(value) or not hasattr(value, "columns"):
        return ""
    columns = list(zip(value.columns, value.dtypes, strict=True))
    named = ", ".join(f"{name} ({kind})" for name, kind in columns[:_MAX_COLUMNS])
    more = f", and {len(columns) - _MAX_COLUMNS} more" if len(columns) > _MAX_COLUMNS else ""
    return f"columns: {named}{more}\n"
