"""Transcribes or makes the sound of one command, a layer of the model or a token at a time.

Between two steps the scheduler does the steps of other requests.
"""

import time
from collections.abc import Generator

import numpy as np

from mlx_notebook.engine.backends.audio.audio_backend import SpeakingBackend, TranscribingBackend
from mlx_notebook.engine.backends.backend import Backend
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.sandbox.sandbox import decode_sound
from mlx_notebook.protocol import Event, Speak, Transcribe

# Steps that take no longer than this together are done at once.
_SLICE_SECONDS = 0.01


class AudioJob:
    """The work of one `Transcribe` or `Speak` command.

    Parameters
    ----------
    command
        The command.
    work
        Yields the events of each step, and returns the last one.
    """

    def __init__(self, command: Transcribe | Speak, work: Generator[list[Event], None, Event]):
        self.id, self.user, self.patient = command.id, command.user, False
        self._work = work
        self._events: list[Event] = []

    def step(self) -> Event | None:
        """Work for a moment; return the last event after the last piece."""
        end = time.perf_counter() + _SLICE_SECONDS
        try:
            while True:
                self._events += next(self._work)
                if time.perf_counter() >= end:
                    return None
        except StopIteration as done:
            last: Event = done.value
            return last

    def take_events(self) -> list[Event]:
        """Return the events that the last step made, without the last one of the job."""
        events, self._events = self._events, []
        return events


def transcription(command: Transcribe, backend: Backend) -> AudioJob:
    """Decode the sound of a command, and return the job.

    Raises
    ------
    InvalidRequest
        If the model cannot do what the command asks for.
    InvalidAudio
        If the sound cannot be read or is too long.
    """
    if not isinstance(backend, TranscribingBackend):
        raise InvalidRequest(f"{backend.name} does not transcribe speech.", "model")
    backend.check(command)
    data = decode_sound(command.audio, command.max_seconds, "file")
    return AudioJob(command, backend.transcribe(command, np.frombuffer(data, "<i2")))


def speech(command: Speak, backend: Backend) -> AudioJob:
    """Check a command, and return the job.

    Raises
    ------
    InvalidRequest
        If the model, or what is installed, cannot do what the command asks for.
    """
    if not isinstance(backend, SpeakingBackend):
        raise InvalidRequest(f"{backend.name} does not speak.", "model")
    backend.check_speech(command)
    return AudioJob(command, backend.speak(command))
