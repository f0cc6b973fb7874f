"""Say which numbers or words a field takes, for the error about another one."""

import json
import re
from typing import Any

import msgspec.inspect as inspect

# One step of a JSON path: `.name`, `[3]`, or `[...]` for any element.
_STEP = re.compile(r"\.?(?P<name>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")


_LARGEST = 2**31 - 1
"""A limit that only keeps a number within 32 bits says nothing to a person."""


def limits(type: Any, path: str) -> str | None:
    """Return the limits of a number in words, as `between 0 and 2`; None if it has not both.

    Parameters
    ----------
    type
        The type of the whole body.
    path
        JSON path of the number.
    """
    for kind in _types_at(type, path):
        if isinstance(kind, inspect.IntType | inspect.FloatType):
            low, high = kind.ge, kind.le
            if low is not None and high is not None and high < _LARGEST:
                return f"between {low:g} and {high:g}"
    return None


def choices(type: Any, path: str) -> list[str]:
    """Return the words that a field takes, sorted for each type; none if it takes any.

    Parameters
    ----------
    type
        The type of the whole body.
    path
        JSON path of the field.
    """
    words = [
        str(value)
        for kind in _types_at(type, path)
        if isinstance(kind, inspect.LiteralType)
        for value in kind.values
    ]
    return [*dict.fromkeys(words)]


def value_at(content: bytes | bytearray, path: str) -> Any:
    """Return the value at a JSON path of a body; None if there is none."""
    value = json.loads(content)
    for step in _STEP.finditer(path):
        key: Any = step["name"] if step["name"] is not None else step["index"]
        try:
            value = value[key] if step["name"] is not None else value[int(key)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _types_at(type: Any, path: str) -> list[inspect.Type]:
    """Return all types that a field may have."""
    kinds = [inspect.type_info(type)]
    for step in _STEP.finditer(path):
        kinds = [inner for kind in kinds for inner in _inside(kind, step["name"])]
    return [one for found in kinds for one in _members(found)]


def _members(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(kind, inspect.UnionType):
        return tuple(inner for one in kind.types for inner in _members(one))
    return _members(kind.type) if isinstance(kind, inspect.Metadata) else (kind,)


def _inside(kind: inspect.Type, name: str | None) -> list[inspect.Type]:
    """Return the types of a field, or of the elements if `name` is None."""
    found: list[inspect.Type] = []
    for one in _members(kind):
        if isinstance(one, inspect.StructType) and name is not None:
            # Lists of forms have brackets behind their names.
            names = (name, f"{name}[]")
            found.extend(field.type for field in one.fields if field.encode_name in names)
            if name == one.tag_field:
                found.append(inspect.LiteralType((one.tag,)))
        elif isinstance(one, inspect.ListType) and name is None:
            found.append(one.item_type)
        elif isinstance(one, inspect.DictType) and name is not None:
            found.append(one.value_type)
    return found
