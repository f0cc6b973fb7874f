"""Describe the parameters of a function as a JSON schema, and bind JSON arguments to it.

pydantic reads the types and validates. `docstring_parser` reads docstrings in the styles of numpy,
Google and Sphinx. Both are imported when first needed: a kernel without tools does not need them.
"""

import inspect
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from mlx_notebook.notebook.errors import BadArguments, NotATool

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Types that a docstring may name for a parameter without an annotation.
_DOCUMENTED = {
    "int": int, "integer": int, "float": float, "number": float, "str": str, "string": str,
    "bool": bool, "boolean": bool, "list": list, "dict": dict,
}  # fmt: skip


@dataclass(frozen=True)
class FunctionSchema:
    """The description of a function for a model, and the function itself."""

    name: str
    description: str
    parameters: dict[str, Any]
    _function: Callable[..., Any]
    _model: "type[BaseModel]"
    _signature: inspect.Signature

    def bind(self, arguments: str | dict[str, Any]) -> Callable[[], Any]:
        """Validate arguments and return the call to make.

        Parameters
        ----------
        arguments
            JSON text from a model, or the decoded object.

        Returns
        -------
        Callable
            Calls the function with the arguments.

        Raises
        ------
        BadArguments
            If they do not fit. The message tells the model what to change.
        """
        from pydantic import ValidationError

        try:
            if isinstance(arguments, str):
                given = self._model.model_validate_json(arguments.strip() or "{}")
            else:
                given = self._model.model_validate(arguments)
        except ValidationError as error:
            raise BadArguments(_mistakes(error, self._signature)) from None
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for field, parameter in zip(
            type(given).model_fields, self._signature.parameters.values(), strict=True
        ):
            value = getattr(given, field)
            # The function fills in its own defaults, unless one is a `Field(...)`.
            left_out = field not in given.model_fields_set and not _is_field(parameter.default)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(parameter.default if left_out else value)
            elif not left_out:
                named[parameter.name] = value
        return lambda: self._function(*positional, **named)


def describe_function(
    function: Callable[..., Any], name: str | None = None, description: str | None = None
) -> FunctionSchema:
    """Describe a function by its signature and docstring.

    Parameters
    ----------
    function
        A function with a type for each parameter: any type that pydantic can read from JSON. A
        parameter without an annotation gets its type from its default or the docstring.
    name, description
        In place of the function's own.

    Raises
    ------
    NotATool
        If a parameter cannot be described. The message says what to change.
    """
    name = name or getattr(function, "__name__", None) or _name_of_inner(function)
    if not _NAME.fullmatch(name):
        raise NotATool(
            f"{name!r} cannot name a tool: give it a name of at most 64 letters, digits, _ and - "
            'with @tool(name="...").'
        )
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise NotATool(f"{name} cannot be a tool: {error} (in its signature).") from None
    except (TypeError, ValueError):
        raise NotATool(
            f"{name} cannot be a tool: Python does not know its parameters. "
            "Write a small function around it."
        ) from None
    documented = _Docstring.of(function)
    fields = {
        f"p{at}": _field(name, parameter, documented)
        for at, parameter in enumerate(signature.parameters.values())
    }
    model = _model(name, fields, signature)
    text = description if description is not None else documented.description
    return FunctionSchema(name, text, _parameters(name, model), function, model, signature)


