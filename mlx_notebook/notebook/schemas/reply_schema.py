"""Replies as objects: the JSON schema to ask for, and the object from the text."""

import json
import re
from typing import Any

from mlx_notebook.notebook.errors import NotebookError, NotParsed
from mlx_notebook.notebook.schemas.function_schema import plain_schema


def response_format(schema: Any) -> dict[str, Any]:
    """Return the `response_format` of a request for a type.

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
    """Turn the text of a reply into an object of the type; decoded JSON for a JSON schema.

    Raises
    ------
    NotParsed
        If the text does not fit: it was cut off, or the server does not enforce schemas.
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
        mistake = f"{where}: {first['msg']}" if where else first["msg"]
        raise NotParsed(f"The reply does not fit the schema: {mistake}.") from None
