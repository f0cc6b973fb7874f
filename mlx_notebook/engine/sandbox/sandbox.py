"""Chat templates, images and grammars of strangers, handled in processes that can be stopped.

A template is a program, an image may take a decoder minutes, and a grammar may keep its compiler
busy for ever. Each task has a process to itself. A task that takes too much is stopped by ending
its process.
"""

import logging
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Pipe
from typing import Any

import msgspec
import psutil
from PIL import Image

from mlx_notebook.engine.errors import (
    ContextOverflow,
    EngineError,
    InvalidImage,
    InvalidRequest,
    LimitExceeded,
)
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.engine.sandbox.image_decoding import refused
from mlx_notebook.engine.sandbox.jinja_templates import Render
from mlx_notebook.engine.sandbox.process import (
    MEMORY,
    Answer,
    DecodeImage,
    Pixels,
    Refused,
    Task,
    Text,
    TryGrammar,
)
from mlx_notebook.protocol import EncodedImage

log = logging.getLogger(__name__)

_MODULE = "mlx_notebook.engine.sandbox.process"
_IDLE = 2
_KEPT_BYTES = 256 * 2**20
_TICK = 0.1
_LONG_SECONDS = 1.0
_LOWEST_PRIORITY = 19
_LAST_SECONDS = 5.0


class TookTooMuch(Exception):
    """A task took more time or memory than it may; the message says how much that is.

    Attributes
    ----------
    in_time
        Whether it was too much memory rather than too much time.
    """

    def __init__(self, limit: str, *, in_time: bool = True) -> None:
        super().__init__(limit)
        self.in_time = in_time


class Sandbox:
    """Processes for tasks; those that are done with one take the next.

    `_IDLE` of them are kept, and started when first needed.

    Attributes
    ----------
    seconds
        Processor time that a task may take.
    """

    def __init__(self, seconds: int = 10) -> None:
        self.seconds = seconds
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def run(self, task: Task) -> Answer:
        """Do a task within the current deadline.

        Raises
        ------
        TookTooMuch
            If it takes more than a task may have.
        Cancelled, LimitExceeded
            If the deadline has passed.
        """
        process = self._take()
        try:
            answer = process.do(task)
        except BaseException:
            process.kill()
            raise
        with self._lock:
            if len(self._idle) < _IDLE and process.nbytes < _KEPT_BYTES and not process.lowered:
                self._idle.append(process)
                return answer
        process.kill()
        return answer

    def _take(self) -> "_Process":
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.kill()
        return _Process(self.seconds)


def render(task: Render) -> str:
    """Render a chat template.

    Raises
    ------
    InvalidRequest
        If the template refuses the messages.
    ContextOverflow
        If the text has more characters than it may have.
    LimitExceeded
        If it takes too much time or memory.
    """
    try:
        answer = SANDBOX.run(task)
    except TookTooMuch as error:
        raise LimitExceeded(
            f"the model's chat template took more than {error}", "messages"
        ) from error
    if isinstance(answer, Text):
        return answer.text
    assert isinstance(answer, Refused)
    if answer.kind == "too_long":
        raise ContextOverflow(
            f"The prompt has more than {task.most} characters, which is more than fits this "
            "model's context. Shorten the messages.",
            "messages",
        )
    raise InvalidRequest(
        f"the model's chat template refuses these messages: {answer.message}", "messages"
    )


def decode(picture: EncodedImage) -> Image.Image:
    """Decode an image (see `pictures.decode`).

    Raises
    ------
    InvalidImage
        If it cannot be read, or takes too much time or memory.
    """
    try:
        answer = SANDBOX.run(DecodeImage(picture))
    except TookTooMuch as error:
        raise refused(picture, f"decoding it took more than {error}") from error
    if isinstance(answer, Pixels):
        return Image.frombytes("RGB", (answer.width, answer.height), answer.data)
    assert isinstance(answer, Refused)
    raise InvalidImage(answer.message, picture.where)


def try_grammar(grammar: str, special: dict[str, int], width: int) -> None:
    """Compile a grammar where it can do no harm (see `trial.attempt`).

    Raises
    ------
    GrammarError
        If it takes too much time or memory, or crashes the compiler.
    EngineError
        If it could not be tried.
    """
    try:
        answer = SANDBOX.run(TryGrammar(grammar, special, width))
    except TookTooMuch as error:
        if error.in_time:
            raise GrammarError("it is nested too deeply, or too large: simplify it") from error
        raise GrammarError("it takes too long to compile: simplify it") from error
    if isinstance(answer, Refused):
        raise EngineError(f"the grammar could not be tried: {answer.message}")


class _Process:
    """One sandbox process.

    Attributes
    ----------
    lowered
        Whether it runs at the lowest priority from now on, since a task took long.
    """

    def __init__(self, seconds: int) -> None:
        self.lowered = False
        self._seconds = seconds
        self._connection, theirs = Pipe()
        arguments = str(theirs.fileno()), str(seconds)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._watched = psutil.Process(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes; 0 where it has ended."""
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    def do(self, task: Task) -> Answer:
        """Do a task."""
        end = deadline.current()
        try:
            self._connection.send_bytes(_ENCODER.encode(task))
            began = time.monotonic()
            while not self._connection.poll(_TICK):
                end.check()
                if not self.lowered and time.monotonic() - began > _LONG_SECONDS:
                    self._lower()
                if self.nbytes > MEMORY[type(task)]:
                    raise TookTooMuch(_memory(task))
            answer: Answer = _DECODER.decode(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            status = self._process.wait(_LAST_SECONDS)
            log.warning("a sandbox process ended with status %d", status)
            if status == -signal.SIGXCPU:
                limit = f"{self._seconds} s of processor time"
                raise TookTooMuch(limit, in_time=False) from error
            raise TookTooMuch(_memory(task)) from error
        if isinstance(answer, Refused) and answer.kind == "memory":
            raise TookTooMuch(_memory(task))
        return answer

    def _lower(self) -> None:
        """Let everything else on the machine go first."""
        self.lowered = True
        try:
            self._watched.nice(_LOWEST_PRIORITY)
        except psutil.NoSuchProcess:
            log.debug("a sandbox process has ended")

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _memory(task: Task) -> str:
    return f"{MEMORY[type(task)] / 2**30:.0f} GB of memory"


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Answer)

SANDBOX = Sandbox()
"""The one that this process uses."""
