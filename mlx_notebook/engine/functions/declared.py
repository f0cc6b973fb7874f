"""The functions that a request declares, for parsers and grammars."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from mlx_notebook.engine.functions.parse_errors import Malformed

Schema = Mapping[str, Any]


class Function(msgspec.Struct, frozen=True):
    """A declared function. `parameters` is the JSON schema of the object of its arguments."""

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
        """Names of the required parameters."""
        found = self.parameters.get("required")
        return frozenset(found) if isinstance(found, list) else frozenset()


def python_name(name: str) -> str:
    """Return `name` as a Python identifier, for dialects that write calls as code."""
    safe = re.sub(r"\W", "_", name)
    return "_" + safe if safe[:1].isdigit() else safe


class DeclaredFunctions:
    """Declared functions by name. If none is declared, every name is accepted."""

    def __init__(self, functions: Sequence[Function] = ()) -> None:
        self.functions = tuple(functions)
        self._by_name = {function.name: function for function in functions}

    @classmethod
    def from_tools(cls, tools: Sequence[Mapping[str, Any]] | None) -> "DeclaredFunctions":
        """Read OpenAI's `tools`, in the form of chat completions or of responses.

        Raises
        ------
        ValueError
            If an entry is no function, or its arguments are no object.
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
        """Return the function that a model calls `name`, or `functions.name`.

        Raises
        ------
        Malformed
            If functions are declared and this is not one of them.
        """
        if not name:
            raise Malformed("The call names no function.")
        # OpenAI's prompts have all functions in this namespace, and models have learnt from them.
        for known in (name, name.removeprefix("functions.")):
            found = self._by_name.get(known) or self._by_python_name.get(known)
            if found is not None:
                return found
        if not self.functions:
            return Function(name)
        raise Malformed(f"The model called {name!r}, which is not a declared function.")

    def select(self, names: Sequence[str]) -> "DeclaredFunctions":
        """Return the functions in `names`.

        Raises
        ------
        ValueError
            If a name is not declared.
        """
        missing = [name for name in names if name not in self._by_name]
        if missing:
            raise ValueError(f"The tool {missing[0]!r} is not in tools.")
        return DeclaredFunctions([self._by_name[name] for name in names])
