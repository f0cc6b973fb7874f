"""The functions that a request declares, as parsers and grammars look them up."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from mlx_notebook.engine.functions.parse_errors import Malformed

Schema = Mapping[str, Any]


class Function(msgspec.Struct, frozen=True):
    """A declared function. `parameters` is the JSON schema of its arguments object."""

    name: str
    parameters: dict[str, Any] = {}
    description: str = ""
    strict: bool = False

    @property
    def properties(self) -> dict[str, Any]:
        """Parameter name -> schema, in declared order."""
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> frozenset[str]:
        """Names of the parameters that every call must have."""
        found = self.parameters.get("required")
        return frozenset(found) if isinstance(found, list) else frozenset()


def python_name(name: str) -> str:
    """Return `name` as a Python identifier, for dialects that write calls as code."""
    safe = re.sub(r"\W", "_", name)
    return "_" + safe if safe[:1].isdigit() else safe


class DeclaredFunctions:
    """Declared functions by name; with none declared, every name is accepted."""

    def __init__(self, functions: Sequence[Function] = ()) -> None:
        self.functions = tuple(functions)
        self._by_name = {function.name: function for function in functions}

    @classmethod
    def from_tools(cls, tools: Sequence[Mapping[str, Any]] | None) -> "DeclaredFunctions":
        """Read OpenAI's `tools` list, in its chat form or the flat form of the responses API.

        Raises ValueError naming the entry that is not a function tool, or takes no object.
        """
        functions = []
        for position, tool in enumerate(tools or ()):
            body = tool.get("function", tool)
            if not isinstance(body, Mapping) or not isinstance(body.get("name"), str):
                raise ValueError(f"tools[{position}] is not a function with a name.")
            if not isinstance(body.get("parameters") or {}, Mapping):
                raise ValueError(f"tools[{position}].function.parameters is not a JSON schema.")
            kind = (body.get("parameters") or {}).get("type", "object")
            if kind != "object" and not (isinstance(kind, list) and "object" in kind):
                raise ValueError(
                    f"tools[{position}].function.parameters has the type {kind!r}: the arguments "
                    "of a call are an object."
                )
            functions.append(
                Function(
                    name=body["name"],
                    parameters=dict(body.get("parameters") or {}),
                    description=body.get("description") or "",
                    strict=bool(body.get("strict")),
                )
            )
        return cls(functions)

    def __len__(self) -> int:
        return len(self.functions)

    @cached_property
    def _by_python_name(self) -> dict[str, Function]:
        return {python_name(function.name): function for function in self.functions}

    def resolve(self, name: str) -> Function:
        """Return the function that a model means by `name`.

        Raises Malformed where functions are declared and this is none of them.
        """
        if not name:
            raise Malformed("The call names no function.")
        found = self._by_name.get(name) or self._by_python_name.get(name)
        if found is not None:
            return found
        if not self.functions:
            return Function(name)
        raise Malformed(f"The model called {name!r}, which is not a declared function.")

    def only(self, names: Sequence[str]) -> "DeclaredFunctions":
        """Return the functions in `names`; raises ValueError naming one that is not declared."""
        missing = [name for name in names if name not in self._by_name]
        if missing:
            raise ValueError(f"The tool {missing[0]!r} is not in tools.")
        return DeclaredFunctions([self._by_name[name] for name in names])
