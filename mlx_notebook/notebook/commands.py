"""What `%mlx` does: one function a subcommand, each answering in plain text."""

import re
from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook import connection
from mlx_notebook.notebook.chat import Chat
from mlx_notebook.notebook.errors import BadMagic, ModelNotFound, NotebookError
from mlx_notebook.notebook.run_commands import record, replay
from mlx_notebook.notebook.server import Server

# A first model that fits most machines; only ever a suggestion.
SUGGESTED_MODEL = "mlx-community/Qwen3-4B-4bit"

COMMANDS = {
    "status": "what the server is doing: engine, models in memory, requests, speed",
    "models": "the models there are",
    "load NAME": "load a model, and let it answer from now on",
    "unload NAME": "give a model's memory back",
    "reset": "start a new conversation",
    "record": "[FILE] keep the server's answers beside the notebook; `record stop`",
    "replay": "[FILE] [--speed X|max] [--live] answer from them, with no model; `replay stop`",
    "help": "this list",
}


def run(line: str, chat: Chat) -> None:
    """Carry out one `%mlx` line. Raises `NotebookError`."""
    name, _, argument = line.strip().partition(" ")
    command = _RUN.get(name or "help")
    if command is None:
        known = ", ".join(_RUN)
        raise BadMagic(f"%mlx has no subcommand {name!r}. It has: {known}.")
    command(argument.strip().strip("\"'"), chat)


def describe(server: Server) -> str:
    """Say in one line which server and which model, and what a demonstration model is."""
    line = f"mlx_notebook: connected to {server.url} ({server.found})"
    model = connection.default_model()
    get = f"`!hf download {SUGGESTED_MODEL}` and `%mlx load {SUGGESTED_MODEL}`"
    if model is None:
        return f"{line}; no model yet: run {get}."
    line += f"; model {model}"
    if _is_demonstration(server, model):
        line += f", a small demonstration; for a real one run {get}"
    return line + "."


def complete(_: Any, event: Any) -> list[str]:
    """Offer subcommands after `%mlx`, and models after `%mlx load`."""
    words = event.line.split()
    if len(words) > 1 and words[1] in ("load", "unload"):
        try:
            return [model["id"] for model in _models(connection.connect())]
        except NotebookError:
            return []
    return list(_RUN)


def _is_demonstration(server: Server, name: str) -> bool:
    try:
        models = _models(server)
    except NotebookError:
        return False  # the line is worth printing without
    return any(m["id"] == name and m.get("source") == "embedded" for m in models)


def _models(server: Server) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = server.get("v1/models")["data"]
    return models


def _status(_: str, chat: Chat) -> None:
    server = connection.connect()
    status = server.get("mlx/status")
    engine = status["engine"]
    print(f"server: {server.url} ({server.found})")
    print(f"model: {chat.model or status['default_model'] or 'none yet'}")
    line = f"engine: {engine['state']}"
    if engine["device"]:
        line += f" on the {_device(engine['device'])}"
    if engine["uptime"]:
        line += f", up {_duration(engine['uptime'])}"
    if engine["restarts"]:
        line += f", restarted {engine['restarts']} times"
    print(line + (f" ({engine['error']})" if engine["error"] else ""))
    for model in status["models"]:
        print(
            f"in memory: {model['id']}, {_size(model['bytes'])}, "
            f"context of {model['context_length']} tokens"
        )
    for name in status["loading"]:
        print(f"loading: {name}")
    for request in status["requests"]:
        print(
            f"request: {request['model']}, {request['phase']}, "
            f"{request['prompt_tokens']} prompt tokens, {request['generated_tokens']} generated "
            f"at {request['tokens_per_second']:.0f} tokens/s"
        )
    totals = status["totals"]
    print(
        f"so far: {totals['requests']} requests, {totals['prompt_tokens']} prompt tokens "
        f"({totals['cached_tokens']} cached), {totals['generated_tokens']} generated"
    )
    print(f"memory: {_size(status['memory']['process'])} in the engine process")
    print(f"this conversation: {len(chat.messages)} messages")


def _list_models(_: str, chat: Chat) -> None:
    for model in _models(connection.connect()):
        window = model.get("context_window")
        parts = [
            model["id"],
            model.get("state", ""),
            f"context of {window} tokens" if window else "",
            "demonstration" if model.get("source") == "embedded" else "",
            "default" if model.get("default") else "",
            "answers here" if model["id"] == chat.model else "",
        ]
        print(", ".join(part for part in parts if part))


def _load(name: str, chat: Chat) -> None:
    server, name = connection.connect(), _named(name, "load")
    try:
        loaded = server.post("mlx/models/load", {"model": name})
    except ModelNotFound as error:
        if "/" not in name:
            raise
        raise ModelNotFound(
            f"{error} If it is on Hugging Face, `!hf download {name}` fetches it."
        ) from None
    chat.model = name
    took = f"in {loaded['seconds']:.1f} s" if loaded["seconds"] else "already there"
    print(
        f"{name} is loaded ({took}): {_size(loaded['bytes'])}, "
        f"context of {loaded['context_length']} tokens. It answers from now on."
    )


def _unload(name: str, chat: Chat) -> None:
    server, name = connection.connect(), _named(name, "unload")
    freed = server.post("mlx/models/unload", {"model": name})["freed"]
    if chat.model == name:
        chat.model = None
    print(f"{name} is unloaded; {_size(freed)} are free again.")


def _reset(_: str, chat: Chat) -> None:
    chat.reset()
    print("New conversation.")


def _help(_: str, __: Chat) -> None:
    for name, text in COMMANDS.items():
        print(f"%mlx {name:<12} {text}")
    print("%%chat            ask the model; `%%chat?` lists its options")


def _named(name: str, command: str) -> str:
    if not name:
        raise BadMagic(f"%mlx {command} needs a model's name; `%mlx models` lists them.")
    return name


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _device(told: str) -> str:
    """Name a device as people do, from MLX's `Device(gpu, 0)`."""
    kind = re.search(r"\b(cpu|gpu)\b", told, re.IGNORECASE)
    return kind[1].upper() if kind else told


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


_RUN: dict[str, Callable[[str, Chat], None]] = {
    "status": _status,
    "models": _list_models,
    "load": _load,
    "unload": _unload,
    "reset": _reset,
    "record": record,
    "replay": replay,
    "help": _help,
}
