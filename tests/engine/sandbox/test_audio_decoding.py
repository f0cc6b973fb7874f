import io
from typing import Any

import numpy as np
import pytest

from mlx_notebook.engine.errors import InvalidAudio
from mlx_notebook.engine.sandbox.audio_decoding import RATE, decode_audio
from mlx_notebook.engine.sandbox.sandbox import decode_sound
from tests.tiny_models.audio_models import tone


def encoded(samples: Any, rate: int, format: str, subtype: str | None = None) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def pitch(data: bytes) -> float:
    """The loudest frequency in Hz."""
    samples = np.frombuffer(data, "<i2").astype(float)
    return float(np.fft.rfft(samples).__abs__().argmax() * RATE / len(samples))


@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (16_000, 1), (22_050, 2), (44_100, 2), (48_000, 1)]
)
def test_every_rate_and_number_of_channels_becomes_one_channel(rate: int, channels: int) -> None:
    data = decode_audio(tone(2, rate, channels), 10)
    assert len(data) / 2 / RATE == pytest.approx(2, abs=0.01)
    assert pitch(data) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("format", "subtype"), [("FLAC", "PCM_24"), ("MP3", None), ("OGG", "VORBIS"), ("WAV", "FLOAT")]
)
def test_every_format_is_read(format: str, subtype: str | None) -> None:
    samples = np.sin(np.arange(2 * 44_100) * 2 * np.pi * 440 / 44_100) / 4
    data = decode_audio(encoded(samples, 44_100, format, subtype), 10)
    assert len(data) / 2 / RATE == pytest.approx(2, abs=0.1)
    assert pitch(data) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"RIFF nothing else", "damaged; WAV, MP3, FLAC"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "its format is MP4"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), "its format is WebM"),
        (tone(0), "it has no samples"),
        (tone(1)[:44], "promises 32,000 bytes of samples and 0 are there"),
        (tone(1)[:60], "promises 32,000 bytes of samples and 16 are there"),
        (tone(1)[:40], "damaged; WAV, MP3, FLAC"),
    ],
)
def test_a_file_that_is_no_sound_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(InvalidAudio, match=why):
        decode_audio(data, 10)


def test_a_wav_file_from_a_pipe_says_no_length_and_is_read() -> None:
    data = tone(1)
    piped = data[:40] + b"\xff\xff\xff\xff" + data[44:]
    assert decode_audio(piped, 10) == decode_audio(data, 10)
    assert decode_audio(data[:-1], 10)


def test_ogg_opus_is_refused_by_name() -> None:
    data = encoded(np.zeros(48_000), 48_000, "OGG", "OPUS")
    with pytest.raises(InvalidAudio, match="its format is Ogg Opus"):
        decode_audio(data, 10)


def test_decoding_stops_at_the_longest_length() -> None:
    assert decode_audio(tone(2), 2)
    with pytest.raises(InvalidAudio, match=r"longer than 1.5 seconds.*max_audio_seconds"):
        decode_audio(tone(2), 1.5)


def test_files_are_decoded_in_the_sandbox() -> None:
    assert decode_sound(tone(1), 10, "file") == decode_audio(tone(1), 10)
    with pytest.raises(InvalidAudio) as caught:
        decode_sound(b"nothing", 10, "file")
    assert caught.value.param == "file"
