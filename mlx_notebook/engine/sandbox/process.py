"""The sandbox process: renders templates, decodes images and compiles grammars, within limits.

Run by `Sandbox`: `python -m mlx_notebook.engine.sandbox.process NUMBER SECONDS`, the descriptor of
a socket and the processor time that a task may take. It ends when the socket closes. A task that
exceeds its time ends the process; one that exceeds its memory fails, or ends the process too.
"""

import os
import resource
import sys
from multiprocessing.connection import Connection
from typing import Literal

import msgspec

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.sandbox.image_decoding import decode
from mlx_notebook.engine.sandbox.jinja_templates import Render, TooLong, render
from mlx_notebook.protocol import EncodedImage


class DecodeImage(msgspec.Struct, frozen=True, tag="decode"):
    """An image to be decoded."""

    picture: EncodedImage


class TryGrammar(msgspec.Struct, frozen=True, tag="grammar"):
    """A grammar to be compiled; `special` and `width` are those of its `GrammarTokenizer`."""

    grammar: str
    special: dict[str, int]
    width: int


class Pixels(msgspec.Struct, frozen=True, tag="pixels"):
    """A decoded image, three bytes a pixel."""

    width: int
    height: int
    data: bytes


class Compiled(msgspec.Struct, frozen=True, tag="compiled"):
    """A grammar does no harm; it may still be invalid."""


Task = Render | DecodeImage | TryGrammar

MEMORY = {Render: 2**30, DecodeImage: 3 * 2**30, TryGrammar: 4 * 2**30}
"""Bytes that a task may take; the largest image that is allowed needs two gigabytes."""

_GRAMMAR_SECONDS = 5

_MOST_WORDS = 2000
_NICE = 5
"""What decodes tokens goes first. `Sandbox` lowers the priority of long tasks further."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A rendered template."""

    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why a task could not be done."""

    kind: Literal["error", "too_long", "memory"]
    message: str = ""


Answer = Text | Pixels | Compiled | Refused


def main() -> None:
    """Do tasks until the socket closes."""
    number, seconds = map(int, sys.argv[1:])
    connection = Connection(number)
    decoder = msgspec.msgpack.Decoder(Task)
    encoder = msgspec.msgpack.Encoder()
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task = decoder.decode(connection.recv_bytes())
        except EOFError:
            return
        _limit(task, seconds)
        try:
            answer = encoder.encode(_answer(task))
        except MemoryError:
            answer = encoder.encode(Refused("memory"))
        connection.send_bytes(answer)


def _answer(task: Task) -> Answer:
    try:
        if isinstance(task, Render):
            return Text(render(task))
        if isinstance(task, TryGrammar):
            # Not at the top: templates and images do without llguidance.
            from mlx_notebook.engine.sandbox.grammar_check import attempt

            attempt(task.grammar, task.special, task.width)
            return Compiled()
        image = decode(task.picture)
        return Pixels(image.width, image.height, image.tobytes())
    except MemoryError:
        return Refused("memory")
    except TooLong:
        return Refused("too_long")
    except EngineError as error:
        return Refused("error", error.message)
    except Exception as error:  # templates are programs, and images whatever their authors wrote
        return Refused("error", (str(error) or type(error).__name__)[:_MOST_WORDS])


def _limit(task: Task, seconds: int) -> None:
    """Set what this task may take from now on."""
    if isinstance(task, TryGrammar):
        seconds = min(seconds, _GRAMMAR_SECONDS)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds += int(used.ru_utime + used.ru_stime) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (_within(seconds, most), most))
    if sys.platform == "linux":  # macOS takes the limit and does nothing
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_within(MEMORY[type(task)], most), most))


def _within(wanted: int, most: int) -> int:
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


if __name__ == "__main__":
    main()
