"""Ask the user whether a tool may be called."""

import time

from mlx_notebook.notebook.answers.tool_call import ToolCall
from mlx_notebook.notebook.errors import Pause
from mlx_notebook.notebook.plain_text import visible
from mlx_notebook.notebook.shell import can_ask, discard_typed_input

# In seconds. A faster answer was typed before the question could be read.
MIN_ANSWER_SECONDS = 1.0
# The question leaves out the middle of a longer call and offers to show all of it.
SHOWN_CHARACTERS = 2_000
_LINE_CHARACTERS = 80
_MOST_QUESTIONS = 10


def ask_in_cell(call: ToolCall, why: str = "") -> bool | str:
    """Ask with `input()` in the cell or the terminal, until there is an answer.

    Only `y`, `yes`, `a` or `always` allows a call. What was typed before the question appeared does
    not count, and neither does an empty line.

    Parameters
    ----------
    call
        The tool call.
    why
        The reason for the question, shown before it. With a reason, "always" is not offered.

    Returns
    -------
    bool or str
        `True` for yes; `"always"` for yes to all further calls of this tool; `False` for no; `"no:
        "` and the reason if one was typed after the n.

    Raises
    ------
    Pause
        If nobody can be asked (the notebook runs unattended, input comes from a file, the code runs
        on a thread), or there is no usable answer.
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
        _discard_typed_input(call)
        asked_at = time.monotonic()
        try:
            reply = input(question).strip()
        except (EOFError, NotImplementedError):  # a kernel raises the second one
            raise _cannot_ask(call) from None
        if time.monotonic() - asked_at < MIN_ANSWER_SECONDS:
            print("That was typed before the question could be read. Please answer again.")
            continue
        first, _, reason = reply.partition(" ")
        match reply.lower():
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
    """Write a call on one line for a user who decides about it, with nothing hidden.

    It shows all arguments as they will be used. Control characters, and characters that hide or
    reorder text, are escaped.
    """
    return visible(str(call))


def _without_middle(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    head, tail = text[: SHOWN_CHARACTERS * 2 // 3], text[-(SHOWN_CHARACTERS // 3) :]
    return f"{head} [… {len(text) - len(head) - len(tail):,} characters are hidden here …] {tail}"


def _in_lines(text: str) -> str:
    """Break a text into indented lines, because JupyterLab cuts off long lines of a question."""
    parts = range(0, len(text), _LINE_CHARACTERS)
    return "\n".join(f"    {text[at : at + _LINE_CHARACTERS]}" for at in parts)


def _discard_typed_input(call: ToolCall) -> None:
    """Discard what was typed before the question.

    A kernel itself discards replies that were sent before it asks.

    Raises
    ------
    Pause
        If no person can answer.
    """
    if not can_ask():
        raise _cannot_ask(call)
    discard_typed_input()


def _cannot_ask(call: ToolCall) -> Pause:
    return Pause(f"nobody is there to allow {call.name}")
