"""What the engine asks of a model of sound."""

from abc import abstractmethod
from collections.abc import Generator

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.backends.single_purpose import SinglePurposeBackend
from mlx_notebook.protocol import Event, Speak, Transcribe


class TranscribingBackend(SinglePurposeBackend):
    """A model in memory that turns speech into text."""

    purpose = "writes what is spoken: use v1/audio/transcriptions"

    @abstractmethod
    def check(self, command: Transcribe) -> None:
        """Check that this model can do what a command asks for. Called on worker threads.

        Raises
        ------
        InvalidRequest
            If it cannot.
        """

    @abstractmethod
    def transcribe(
        self, command: Transcribe, samples: npt.NDArray[np.int16]
    ) -> Generator[list[Event], None, Event]:
        """Yield the events of each step, a layer of the model or a token; return the last event."""


class SpeakingBackend(SinglePurposeBackend):
    """A model in memory that reads texts aloud."""

    purpose = "reads texts aloud: use v1/audio/speech"

    @abstractmethod
    def check_speech(self, command: Speak) -> None:
        """Check that this model can do what a command asks for. Called on worker threads.

        Raises
        ------
        InvalidRequest
            If it cannot, or what makes files of the format is not installed.
        """

    @abstractmethod
    def speak(self, command: Speak) -> Generator[list[Event], None, Event]:
        """Yield the events of each step, for most of them a token; return the last event."""
