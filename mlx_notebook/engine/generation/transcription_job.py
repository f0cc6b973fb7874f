"""Transcribes the sound of one command, a layer of the model or a token at a time.

Between two steps the scheduler does the steps of other requests.
"""

import time
from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backends.backend import Backend, TranscribingBackend
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.sandbox.sandbox import decode_sound
from mlx_notebook.protocol import Event, Transcribe

# Steps that take no longer than this together are done at once.
_SLICE_SECONDS = 0.01


class TranscriptionJob:
    """The work of one `Transcribe` command.

    Parameters
    ----------
    command, backend
        The command and the model to run it on.
    samples
        Its sound, as `sandbox.audio_decoding` decodes it.
    """

    def __init__(
        self, command: Transcribe, backend: TranscribingBackend, samples: npt.NDArray[np.int16]
    ):
        self.id, self.user = command.id, command.user
        self._work: Generator[list[Event], None, Event] = backend.transcribe(command, samples)
        self._events: list[Event] = []

    def step(self) -> Event | None:
        """Transcribe for a moment; return the last event after the last piece."""
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


def transcription(command: Transcribe, backend: Backend) -> TranscriptionJob:
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
    return TranscriptionJob(command, backend, np.frombuffer(data, "<i2"))
