"""Parse calls without tags, as GLM models sometimes write: a name, then arguments."""

import shlex
from typing import Any

from mlx_notebook.engine.dialects.notations.json_calls import json_text
from mlx_notebook.engine.dialects.text_source import TextSource
from mlx_notebook.engine.functions.arguments import dumps, from_text
from mlx_notebook.engine.functions.declared import Function
from mlx_notebook.engine.functions.parse_errors import Malformed


def read(source: TextSource, text: str) -> None:
    """Read a call from `text`: a name, white space, and an object or `key=value` pairs.

    Other arguments become the value of `raw`.

    Raises
    ------
    Malformed
        If the function is not declared.
    """
    name, rest = text.split(maxsplit=1)
    function = source.start(name)
    rest = rest.strip()
    if rest.startswith("{"):
        try:
            source.arguments(json_text(rest))
        except Malformed:
            pass  # a brace also begins texts that are not JSON: they are read as pairs below
        else:
            return
    source.arguments(dumps(_pairs(rest, function) or {"raw": rest}))


def _pairs(text: str, function: Function) -> dict[str, Any] | None:
    """Parse `key=value` pairs with values quoted as in a shell; None for other text."""
    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError:  # a quotation mark is missing
        return None
    if not all(key.strip() and equals for key, equals, _ in words):
        return None
    known, root = function.properties, function.parameters
    return {key.strip(): from_text(value, known.get(key.strip()), root) for key, _, value in words}
