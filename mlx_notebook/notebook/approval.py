"""Asking the person at the notebook whether a tool may be called."""

import re

from mlx_notebook.notebook.calls import Call
from mlx_notebook.notebook.errors import Pause
from mlx_notebook.notebook.inputs import trimmed

_SHOWN_CHARACTERS = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def ask_in_cell(call: Call) -> bool | str:
    """Ask with `input()`, in the cell or the terminal, until there is an answer.

    Returns
    -------
    bool or str
        `True` for yes; `"always"` for yes to every further call of this tool; `False` for no, or
        `"no: "` and the reason where one was typed after the n.

    Raises
    ------
    Pause
        Where nobody can be asked: the notebook runs unattended.
    """
    # What the model wrote must neither steer a terminal nor fake a second question.
    wanted = _CONTROL.sub(" ", trimmed(str(call), _SHOWN_CHARACTERS))
    while True:
        try:
            said = input(f"Allow {wanted}? [y]es, [n]o (and why), [a]lways: ").strip()
        except (EOFError, NotImplementedError):  # the latter is how a kernel says it
            raise Pause(f"nobody is there to allow {call.name}") from None
        word, _, reason = said.partition(" ")
        match word.lower():
            case "y" | "yes":
                return True
            case "a" | "always":
                return "always"
            case "n" | "no":
                return f"no: {reason}" if reason else False
