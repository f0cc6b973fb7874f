"""`%mlx record` and `%mlx replay`."""

import argparse
import math
import os
import shlex
from pathlib import Path
from typing import Any, NoReturn

from mlx_notebook.notebook import runs
from mlx_notebook.notebook.chat import Chat
from mlx_notebook.notebook.errors import BadMagic
from mlx_notebook.notebook.figures import counted
from mlx_notebook.notebook.runs import Player, Recorder
from mlx_notebook.notebook.shell import shell

SUFFIX = ".recorded.json"


def record(argument: str, chat: Chat) -> None:
    """Begin to record the server's answers, in a new conversation; or stop."""
    if argument == "stop":
        _stop(Recorder, "record")
        return
    told = _parse(argument, "record")
    recorder = Recorder(_file(told.file, "record"))
    runs.begin(recorder)
    chat.reset(system=True)
    print(
        f"Recording into {recorder.file.path}, from a new conversation on, until "
        "`%mlx record stop` or the kernel's end. Prompts and answers stand in it as they are."
    )


def replay(argument: str, chat: Chat) -> None:
    """Begin to answer from a recording, in a new conversation; or stop, and say what differed."""
    if argument == "stop":
        _stop(Player, "replay")
        return
    told = _parse(argument, "replay")
    file = _file(told.file, "replay")
    player = Player(file, speed=told.speed, live=told.live, trust=told.trust)
    runs.begin(player)
    chat.reset(system=True)
    print(
        f"Replaying {player.path} ({counted(len(player), 'answer')}), from a new conversation on, "
        + ("with the server for what is not in it, " if told.live else "without a model, ")
        + "until `%mlx replay stop`."
    )
    if not player.is_trusted:
        print(
            "You did not make this recording on this machine, or it was changed since. Before it "
            "calls a function of this notebook you are asked; `--trust` replays it as your own."
        )


def _stop(kind: type, command: str) -> None:
    run = runs.current()
    if not isinstance(run, kind):
        raise BadMagic(f"No `%mlx {command}` is on.")
    runs.end()
    if isinstance(run, Player):
        print(run.summary())
    elif isinstance(run, Recorder):
        full = " The file is full: later ones are missing." if run.file.full else ""
        print(f"Recorded {counted(len(run.file), 'answer')} into {run.file.path}.{full}")


def _file(given: str | None, command: str) -> Path:
    if given is not None:
        return Path(given).expanduser()
    notebook = _notebook()
    if notebook is None:
        raise BadMagic(
            "It cannot be told what this notebook is called: "
            f"name a file, `%mlx {command} FILE{SUFFIX}`."
        )
    file = notebook.with_name(notebook.stem + SUFFIX)
    # Shown in the notebook's output, where the folder is the machine's and not the reader's.
    return Path(file.name) if file.parent == Path.cwd() else file


def _notebook() -> Path | None:
    """Path of this kernel's notebook, which VS Code and Jupyter's servers tell their kernels."""
    names: list[Any] = [getattr(shell(), "user_ns", {}).get("__vsc_ipynb_file__")]
    names.append(os.environ.get("JPY_SESSION_NAME"))
    for name in names:
        if isinstance(name, str) and name.endswith(".ipynb"):
            path = Path(name)
            return path if path.is_absolute() else Path.cwd() / path.name
    return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadMagic(f"%mlx {self.prog}: {message}.")


def _parse(argument: str, command: str) -> argparse.Namespace:
    parser = _Parser(prog=command, add_help=False, allow_abbrev=False)
    parser.add_argument("file", nargs="?")
    if command == "replay":
        parser.add_argument("--speed", type=_speed, default=1.0)
        parser.add_argument("--live", action="store_true")
        parser.add_argument("--trust", action="store_true")
    try:
        return parser.parse_args(shlex.split(argument))
    except ValueError as error:
        raise BadMagic(f"%mlx {command}: {str(error).lower()}.") from None


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
