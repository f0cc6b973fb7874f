"""Write what coding agents need to use a server.

Each agent takes a model of its own choice for small tasks, such as a title of the session. All of
them are given the one model here, since another one may not be on this machine.
"""

import json
import shlex
from collections.abc import Mapping

from mlx_notebook.notebook.connection.configured_model import (
    ClientConfiguration,
    ConfiguredModel,
    as_json,
    exported,
)

# Agents with a limit on answers must be told one. It is part of the context.
_MOST_ANSWER_TOKENS = 16_384


def _codex(of: ConfiguredModel) -> str:
    # Strings of JSON are strings of TOML.
    model, api = json.dumps(of.model), json.dumps(of.api)
    lines = [
        f"# export MLX_NOTEBOOK_KEY={shlex.quote(of.token)}",
        f"model = {model}",
        'model_provider = "mlx-notebook"',
    ]
    if of.context is not None:
        lines.append(f"model_context_window = {of.context}")
    lines += [
        "",
        "[model_providers.mlx-notebook]",
        'name = "mlx-notebook"',
        f"base_url = {api}",
        'env_key = "MLX_NOTEBOOK_KEY"',
        'wire_api = "responses"',
    ]
    return "\n".join(lines)


def _claude_code(of: ConfiguredModel) -> str:
    roles = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    return exported(
        {
            "ANTHROPIC_BASE_URL": of.root,
            "ANTHROPIC_AUTH_TOKEN": of.token,
            **{f"ANTHROPIC_{role}": of.model for role in roles},
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
    )


def _opencode(of: ConfiguredModel) -> str:
    model: dict[str, object] = {"name": of.model}
    if of.context is not None:
        model["limit"] = {"context": of.context, "output": _answer_tokens(of.context)}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "mlx-notebook",
        "options": {"baseURL": of.api, "apiKey": of.token},
        "models": {of.model: model},
    }
    chosen = f"mlx-notebook/{of.model}"
    return as_json(
        {
            "$schema": "https://opencode.ai/config.json",
            "provider": {"mlx-notebook": provider},
            "model": chosen,
            "small_model": chosen,
        }
    )


def _pi(of: ConfiguredModel) -> str:
    model: dict[str, object] = {"id": of.model}
    if of.context is not None:
        model |= {"contextWindow": of.context, "maxTokens": _answer_tokens(of.context)}
    provider = {
        "baseUrl": of.api,
        "api": "openai-completions",
        "apiKey": of.token,
        "models": [model],
    }
    return as_json({"providers": {"mlx-notebook": provider}})


def _qwen_code(of: ConfiguredModel) -> str:
    return exported(
        {"OPENAI_BASE_URL": of.api, "OPENAI_API_KEY": of.token, "OPENAI_MODEL": of.model}
    )


def _cline(of: ConfiguredModel) -> str:
    words = ("cline", "auth", "-p", "openai", "-k", of.token, "-m", of.model, "-b", of.api)
    return shlex.join(words)


def _aider(of: ConfiguredModel) -> str:
    return exported(
        {
            "OPENAI_API_BASE": of.api,
            "OPENAI_API_KEY": of.token,
            "AIDER_MODEL": f"openai/{of.model}",
            "AIDER_SHOW_MODEL_WARNINGS": "false",
        }
    )


def _answer_tokens(context: int) -> int:
    return min(_MOST_ANSWER_TOKENS, context // 4)


CODING_AGENT_CONFIGURATIONS: Mapping[str, ClientConfiguration] = {
    "aider": ClientConfiguration("Into the shell that starts aider.", _aider),
    "claude-code": ClientConfiguration("Into the shell that starts claude.", _claude_code),
    "cline": ClientConfiguration("A command for a shell. It keeps the settings.", _cline),
    "codex": ClientConfiguration(
        "Into ~/.codex/config.toml. Run the command of its first line before you start codex.",
        _codex,
    ),
    "opencode": ClientConfiguration(
        "Into ~/.config/opencode/opencode.json, or opencode.json in a project's folder.", _opencode
    ),
    "pi": ClientConfiguration(
        "Into ~/.pi/agent/models.json. Start pi with `--provider mlx-notebook` and `--model`, the "
        "id below.",
        _pi,
    ),
    "qwen-code": ClientConfiguration(
        "Into the shell that starts `qwen --auth-type openai`.", _qwen_code
    ),
}
"""The settings by the names of agents. Continue's `cn` takes those of `continue`."""
