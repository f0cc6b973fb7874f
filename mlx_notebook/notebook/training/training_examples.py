"""The rows of a table as conversations to learn, and their split into two parts."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from mlx_notebook.notebook.errors import NotATable
from mlx_notebook.notebook.tables.table_rows import Table, TableRow
from mlx_notebook.notebook.tools.tool import Tools, tools_by_name

Conversation = dict[str, Any]
"""`messages`, the last one an assistant's, and perhaps `tools`, in OpenAI's format."""

_ANSWERS = ("answer", "completion", "response")


def conversations(
    data: Any,
    *,
    prompt: str = "prompt",
    answer: str | None = None,
    system: str | None = None,
    tools: Tools | None = None,
) -> list[Conversation]:
    """Return a conversation for each row.

    Parameters
    ----------
    data
        As for `finetune`.
    prompt, answer
        Names of the columns.
    system
        The system message of all rows that have none.
    tools
        The tools of all rows that have none.

    Raises
    ------
    NotATable
        If a row has neither messages, nor a prompt and an answer.
    """
    shared = [_described(tool) for tool in tools_by_name(tools).values()] if tools else []
    made = []
    for number, row in enumerate(Table(data, "finetune").rows()):
        try:
            made.append(_conversation(row, prompt, answer, system, shared))
        except (NotATable, TypeError, ValueError) as error:
            raise NotATable(f"Row {number} cannot be learned: {error}.") from None
    if not made:
        raise NotATable("There are no rows to learn.")
    return made


def split(
    rows: list[Conversation], held_out: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Return the rows to learn, and those that are held out: a part chosen by the seed.

    Raises
    ------
    NotATable
        If nothing would be left to learn.
    """
    if not 0 <= held_out < 1:
        raise NotATable("held_out is a share of the rows from 0 to below 1, or a table of its own.")
    count = round(len(rows) * held_out) or int(held_out > 0)
    if count >= len(rows):
        raise NotATable(f"{len(rows)} rows are too few to hold {count} of them out: held_out=0.")
    chosen = set(random.Random(seed).sample(range(len(rows)), count))  # noqa: S311
    return (
        [row for at, row in enumerate(rows) if at not in chosen],
        [row for at, row in enumerate(rows) if at in chosen],
    )


def _conversation(
    row: TableRow, prompt: str, answer: str | None, system: str | None, tools: list[Any]
) -> Conversation:
    columns = row.columns
    if "messages" in columns:
        messages = [dict(message) for message in _listed(columns["messages"])]
    else:
        asked, replied = _pair(row, prompt, answer)
        messages = [{"role": "user", "content": str(asked)}, _answer(replied)]
    if not messages or messages[-1].get("role") != "assistant":
        raise NotATable("its last message is not the assistant's")
    if system is not None and messages[0].get("role") != "system":
        messages = [{"role": "system", "content": system}, *messages]
    own = columns.get("tools")
    used = _listed(own) if _is_given(own) else tools
    return {"messages": messages, **({"tools": used} if used else {})}


def _pair(row: TableRow, prompt: str, answer: str | None) -> tuple[Any, Any]:
    """Return the prompt and the answer of a row."""
    if isinstance(row.value, tuple | list) and len(row.value) == 2:
        return row.value[0], row.value[1]
    names = [answer] if answer else _ANSWERS
    found = next((name for name in names if name in row.columns), names[0])
    return row.lookup(prompt), row.lookup(found)


def _answer(value: Any) -> dict[str, Any]:
    """Return the message of an answer: a text, a tool call, or several calls.

    A call is a dict of `name` and `arguments`.
    """
    calls = value if isinstance(value, list | tuple) else [value]
    if calls and all(isinstance(call, Mapping) and "name" in call for call in calls):
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {
                        "name": str(call["name"]),
                        "arguments": json.dumps(call.get("arguments") or {}),
                    },
                }
                for number, call in enumerate(calls)
            ],
        }
    if not isinstance(value, str) or not value:
        raise NotATable(f"its answer is neither a text nor a tool call: {value!r:.100}")
    return {"role": "assistant", "content": value}


def _listed(value: Any) -> list[Any]:
    """Return a column's list, which a file of tables may hold as JSON."""
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, Mapping) or not isinstance(value, Sequence):
        value = value.tolist() if hasattr(value, "tolist") else [value]
    return list(value)


def _is_given(value: Any) -> bool:
    """Return whether a cell has a value: an empty one is None or, with pandas, not a number."""
    return value is not None and value == value


def _described(tool: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }
