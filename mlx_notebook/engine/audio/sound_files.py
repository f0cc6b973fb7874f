"""Files of sound from samples: WAV, and with the library soundfile FLAC, MP3 and Opus."""

import io
import wave
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.protocol import SpeechFormat

RATE = 24_000
"""Samples per second of the sound that is made."""

Samples16 = npt.NDArray[np.int16]

# soundfile's names of formats.
_NAMES = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS")}


def check_format(format: SpeechFormat) -> None:
    """Check that files of a format can be made.

    Raises
    ------
    InvalidRequest
        If what makes them is not installed.
    """
    if format not in _NAMES:
        return
    name, kind = _NAMES[format]
    if find_spec("soundfile") is None:
        raise InvalidRequest(
            f"'response_format' is {format!r}, which needs the Python package soundfile: "
            "pip install 'mlx-notebook[audio]' for the server, or ask for 'wav' or 'pcm'.",
            "response_format",
        )
    import soundfile

    if kind not in soundfile.available_subtypes(name):
        raise InvalidRequest(
            f"'response_format' is {format!r}, which this machine's libsndfile "
            f"{soundfile.__libsndfile_version__} does not write: ask for 'wav' or 'pcm'.",
            "response_format",
        )


def sound_file(samples: Samples16, format: SpeechFormat) -> bytes:
    """Return samples at `RATE` as the bytes of a file; `pcm` is the samples alone."""
    if format == "pcm":
        return samples.astype("<i2").tobytes()
    file = io.BytesIO()
    if format == "wav":
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(RATE)
            writer.writeframes(samples.astype("<i2").tobytes())
        return file.getvalue()
    import soundfile

    name, kind = _NAMES[format]
    soundfile.write(file, samples, RATE, format=name, subtype=kind)
    return file.getvalue()
