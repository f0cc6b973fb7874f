"""The sandbox process: templates, images, sound and grammars, within limits.

`Sandbox` runs `python -m mlx_notebook.engine.sandbox.process SOCKET SECONDS` with the descriptor of
a socket and the processor time of a task. The process ends when the socket closes. A task that
exceeds its time ends the process. A task that exceeds its memory fails or ends the process.
"""

import os
import resource
import sys
from multiprocessing.connection import Connection
from typing import Literal

import msgspec

from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.sandbox.audio_decoding import decode_audio
from mlx_notebook.engine.sandbox.image_decoding import decode
from mlx_notebook.engine.sandbox.jinja_templates import RenderTemplate, TooLong, render
from mlx_notebook.protocol import EncodedImage


class DecodeImage(msgspec.Struct, frozen=True, tag="decode"):
    """An image to decode."""

    image: EncodedImage


class DecodeAudio(msgspec.Struct, frozen=True, tag="sound"):
    """A file of sound to decode, and the most seconds of it that are accepted."""

    data: bytes
    max_seconds: float


class CheckGrammar(msgspec.Struct, frozen=True, tag="grammar"):
    """A grammar to check. `special` and `width` are those of its `GrammarTokenizer`."""

    grammar: str
    special: dict[str, int]
    width: int


class Pixels(msgspec.Struct, frozen=True, tag="pixels"):
    """A decoded image, three bytes per pixel."""

    width: int
    height: int
    data: bytes


class Samples(msgspec.Struct, frozen=True, tag="samples"):
    """Decoded sound: one channel of 16-bit integers at `audio_decoding.RATE`."""

    data: bytes


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """A grammar is safe to compile. It may still be invalid."""


Task = RenderTemplate | DecodeImage | DecodeAudio | CheckGrammar

MEMORY = {
    RenderTemplate: 2**30,
    DecodeImage: 3 * 2**30,
    DecodeAudio: 3 * 2**30,
    CheckGrammar: 4 * 2**30,
}
"""Memory limits of tasks in bytes. The largest image that is allowed needs 2 GB."""

_GRAMMAR_SECONDS = 5

_AUDIO_SHARE = 0.01
"""More processor time for long sound, by its length: decoding is faster than this by far."""

_MAX_MESSAGE = 2000
_NICE = 5
"""Decoding tokens has priority. `Sandbox` lowers the priority of long tasks further."""


class RenderedText(msgspec.Struct, frozen=True, tag="text"):
    """A rendered template."""

    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why a task failed."""

    kind: Literal["error", "too_long", "memory"]
    message: str = ""


Answer = RenderedText | Pixels | Samples | Checked | Refused


def main() -> None:
    """Run tasks until the socket closes, also in the middle of one: the engine may be killed."""
    number, seconds = map(int, sys.argv[1:])
    connection = Connection(number)
    decoder = msgspec.msgpack.Decoder(Task)
    encoder = msgspec.msgpack.Encoder()
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            task = decoder.decode(connection.recv_bytes())
        except (EOFError, OSError):
            return
        _limit(task, seconds)
        try:
            answer = encoder.encode(_answer(task))
        except MemoryError:
            answer = encoder.encode(Refused("memory"))
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _answer(task: Task) -> Answer:
    try:
        if isinstance(task, RenderTemplate):
            return RenderedText(render(task))
        if isinstance(task, CheckGrammar):
            # Imported late, because templates and images do not need llguidance.
            from mlx_notebook.engine.sandbox.grammar_check import check_grammar

            check_grammar(task.grammar, task.special, task.width)
            return Checked()
        if isinstance(task, DecodeAudio):
            return Samples(decode_audio(task.data, task.max_seconds))
        image = decode(task.image)
        return Pixels(image.width, image.height, image.tobytes())
    except MemoryError:
        return Refused("memory")
    except TooLong:
        return Refused("too_long")
    except EngineError as error:
        return Refused("error", error.message)
    except Exception as error:  # templates are programs, and files are arbitrary data
        return Refused("error", (str(error) or type(error).__name__)[:_MAX_MESSAGE])


def _limit(task: Task, seconds: int) -> None:
    """Set the limits of the task that begins now."""
    if isinstance(task, CheckGrammar):
        seconds = min(seconds, _GRAMMAR_SECONDS)
    elif isinstance(task, DecodeAudio):
        seconds += int(task.max_seconds * _AUDIO_SHARE)
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
