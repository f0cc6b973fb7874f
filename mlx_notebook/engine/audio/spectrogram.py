"""The spectrogram that Whisper hears, computed in pieces.

Format: https://github.com/openai/whisper (whisper/audio.py): logarithms of mel energies, cut off 8
below the loudest place of the whole sound.
"""

from collections.abc import Generator
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES, SAMPLE_RATE
from mlx_audio.utils import hanning, mel_filters, stft

_QUIETEST = 1e-10
_RANGE = 8.0


def spectrogram(samples: npt.NDArray[np.int16], mels: int) -> Generator[None, None, mx.array]:
    """Return the spectrogram of a sound and of 30 seconds of silence after it.

    Parameters
    ----------
    samples
        The sound, `SAMPLE_RATE` samples per second.
    mels
        How many mel bands the model takes.

    Returns
    -------
    Shape (frames, mels), a frame for every 10 ms.
    """
    frames = len(samples) // HOP_LENGTH + N_FRAMES
    filters: Any = mel_filters(SAMPLE_RATE, N_FFT, mels, norm="slaney", mel_scale=None).T
    window = hanning(N_FFT, periodic=True)
    half = N_FFT // 2
    # The first frame is centred on the first sample: what is before it mirrors what follows.
    before = samples[1 : half + 1][::-1]
    padded = np.zeros(half + len(samples) + N_SAMPLES + N_FFT, np.int16)
    padded[half - len(before) : half] = before
    padded[half : half + len(samples)] = samples
    pieces = []
    for first in range(0, frames, N_FRAMES):
        count = min(N_FRAMES, frames - first)
        begin = first * HOP_LENGTH
        piece = padded[begin : begin + (count - 1) * HOP_LENGTH + N_FFT].astype(np.float32) / 32768
        spectrum = stft(
            mx.array(piece), window=window, n_fft=N_FFT, hop_length=HOP_LENGTH, center=False
        )
        energies = spectrum.abs().square() @ filters
        pieces.append(mx.log10(mx.maximum(energies, _QUIETEST)))
        mx.eval(pieces[-1])
        yield
    logs = mx.concatenate(pieces)
    scaled = (mx.maximum(logs, logs.max() - _RANGE) + 4.0) / 4.0
    mx.eval(scaled)
    return scaled
