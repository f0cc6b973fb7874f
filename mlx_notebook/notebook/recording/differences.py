"""Describe how a request differs from a recorded one."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from mlx_notebook.notebook.human_units import plural

_SHOWN = 60


def nearest(request: Any, recorded: Iterable[Any]) -> int | None:
    """Return the index of the recorded request that is most like `request`, if there is one."""
    scores = [(_likeness(request, other), -index) for index, other in enumerate(recorded)]
    return -max(scores)[1] if scores else None


def difference(request: Any, recorded: Any) -> str:
    """Describe in a few words how `request` differs from `recorded`."""
    if not (isinstance(request, dict) and isinstance(recorded, dict)):
        return _values("the body", request, recorded)
    parts = []
    names = sorted({*request, *recorded}, key=lambda name: (_ORDER.get(name, 9), name))
    for name in names:
        if name not in recorded:
            parts.append(f"{name} is {_short(request[name])} where it was not given")
        elif name not in request:
            parts.append(f"{name} is not given where it was {_short(recorded[name])}")
        elif request[name] == recorded[name]:
            continue
        elif name == "tools":
            parts.append(_tools(request[name], recorded[name]))
        elif name in ("messages", "input") and isinstance(request[name], list):
            parts.append(_messages(request[name], recorded[name]))
        else:
            parts.append(_values(name, request[name], recorded[name]))
    if len(parts) > 3:
        parts[3:] = [
            f"{plural(len(parts) - 3, 'more field')} {'differs' if len(parts) == 4 else 'differ'}"
        ]
    return "; ".join(parts) or "the difference is in a part that the recording keeps shortened"


_ORDER = {"model": 0, "messages": 1, "input": 1, "prompt": 1, "tools": 2}


def _likeness(request: Any, other: Any) -> float:
    if not (isinstance(request, dict) and isinstance(other, dict)):
        return float(request == other)
    score = 0.0
    for name in {*request, *other}:
        ours, theirs = request.get(name), other.get(name)
        if name in ("messages", "input") and isinstance(ours, list) and isinstance(theirs, list):
            same = _common(ours, theirs)
            score += 4 * same / max(len(ours), len(theirs), 1)
            if same < min(len(ours), len(theirs)):
                one, two = (json.dumps(turns[same], sort_keys=True) for turns in (ours, theirs))
                score += difflib.SequenceMatcher(None, one[:1000], two[:1000]).quick_ratio()
        elif ours == theirs:
            score += 1
    return score


def _common(ours: list[Any], theirs: list[Any]) -> int:
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((i for i, (one, two) in pairs if one != two), min(len(ours), len(theirs)))


def _messages(ours: list[Any], theirs: Any) -> str:
    if not isinstance(theirs, list):
        return _values("the messages", ours, theirs)
    at = _common(ours, theirs)
    if at == min(len(ours), len(theirs)):
        return f"{plural(len(ours), 'message')} where {len(theirs)} were recorded"
    one, two = ours[at], theirs[at]
    name = f"message {at + 1}"
    if not (isinstance(one, dict) and isinstance(two, dict)):
        return _values(name, one, two)
    if one.get("role") == two.get("role") == "tool":
        name = f"the result of {_tool_called(ours[:at], one.get('tool_call_id'))} ({name})"
    elif one.get("role"):
        name += f" ({one['role']})"
    if one.get("content") != two.get("content"):
        return _values(name, one.get("content"), two.get("content"))
    field = next(key for key in {**one, **two} if one.get(key) != two.get(key))
    return _values(f"{field} of {name}", one.get(field), two.get(field))


def _tool_called(before: list[Any], number: Any) -> str:
    for message in before:
        for call in message.get("tool_calls") or []:
            if call.get("id") == number:
                return str(call.get("function", {}).get("name", "a tool"))
    return "a tool"


def _tools(ours: Any, theirs: Any) -> str:
    one, two = (_by_name(tools) for tools in (ours, theirs))
    parts = []
    for label, found in (
        ("new", [name for name in one if name not in two]),
        ("gone", [name for name in two if name not in one]),
        ("described differently", [n for n in one if n in two and one[n] != two[n]]),
    ):
        if found:
            parts.append(f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} {label}")
    return "of the tools " + " and ".join(parts or ["the order differs"])


def _by_name(tools: Any) -> dict[str, Any]:
    found = {}
    for tool in tools if isinstance(tools, list) else []:
        inner = tool.get("function", tool) if isinstance(tool, dict) else {}
        found[str(inner.get("name"))] = tool
    return found


def _values(name: str, ours: Any, theirs: Any) -> str:
    if isinstance(ours, str) and isinstance(theirs, str) and max(len(ours), len(theirs)) > _SHOWN:
        pairs = enumerate(zip(ours, theirs, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
        start = max(0, at - 20)
        before = "…" if start else ""
        ours, theirs = (before + text[start : start + _SHOWN] for text in (ours, theirs))
    return f"{name} is {_short(ours)} where {_short(theirs)} was recorded"


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN + 10 else text[:_SHOWN] + "…"
