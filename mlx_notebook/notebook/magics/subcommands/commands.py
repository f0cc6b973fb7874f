"""The subcommands of `%mlx`: one function for each."""

import re
from collections.abc import Callable

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.connection import connection
from mlx_notebook.notebook.errors import BadMagic, BadRecording
from mlx_notebook.notebook.human_units import (
    format_bytes,
    format_duration,
    format_milliseconds,
    plural,
)
from mlx_notebook.notebook.magics.subcommands import (
    connect_command,
    convert_command,
    job_commands,
    model_commands,
    token_commands,
)
from mlx_notebook.notebook.magics.subcommands.recording_commands import record, replay
from mlx_notebook.notebook.recording import replayer
from mlx_notebook.notebook.server.round_trip import measure_round_trip
from mlx_notebook.notebook.server.state_names import engine_state_name, request_phase_name

COMMANDS = {
    "status": "show the engine, the models in memory, running requests and totals",
    "models [--all] [FILTER]": "list models on this machine; --all adds those available to "
    "download",
    "load NAME [--pin] [--adapter A]": "load a model (download it if needed); it then answers here",
    "unload [NAME]": "remove a model from memory",
    "pull NAME [--revision R]": "download a model from Hugging Face",
    "pin NAME, unpin NAME": "keep a model in memory, or allow its eviction",
    "convert SOURCE NAME [OPTIONS]": "write a model anew: with fewer bits, or from a GGUF file",
    "show NAME": "show a model's properties, whether it fits this machine, and its settings",
    "tokens TEXT": "show how the model splits a text into tokens",
    "prompt": "show the prompt of the last answer as the model got it, and what of it was cached",
    "jobs [stop ID]": "list long jobs such as fine-tuning, or stop one",
    "reset": "start a new conversation; in a thread: `%%chat --thread NAME --new`",
    "record [FILE]": "record the server's answers in a file, until `record stop`",
    "replay [FILE] [--speed X|max] [--live] [--trust]": "answer from a recording, without a model, "
    "until `replay stop`",
    "connect [URL|NAME] [OPTIONS]": "use a server on another machine; without one: list the known "
    "servers; --print PROGRAM: show what another program needs to use this server",
    "help": "show this list",
}


def run(line: str, chat: Chat) -> None:
    """Run one `%mlx` line.

    Raises
    ------
    NotebookError
        If it fails.
    """
    name, _, argument = line.strip().partition(" ")
    command = _RUN.get(name or "help")
    if command is None:
        known = ", ".join(_RUN)
        raise BadMagic(f"%mlx has no subcommand {name!r}. It has: {known}.")
    try:
        command(argument.strip(), chat)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if replayer.is_untrusted():
            raise BadRecording(
                f"The recording holds an answer that `%mlx {name}` cannot read ({error!r})."
            ) from None
        raise


def _status(_: str, chat: Chat) -> None:
    server = connection.connect()
    status = server.get("mlx/status")
    engine = status["engine"]
    print(f"server: {server.url} ({server.found})")
    if server.may_be_remote and not replayer.is_replayed():
        print(f"network: round trip of {format_milliseconds(measure_round_trip(server))}")
    print(f"model: {chat.model or connection.default_model() or 'none yet'}")
    line = f"engine: {engine_state_name(engine['state'])}"
    if engine["device"]:
        line += f" on the {_device(engine['device'])}"
    if engine["uptime"]:
        line += f", up {format_duration(engine['uptime'])}"
    if engine["restarts"]:
        line += f", restarted {plural(engine['restarts'], 'time')}"
    print(line + (f" ({engine['error']})" if engine["error"] else ""))
    for model in status["models"]:
        print(
            f"in memory: {model['id']}, {format_bytes(model['bytes'])}, "
            f"context of {model['context_length']} tokens"
        )
    for name in status["loading"]:
        print(f"loading: {name}")
    for request in status["requests"]:
        print(
            f"request: {request['model']}, {request_phase_name(request['phase'])}, "
            f"{request['prompt_tokens']} prompt tokens, {request['generated_tokens']} generated "
            f"at {request['tokens_per_second']:.0f} tokens/s"
        )
    # A server of an older version tells of none.
    for job in status.get("jobs", ()):
        done = f", {job['done']} of {job['total']} {job['unit']}" if job["total"] else ""
        print(f"job: {job['title'] or job['kind']}, {job['phase']}{done}")
    totals = status["totals"]
    print(
        f"so far: {plural(totals['requests'], 'request')}, "
        f"{plural(totals['prompt_tokens'], 'prompt token')} "
        f"({totals['cached_tokens']} cached), {totals['generated_tokens']} generated"
    )
    print(f"memory: {format_bytes(status['memory']['process'])} in the engine process")
    # A server of an older version has none.
    for rank in status.get("ranks", ()):
        print(
            f"rank {rank['rank']}: {rank['host']}, {format_bytes(rank['active'])} in use, "
            f"waited {format_duration(rank['waited'])} for others"
        )
    print(f"this conversation: {plural(len(chat.messages), 'message')}")
    if chat.last is not None and (first_token := chat.last.first_token_summary()):
        print(f"last answer: {first_token}")


def _reset(_: str, chat: Chat) -> None:
    chat.reset(system=True)
    print("New conversation.")


def _help(_: str, __: Chat) -> None:
    for name, text in COMMANDS.items():
        print(f"%mlx {name:<50} {text}")
    print(f"{'%%chat':<55} ask the model; `%%chat?` lists its options")


def _device(name: str) -> str:
    """Shorten MLX's name of a device, such as `Device(gpu, 0)`."""
    kind = re.search(r"\b(cpu|gpu)\b", name, re.IGNORECASE)
    return kind[1].upper() if kind else name


_RUN: dict[str, Callable[[str, Chat], None]] = {
    "status": _status,
    "models": model_commands.list_models,
    "load": model_commands.load,
    "unload": model_commands.unload,
    "pull": model_commands.pull,
    "pin": model_commands.pin,
    "unpin": model_commands.unpin,
    "show": model_commands.show,
    "convert": convert_command.convert,
    "tokens": token_commands.tokens,
    "prompt": token_commands.prompt,
    "jobs": job_commands.jobs,
    "reset": _reset,
    "record": record,
    "replay": replay,
    "connect": connect_command.connect,
    "help": _help,
}

COMMAND_OPTIONS = {
    "models": {"--all": "also models available to download"},
    "load": {"--pin": "keep it in memory", "--adapter": "with this LoRA adapter"},
    "pull": {"--revision": "a branch, tag or commit on Hugging Face"},
    "jobs": {"stop": "stop the job with this id"},
    "convert": convert_command.OPTIONS,
    "record": {"stop": "end the recording"},
    "replay": {
        "stop": "end the replay",
        "--speed": "1 (as recorded), a factor, or max",
        "--live": "ask the model if there is no recorded answer",
        "--trust": "make the recording's tool calls without asking",
    },
    "connect": connect_command.OPTIONS,
}
TAKE_A_MODEL = frozenset({"load", "unload", "pull", "pin", "unpin", "show", "convert"})
