"""Objects of a notebook as files of sound."""

import io
import os
import wave
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NotebookError

_TAKEN = "Give a path, the bytes of a file, IPython's Audio, or an array of samples with its rate."


def sound_file(sound: Any, rate: int | None) -> bytes:
    """Return an object as the bytes of a file of sound.

    Parameters
    ----------
    sound
        A path, bytes, IPython's `Audio`, or an array of numpy or MLX: of shape (samples,),
        (samples, channels) or (channels, samples), of floats between -1 and 1 or of 16-bit
        integers.
    rate
        Samples per second of an array.

    Raises
    ------
    NotebookError
        If the object is none of these.
    """
    if isinstance(sound, str | os.PathLike):
        path = Path(sound).expanduser()
        try:
            return path.read_bytes()
        except OSError as error:
            raise NotebookError(f"The file {path} cannot be read: {error.strerror}.") from None
    if isinstance(sound, bytes | bytearray | memoryview):
        return bytes(sound)
    if hasattr(sound, "shape") and hasattr(sound, "dtype"):
        return _of_array(sound, rate)
    data = getattr(sound, "data", None)
    if isinstance(data, bytes):
        return data
    raise NotebookError(f"A {type(sound).__name__} is no sound. {_TAKEN}")


def _of_array(samples: Any, rate: int | None) -> bytes:
    """Return an array as a WAV file with one channel."""
    if rate is None or rate <= 0:
        raise NotebookError("An array needs its rate, the samples per second: rate=16000.")
    if not hasattr(samples.dtype, "kind"):
        # An array of MLX, or a tensor.
        import numpy

        samples = numpy.asarray(samples)
    kind = samples.dtype
    if samples.ndim not in (1, 2) or not samples.size or kind.kind not in "fi":
        raise NotebookError(f"An array of shape {samples.shape} and type {kind} is no sound.")
    if kind.kind == "i" and kind.itemsize != 2:
        raise NotebookError(f"Samples are floats or 16-bit integers, and these are {kind}.")
    if samples.ndim == 2:
        # There are always more samples than channels.
        samples = samples.mean(axis=int(samples.shape[0] > samples.shape[1]))
    if kind.kind == "f":
        samples = samples.clip(-1, 1) * 32767
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(int(rate))
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
