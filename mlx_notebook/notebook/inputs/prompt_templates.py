"""Fill `{{ expression }}` placeholders in a prompt with values of the notebook."""

import re
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.errors import UnfilledTemplate
from mlx_notebook.notebook.inputs.as_text import INPUT_CHARACTERS, as_text, trimmed


def fill(template: str, evaluate: Callable[[str], Any]) -> str:
    """Replace each `{{ expression }}` with its value as text. Other braces stay.

    A string stays as it is; tables, arrays and exceptions are described by `as_text`; other values
    become their `str`. Values other than strings are limited to `INPUT_CHARACTERS`. An expression
    ends at the first `}}` that makes it valid Python, so it may contain dicts and nested braces.
    Placeholders in a value are not filled. `{{ "{{" }}` writes two braces.

    Parameters
    ----------
    template
        The prompt.
    evaluate
        Returns the value of a Python expression in the notebook.

    Raises
    ------
    UnfilledTemplate
        If an expression is not valid Python, or fails. The message names it.
    """
    parts: list[str] = []
    position = 0
    while (start := template.find("{{", position)) >= 0:
        end = _end_of_expression(template, start + 2)
        if end is None:
            break
        parts.append(template[position:start])
        parts.append(_value(template[start + 2 : end].strip(), evaluate))
        position = end + 2
    parts.append(template[position:])
    return "".join(parts)


def _end_of_expression(template: str, start: int) -> int | None:
    """Return the index of the `}}` that closes an expression; `None` if there is none."""
    first = None
    # Matches overlap, so that `{{ {1: 2}}}` ends at its last two braces.
    for match in re.finditer(r"(?=\}\})", template[start:]):
        end = start + match.start()
        first = end if first is None else first
        expression = template[start:end].strip()
        # A blank line ends an expression.
        if re.search(r"\n\s*\n", expression):
            break
        try:
            compile(expression, "<prompt>", "eval")
        except (SyntaxError, ValueError):
            continue
        return end
    return first


def _value(expression: str, evaluate: Callable[[str], Any]) -> str:
    try:
        value = evaluate(expression)
        if isinstance(value, str):
            return value
        described = as_text(value)
        return trimmed(str(value), INPUT_CHARACTERS) if described is None else described
    except Exception as error:
        kind = type(error).__name__
        detail = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UnfilledTemplate(
            f"{{{{ {expression} }}}} in the prompt could not be filled: {kind}: {detail}. "
            'For two braces as plain text write {{ "{{" }}.'
        ) from error
