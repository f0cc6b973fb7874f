"""Replies that are objects: a type asked for as a JSON schema, and read back."""

import json
import re
from typing import Any

from mlx_notebook.notebook.errors import NotebookError, NotParsed
from mlx_notebook.notebook.schemas.function_schema import plain_schema


def response_format(schema: Any) -> dict[str, Any]:
    """Ask for replies of a type.

    Parameters
    ----------
    schema
        A pydantic model, a dataclass or any other type that pydantic reads; or a JSON schema.

    Raises
    ------
    NotebookError
        If pydantic cannot describe the type.
    """
    if isinstance(schema, dict):
        name, described = "answer", schema
    else:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            described = plain_schema(TypeAdapter(schema).json_schema())
        except (PydanticUserError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise NotebookError(f"{schema!r} cannot be used as a schema: {first}") from None
        name = re.sub(r"\W", "_", getattr(schema, "__name__", "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": described}}


def parsed(text: str, schema: Any) -> Any:
    """Read a reply as the type that was asked for; decoded JSON where that was a JSON schema.

    Raises
    ------
    NotParsed
        If it does not fit: the model was cut off, or the server does not enforce schemas.
    """
    if isinstance(schema, dict):
        try:
            return json.loads(text)
        except ValueError as error:
            raise NotParsed(f"The reply is not JSON: {error}.") from None
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise NotParsed(f"The reply does not fit the schema: {said}.") from None
