"""Write what other programs need to use a server: the text that one pastes into their settings."""

import json
from collections.abc import Mapping

from mlx_notebook.notebook.connection.coding_agents import CODING_AGENT_CONFIGURATIONS
from mlx_notebook.notebook.connection.configured_model import (
    ClientConfiguration,
    ConfiguredModel,
    as_json,
    exported,
)


def _jupyter_ai(of: ConfiguredModel) -> str:
    # LiteLLM's name of a model that has OpenAI's API.
    name = f"openai/{of.model}"
    parameters = {"api_base": of.api, "api_key": of.token}
    custom = {"id": f"custom-mlx-notebook/{name}", "name": of.model, "model_id": name}
    return as_json(
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
    return as_json(
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
    return exported({"OPENAI_BASE_URL": of.api, "OPENAI_API_KEY": of.token})


def _anthropic(of: ConfiguredModel) -> str:
    return exported({"ANTHROPIC_BASE_URL": of.root, "ANTHROPIC_API_KEY": of.token})


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
    **CODING_AGENT_CONFIGURATIONS,
}
"""The settings by the names of programs."""
