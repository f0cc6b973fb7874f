"""Write what other programs need to use a server: the text that one pastes into their settings."""

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


def _jupyter_ai(of: ConfiguredModel) -> str:
    # LiteLLM's name of a model that has OpenAI's API.
    name = f"openai/{of.model}"
    parameters = {"api_base": of.api, "api_key": of.token}
    custom = {"id": f"custom-mlx-notebook/{name}", "name": of.model, "model_id": name}
    return _json(
        {
            "model_provider_id": name,
            "fields": {name: parameters},
            "custom_models": [{**custom, "params": parameters}],
        }
    )


def _notebook_intelligence(of: ConfiguredModel) -> str:
    values = {"api_key": of.token, "model_id": of.model, "base_url": of.api}
    if of.context is not None:
        values["context_window"] = str(of.context)
    properties = [{"id": name, "value": value} for name, value in values.items()]
    return _json(
        {
            f"{kind}_model": {
                "provider": "openai-compatible",
                "model": f"openai-compatible-{kind.replace('_', '-')}-model",
                "properties": properties,
            }
            for kind in ("chat", "inline_completion")
        }
    )


def _continue(of: ConfiguredModel) -> str:
    # Strings of JSON are strings of YAML.
    model, api, token = map(json.dumps, (of.model, of.api, of.token))
    lines = [
        "name: mlx-notebook",
        "version: 1.0.0",
        "schema: v1",
        "models:",
        f"  - name: {model}",
        "    provider: openai",
        f"    model: {model}",
        f"    apiBase: {api}",
        f"    apiKey: {token}",
        "    roles: [chat, edit, apply]",
    ]
    if of.context is not None:
        lines += ["    defaultCompletionOptions:", f"      contextLength: {of.context}"]
    return "\n".join(lines)


def _openai(of: ConfiguredModel) -> str:
    return _variables({"OPENAI_BASE_URL": of.api, "OPENAI_API_KEY": of.token})


def _anthropic(of: ConfiguredModel) -> str:
    return _variables({"ANTHROPIC_BASE_URL": of.root, "ANTHROPIC_API_KEY": of.token})


def _variables(values: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


CLIENT_CONFIGURATIONS: Mapping[str, ClientConfiguration] = {
    "jupyter-ai": ClientConfiguration(
        "Into jupyter_ai/config.json in Jupyter's data directory (`jupyter --data-dir`), while "
        "Jupyter is not running.",
        _jupyter_ai,
    ),
    "notebook-intelligence": ClientConfiguration(
        "Into ~/.jupyter/nbi/config.json, while Jupyter is not running.", _notebook_intelligence
    ),
    "continue": ClientConfiguration("Into ~/.continue/config.yaml.", _continue),
    "openai": ClientConfiguration(
        "Into the shell that starts a program with OpenAI's API.", _openai
    ),
    "anthropic": ClientConfiguration(
        "Into the shell that starts a program with Anthropic's API.", _anthropic
    ),
}
"""The settings by the names of programs."""
