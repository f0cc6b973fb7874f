"""Run untrusted work in processes that can be killed: templates, images, sound, grammars.

A template is a program, an image may keep a decoder busy for minutes, and a grammar may keep its
compiler busy for ever. Each task has a process to itself. A task that exceeds a limit is ended by
killing its process.
"""

import logging
import os
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
    InvalidAudio,
    InvalidImage,
    InvalidRequest,
    LimitExceeded,
)
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.engine.sandbox.grammar_errors import GrammarError
from mlx_notebook.engine.sandbox.image_decoding import refused
from mlx_notebook.engine.sandbox.jinja_templates import RenderTemplate
from mlx_notebook.engine.sandbox.process import (
    MEMORY,
    Answer,
    CheckGrammar,
    DecodeAudio,
    DecodeImage,
    Pixels,
    Refused,
    RenderedText,
    Samples,
    Task,
)
from mlx_notebook.protocol import EncodedImage

log = logging.getLogger(__name__)

AHEAD = 4 if (os.cpu_count() or 1) >= 8 else 2
"""Processes that are started ahead: as many as the short prompts prepared at a time for a model."""

_MODULE = "mlx_notebook.engine.sandbox.process"
_IDLE = 4
_KEPT_BYTES = 512 * 2**20
_TICK = 0.1
_LONG_SECONDS = 1.0
_LOWEST_PRIORITY = 19
_LAST_SECONDS = 5.0


class SandboxLimitExceeded(Exception):
    """A task exceeded its limit of time or memory. The message is the limit.

    Attributes
    ----------
    out_of_memory
        Whether the limit was that of memory.
    """

    def __init__(self, limit: str, *, out_of_memory: bool = True) -> None:
        super().__init__(limit)
        self.out_of_memory = out_of_memory


class Sandbox:
    """A pool of sandbox processes.

    A process is started when it is needed, or ahead by `start`. Idle processes are kept for later
    tasks: up to `_IDLE`, with less than `_KEPT_BYTES` of memory in all.

    Attributes
    ----------
    seconds
        Processor time of a task.
    """

    def __init__(self, seconds: int = 10) -> None:
        self.seconds = seconds
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start processes for the first tasks."""
        for _ in range(AHEAD):
            process = _Process(self.seconds)
            with self._lock:
                self._idle.append(process)

    def run(self, task: Task) -> Answer:
        """Run a task within the current deadline.

        Raises
        ------
        SandboxLimitExceeded
            If the task takes too much time or memory.
        Cancelled, LimitExceeded
            If the deadline has passed.
        """
        process = self._take()
        try:
            answer = process.do(task)
        except BaseException:
            process.kill()
            raise
        process.idle_bytes = process.nbytes
        with self._lock:
            total = process.idle_bytes + sum(idle.idle_bytes for idle in self._idle)
            if len(self._idle) < _IDLE and total < _KEPT_BYTES and not process.lowered:
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


def render(task: RenderTemplate) -> str:
    """Render a chat template.

    Raises
    ------
    InvalidRequest
        If the template refuses the messages.
    ContextOverflow
        If the text is longer than `task.most`.
    LimitExceeded
        If rendering takes too much time or memory.
    """
    try:
        answer = SANDBOX.run(task)
    except SandboxLimitExceeded as error:
        raise LimitExceeded(
            f"the model's chat template took more than {error}", "messages"
        ) from error
    if isinstance(answer, RenderedText):
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


def decode(image: EncodedImage) -> Image.Image:
    """Decode an image; see `image_decoding.decode`.

    Raises
    ------
    InvalidImage
        If the image cannot be read, or decoding takes too much time or memory.
    """
    try:
        answer = SANDBOX.run(DecodeImage(image))
    except SandboxLimitExceeded as error:
        raise refused(image, f"decoding it took more than {error}") from error
    if isinstance(answer, Pixels):
        return Image.frombytes("RGB", (answer.width, answer.height), answer.data)
    assert isinstance(answer, Refused)
    raise InvalidImage(answer.message, image.where)


def decode_sound(data: bytes, max_seconds: float, param: str) -> bytes:
    """Decode a file of sound; see `audio_decoding.decode_audio`. `param` is the file's parameter.

    Raises
    ------
    InvalidAudio
        If the file cannot be read, is too long, or takes too much time or memory.
    """
    try:
        answer = SANDBOX.run(DecodeAudio(data, max_seconds))
    except SandboxLimitExceeded as error:
        message = f"The file of sound cannot be read: decoding it took more than {error}."
        raise InvalidAudio(message, param) from error
    if isinstance(answer, Samples):
        return answer.data
    assert isinstance(answer, Refused)
    raise InvalidAudio(answer.message, param)


def check_grammar(grammar: str, special: dict[str, int], width: int) -> None:
    """Check that a grammar is safe to compile; see `grammar_check.check_grammar`.

    Raises
    ------
    GrammarError
        If compiling takes too much time or memory, or crashes the compiler.
    EngineError
        If the check itself failed.
    """
    try:
        answer = SANDBOX.run(CheckGrammar(grammar, special, width))
    except SandboxLimitExceeded as error:
        if error.out_of_memory:
            raise GrammarError("it is nested too deeply, or too large: simplify it") from error
        raise GrammarError("it takes too long to compile: simplify it") from error
    if isinstance(answer, Refused):
        raise EngineError(f"the grammar could not be checked: {answer.message}")


class _Process:
    """One sandbox process.

    Attributes
    ----------
    lowered
        Whether the process has the lowest priority, because a task took long.
    idle_bytes
        Memory of the process after its last task, in bytes.
    """

    def __init__(self, seconds: int) -> None:
        self.lowered = False
        self.idle_bytes = 0
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
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def nbytes(self) -> int:
        """Memory of the process in bytes; 0 if it has ended."""
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    def do(self, task: Task) -> Answer:
        """Run a task and return its answer."""
        end = deadline.current()
        try:
            self._connection.send_bytes(_ENCODER.encode(task))
            began = time.monotonic()
            while not self._connection.poll(_TICK):
                end.check()
                if not self.lowered and time.monotonic() - began > _LONG_SECONDS:
                    self._lower()
                if self.nbytes > MEMORY[type(task)]:
                    raise SandboxLimitExceeded(_memory(task))
            answer: Answer = _DECODER.decode(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            status = self._process.wait(_LAST_SECONDS)
            log.warning("a sandbox process ended with status %d", status)
            if status == -signal.SIGXCPU:
                limit = f"{self._seconds} s of processor time"
                raise SandboxLimitExceeded(limit, out_of_memory=False) from error
            raise SandboxLimitExceeded(_memory(task)) from error
        if isinstance(answer, Refused) and answer.kind == "memory":
            raise SandboxLimitExceeded(_memory(task))
        return answer

    def _lower(self) -> None:
        """Give the process the lowest priority."""
        self.lowered = True
        try:
            self._watched.nice(_LOWEST_PRIORITY)
        except psutil.NoSuchProcess:
            log.debug("a sandbox process has ended")

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _memory(task: Task) -> str:
    return f"{MEMORY[type(task)] / 2**30:.0f} GB of memory"


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Answer)

SANDBOX = Sandbox()
"""The sandbox of this process."""