def _name_of_inner(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", None)  # a functools.partial
    return getattr(inner, "__name__", None) or type(function).__name__


@dataclass(frozen=True)
class _Docstring:
    description: str
    parameters: dict[str, str]
    types: dict[str, str]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "_Docstring":
        import docstring_parser

        inner = getattr(function, "func", function)
        text = inspect.getdoc(inner) or ""
        if not (inspect.isroutine(inner) or inspect.isclass(inner)):
            text = inspect.getdoc(type(inner).__call__) or text
        try:
            parsed = docstring_parser.parse(text)
        except docstring_parser.ParseError:
            return cls(text, {}, {})
        parameters: dict[str, str] = {}
        types: dict[str, str] = {}
        for parameter in parsed.params:
            # In numpy's style, several parameters can share a description.
            for name in parameter.arg_name.split(","):
                parameters[name.strip()] = " ".join((parameter.description or "").split())
                types[name.strip()] = (parameter.type_name or "").split(",")[0].strip()
        return cls((parsed.description or "").strip(), parameters, types)


def _field(tool: str, parameter: inspect.Parameter, documented: _Docstring) -> tuple[Any, Any]:
    """Return the type and default of a parameter, as pydantic's `create_model` takes them."""
    from pydantic import Field

    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise NotATool(
            f"{tool} cannot be a tool: *args and **kwargs cannot be described to a model. "
            "Name each parameter."
        )
    default = parameter.default
    kind = parameter.annotation
    if kind is parameter.empty:
        kind = _undeclared(tool, parameter, documented)
    text = documented.parameters.get(parameter.name)
    if get_origin(kind) is Annotated:
        text = next((x for x in get_args(kind)[1:] if isinstance(x, str)), text)
        if any(getattr(x, "description", None) for x in get_args(kind)[1:]):
            text = None  # a `Field(description=...)` of its own
    if _is_field(default):
        text = None if default.description else text
        kind = Annotated[kind, default]
        default = default.default if default.default is not ... else parameter.empty
        if parameter.default.default_factory is not None:
            default = ...
    required = default is parameter.empty or default is ...
    options: dict[str, Any] = {"alias": parameter.name}
    if text:
        options["description"] = text
    return Annotated[kind, Field(**options)], (... if required else default)


def _undeclared(tool: str, parameter: inspect.Parameter, documented: _Docstring) -> Any:
    if type(parameter.default) in (bool, int, float, str):
        return type(parameter.default)
    documented_type = _DOCUMENTED.get(documented.types.get(parameter.name, ""))
    if documented_type is None:
        raise NotATool(
            f"{tool} cannot be a tool: give {parameter.name} a type, "
            f"for example `{parameter.name}: int`."
        )
    return documented_type


def _is_field(default: Any) -> bool:
    return type(default).__name__ == "FieldInfo"


def _model(name: str, fields: dict[str, Any], signature: inspect.Signature) -> "type[BaseModel]":
    from pydantic import ConfigDict, TypeAdapter, create_model
    from pydantic.errors import PydanticUserError

    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except (PydanticUserError, TypeError) as error:
        for (kind, _), parameter in zip(
            fields.values(), signature.parameters.values(), strict=True
        ):
            try:
                TypeAdapter(kind)
            except (PydanticUserError, TypeError):
                written = inspect.formatannotation(parameter.annotation)
                raise NotATool(
                    f"{name} cannot be a tool: its parameter {parameter.name} takes {written}, "
                    "which cannot be made from JSON. Take a name or plain values instead."
                ) from None
        raise NotATool(f"{name} cannot be a tool: {error}.") from None


def _parameters(name: str, model: "type[BaseModel]") -> dict[str, Any]:
    from pydantic.errors import PydanticInvalidForJsonSchema

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about defaults that JSON cannot hold: left out
            schema = model.model_json_schema(by_alias=True)
    except PydanticInvalidForJsonSchema as error:
        raise NotATool(f"{name} cannot be a tool: {str(error).splitlines()[0]}.") from None
    # Each word costs prompt tokens, and the server enforces the schema's properties anyway.
    schema.pop("additionalProperties", None)
    return plain_schema({"type": "object", "properties": {}, **schema})


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Simplify a JSON schema of pydantic, because models have seen few of them.

    Titles are removed. A `$ref` is replaced with its definition, unless that refers to itself. An
    optional value may be left out, rather than be `null`.
    """
    definitions = schema.get("$defs", {})
    recursive = {name for name in definitions if _refers(definitions, name, name, set())}
    plain: dict[str, Any] = _plain(schema, definitions, recursive)
    if recursive:
        plain["$defs"] = {
            name: _plain(definitions[name], definitions, recursive) for name in sorted(recursive)
        }
    return plain


def _refers(definitions: dict[str, Any], start: str, target: str, seen: set[str]) -> bool:
    for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[start])):
        if name == target:
            return True
        if name in definitions and name not in seen:
            seen.add(name)
            if _refers(definitions, name, target, seen):
                return True
    return False


def _plain(schema: Any, definitions: dict[str, Any], recursive: set[str]) -> Any:
    if isinstance(schema, list):
        return [_plain(item, definitions, recursive) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    target = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if target in definitions and target not in recursive:
        del schema["$ref"]
        schema = {**definitions[target], **schema}
    if "default" in schema and schema["default"] is None and "anyOf" in schema:
        del schema["default"]
        others = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        if len(others) == 1:
            del schema["anyOf"]
            return _plain({**others[0], **schema}, definitions, recursive)
        schema["anyOf"] = others
    plain: dict[str, Any] = {}
    for key, value in sorted(schema.items(), key=_place):
        if key in ("title", "$defs"):
            continue
        if key == "properties":
            plain[key] = {n: _plain(v, definitions, recursive) for n, v in value.items()}
        elif key in ("default", "const", "enum", "examples", "required"):
            plain[key] = value
        else:
            plain[key] = _plain(value, definitions, recursive)
    return plain


def _place(item: tuple[str, Any]) -> int:
    order = ("type", "description", "enum", "properties", "required")
    return order.index(item[0]) if item[0] in order else len(order)


def _mistakes(error: "ValidationError", signature: inspect.Signature) -> str:
    """Describe what is wrong with the arguments, one line for each mistake, for a model."""
    lines: list[str] = []
    for mistake in error.errors(include_url=False):
        where = ".".join(str(part) for part in mistake["loc"])
        match mistake["type"]:
            case "json_invalid":
                lines.append(f"The arguments are not valid JSON: {mistake['msg']}.")
            case "missing":
                lines.append(f"{where}: it is missing.")
            case "extra_forbidden":
                known = ", ".join(signature.parameters) or "none"
                lines.append(f"{where}: there is no such argument. The arguments are: {known}.")
            case "model_type":
                lines.append("The arguments must be a JSON object.")
            case _:
                given = repr(mistake["input"])
                given = given if len(given) <= 100 else given[:99] + "…"
                lines.append(f"{where}: {mistake['msg']}, not {given}.")
    return "\n".join(lines)
