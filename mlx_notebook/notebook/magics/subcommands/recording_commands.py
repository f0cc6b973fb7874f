"""The subcommands `%mlx record` and `%mlx replay`."""

import argparse
import math
import os
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.human_units import plural
from mlx_notebook.notebook.magics.subcommands.arguments import parser
from mlx_notebook.notebook.recording import active_run
from mlx_notebook.notebook.recording.recorder import Recorder
from mlx_notebook.notebook.recording.replayer import Replayer
from mlx_notebook.notebook.shell import shell

SUFFIX = ".recorded.json"


def record(argument: str, chat: Chat) -> None:
    """Record the server's answers in a new conversation; or stop recording."""
    if argument == "stop":
        _stop(Recorder, "record")
        return
    arguments = _parse(argument, "record")
    recorder = Recorder(_file(arguments.file, "record"))
    active_run.begin(recorder)
    chat.reset(system=True)
    print(
        f"Recording into {recorder.file.path} until `%mlx record stop` or the end of the kernel. "
        "A new conversation begins. The file holds prompts and answers in full."
    )


def replay(argument: str, chat: Chat) -> None:
    """Answer from a recording in a new conversation; or stop, and report what differed."""
    if argument == "stop":
        _stop(Replayer, "replay")
        return
    arguments = _parse(argument, "replay")
    file = _file(arguments.file, "replay")
    replayer = Replayer(file, speed=arguments.speed, live=arguments.live, trust=arguments.trust)
    active_run.begin(replayer)
    chat.reset(system=True)
    print(
        f"Replaying {replayer.path} ({plural(len(replayer), 'answer')}) until `%mlx replay stop`, "
        + ("with the server for what is not in it" if arguments.live else "without a model")
        + ". A new conversation begins."
    )
    if not replayer.is_trusted:
        print(
            "You did not make this recording on this machine, or it was changed since. Before it "
            "calls a function of this notebook, you are asked. `--trust` makes the calls unasked."
        )


def _stop(kind: type, command: str) -> None:
    run = active_run.current()
    if not isinstance(run, kind):
        raise BadMagic(f"Nothing to stop: `%mlx {command}` is not running.")
    active_run.end()
    if isinstance(run, Replayer):
        print(run.summary())
    elif isinstance(run, Recorder):
        full = " The file is full: later answers are missing." if run.file.full else ""
        print(f"Recorded {plural(len(run.file), 'answer')} into {run.file.path}.{full}")


def _file(given: str | None, command: str) -> Path:
    if given is not None:
        return Path(given).expanduser()
    notebook = _notebook()
    if notebook is None:
        raise BadMagic(
            f"The name of this notebook is not known: name a file, `%mlx {command} FILE{SUFFIX}`."
        )
    file = notebook.with_name(notebook.stem + SUFFIX)
    # It appears in the notebook's output, where the folder of this machine means nothing.
    return Path(file.name) if file.parent == Path.cwd() else file


def _notebook() -> Path | None:
    """Return the path of the notebook, which VS Code and Jupyter servers pass to its kernel."""
    names: list[Any] = [getattr(shell(), "user_ns", {}).get("__vsc_ipynb_file__")]
    names.append(os.environ.get("JPY_SESSION_NAME"))
    for name in names:
        if isinstance(name, str) and name.endswith(".ipynb"):
            path = Path(name)
            return path if path.is_absolute() else Path.cwd() / path.name
    return None


def _parse(argument: str, command: str) -> argparse.Namespace:
    options = parser(command)
    options.add_argument("file", nargs="?")
    if command == "replay":
        options.add_argument("--speed", type=_speed, default=1.0)
        options.add_argument("--live", action="store_true")
        options.add_argument("--trust", action="store_true")
    return options.parse(argument)


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor `max`")
    return speed
