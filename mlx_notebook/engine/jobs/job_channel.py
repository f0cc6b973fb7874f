"""The connection of a job's process to the server: messages out, the wish to stop in."""

import logging
import os
import signal
import threading
from typing import BinaryIO

import msgspec

from mlx_notebook.protocol import (
    JobMemory,
    JobMessage,
    JobNote,
    JobProgress,
    JobRecord,
    JobStopped,
    JobValue,
    StopJob,
)

log = logging.getLogger(__name__)


class StopWanted(Exception):
    """The server wants the job to end. `keep` says whether what is done so far is kept.

    A job that lets it pass may set `text`: what is kept, and how to go on.
    """

    def __init__(self, keep: bool):
        super().__init__("the job is to stop")
        self.keep, self.text = keep, "The job was stopped."


class JobChannel:
    """Sends the messages of a job, and hears when it is to stop.

    Parameters
    ----------
    source, target
        Pipes from and to the server. The job's spec has been read already.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO):
        self._source, self._target = source, target
        self._encoder = msgspec.json.Encoder()
        self._wish: StopJob | None = None
        self._most_memory = 0

    def listen(self) -> None:
        """Begin to listen. The process ends when the server is gone."""
        threading.Thread(target=self._listen, name="server", daemon=True).start()

    def check(self) -> None:
        """Look whether the job is to stop. Call this often: at each step, each file.

        Raises
        ------
        StopWanted
            If it is. Save what is to be kept, and let it pass.
        """
        if self._wish is not None:
            raise StopWanted(self._wish.keep)

    def send(self, message: JobMessage) -> None:
        """Send a message."""
        self._target.write(self._encoder.encode(message) + b"\n")
        self._target.flush()

    def progress(self, phase: str, done: int = 0, total: int = 0, unit: str = "") -> None:
        """Tell how far the job is; `total` 0: not known."""
        self.send(JobProgress(phase, done, total, unit))

    def record(self, name: str, **values: JobValue) -> None:
        """Add an entry to the job's record `name`, for example a point of a curve."""
        self.send(JobRecord(name, values))

    def note(self, text: str) -> None:
        """Tell the user something, in a sentence."""
        log.info(text)
        self.send(JobNote(text))

    def memory(self, most: int) -> None:
        """Tell the most memory in bytes that was needed, if it has grown by a twentieth."""
        if most > self._most_memory * 1.05:
            self._most_memory = most
            self.send(JobMemory(most))

    def stopped(self, text: str) -> None:
        """Tell that the job was stopped, what is kept, and how to go on. It is the last message."""
        self.send(JobStopped(text))

    def _listen(self) -> None:
        decoder = msgspec.json.Decoder(StopJob)
        for line in self._source:
            self._wish = decoder.decode(line)
        log.warning("the server is gone: the job ends")
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)
