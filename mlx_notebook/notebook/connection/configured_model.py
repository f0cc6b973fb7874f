"""What a program must know of a server and a model, and how its settings are written."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_notebook.notebook.server.server import Server

NO_TOKEN = "YOUR_TOKEN"  # noqa: S105 - it stands where the token belongs


@dataclass(frozen=True)
class ConfiguredModel:
    """What a program must know of a server and of the model that it is to use.

    Attributes
    ----------
    root
        Base URL of the server, without a slash at its end. Clients of Anthropic's API take it.
    api
        Base URL for clients of OpenAI's API.
    token
        The server's token, or `NO_TOKEN`.
    model
        Name of the model.
    context
        Most tokens of prompt and answer together; None if it is not known.
    """

    root: str
    api: str
    token: str
    model: str
    context: int | None

    @classmethod
    def of(
        cls, server: Server, model: str, context: int | None, *, with_token: bool
    ) -> "ConfiguredModel":
        """Describe a model of a server. Without `with_token` the token is left out."""
        token = (server.token or "none") if with_token else NO_TOKEN
        return cls(server.url.rstrip("/"), server.api, token, model, context)


@dataclass(frozen=True)
class ClientConfiguration:
    """The settings of one program.

    Attributes
    ----------
    place
        Where the text belongs, in one sentence.
    write
        Return the text.
    """

    place: str
    write: Callable[[ConfiguredModel], str]


def exported(values: Mapping[str, str]) -> str:
    """Return lines that set variables in a shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def as_json(value: Any) -> str:
    """Return a value as JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
