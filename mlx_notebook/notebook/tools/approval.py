"""Asking the person at the notebook whether a tool may be called."""

import sys
import threading
import time

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.errors import Pause
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.shell import in_kernel

# An answer that comes sooner was typed before the question could be read.
MIN_ANSWER_SECONDS = 1.0
# A longer call loses its middle in the question, which then offers all of it.
SHOWN_CHARACTERS = 2_000
_LINE_CHARACTERS = 80
_MOST_QUESTIONS = 10


def ask_in_cell(call: ToolCall, why: str = "") -> bool | str:
    """Ask with `input()`, in the cell or the terminal, until there is an answer.

    Only a whole `y`, `yes`, `a` or `always` allows anything. What was typed before the question
    stood there is no answer to it, and neither is an empty line.

    Parameters
    ----------
    call
        What is to be allowed.
    why
        A reason to ask that goes before the question. With one, "always" is not offered.

    Returns
    -------
    bool or str
        `True` for yes; `"always"` for yes to every further call of this tool; `False` for no, or
        `"no: "` and the reason where one was typed after the n.

    Raises
    ------
    Pause
        Where nobody can be asked (the notebook runs unattended, input comes from a file, the code
        runs on a thread), or nobody gives an answer that can be used.
    """
    whole = format_call(call)
    short = _without_middle(whole)
    options = "[y]es, [n]o (and why)"
    options += ("" if why else ", [a]lways") + (", [s]how all" if short != whole else "")
    if len(short) <= _LINE_CHARACTERS:
        question = f"{why}Allow {short}? {options}: "
    else:
        question = f"{why}Allow this call?\n{_in_lines(short)}\n{options}: "
    for _ in range(_MOST_QUESTIONS):
        _drop_what_was_typed(call)
        asked = time.monotonic()
        try:
            said = input(question).strip()
        except (EOFError, NotImplementedError):  # the latter is how a kernel says it
            raise _nobody(call) from None
        if time.monotonic() - asked < MIN_ANSWER_SECONDS:
            print("That was typed before the question could be read. Please answer again.")
            continue
        first, _, reason = said.partition(" ")
        match said.lower():
            case "y" | "yes":
                return True
            case "a" | "always" if not why:
                return "always"
            case "s" | "show" | "show all":
                print(whole)
            case _ if first.lower() in ("n", "no"):
                return f"no: {reason.strip()}" if reason.strip() else False
    raise Pause(f"the question about {call.name} was not answered with yes or no")


def format_call(call: ToolCall) -> str:
    """Write a call on one line for a person who is to allow it, with nothing hidden in it.

    All arguments stand there as they will be used; characters that a terminal would obey, and
    those that hide or reorder text, are written as escapes.
    """
    return visible(str(call))


def _without_middle(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    head, tail = text[: SHOWN_CHARACTERS * 2 // 3], text[-(SHOWN_CHARACTERS // 3) :]
    return f"{head} [… {len(text) - len(head) - len(tail):,} characters are hidden here …] {tail}"


def _in_lines(text: str) -> str:
    """Break a text into indented lines: JupyterLab cuts off a question that has a long one."""
    parts = range(0, len(text), _LINE_CHARACTERS)
    return "\n".join(f"    {text[at : at + _LINE_CHARACTERS]}" for at in parts)


def _drop_what_was_typed(call: ToolCall) -> None:
    """Have the question answered only by what is typed after it.

    A kernel drops replies that were sent before it asks. Raises `Pause` where no person types.
    """
    if threading.current_thread() is not threading.main_thread():
        raise _nobody(call)
    if in_kernel():
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise _nobody(call)
    import termios

    termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _nobody(call: ToolCall) -> Pause:
    return Pause(f"nobody is there to allow {call.name}")
