"""Decode files of sound with miniaudio: WAV, MP3, FLAC and Ogg Vorbis, up to a length."""

import struct

from mlx_notebook.engine.errors import InvalidAudio

RATE = 16_000
"""Samples per second of decoded sound, as models that transcribe take it."""

_PIECE_SECONDS = 10
# Marks of files that miniaudio does not decode: where they are, what they are, its name.
_OTHERS = (
    (4, b"ftyp", "MP4 (m4a)"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (28, b"OpusHead", "Ogg Opus"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "Core Audio"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)
# From this size on, a WAV file was written to a pipe by a program that did not know its length.
_UNKNOWN_SIZE = 0x7FFF0000
_READ = "WAV, MP3, FLAC and Ogg Vorbis are read"


def decode_audio(data: bytes, max_seconds: float) -> bytes:
    """Return sound as 16-bit integers (little-endian), one channel, `RATE` samples per second.

    Raises
    ------
    InvalidAudio
        If the data is no sound, is damaged or cut off, has no samples, or is too long.
    """
    import miniaudio

    if not data:
        raise _refused("it is empty")
    _check_length(data)
    try:
        pieces = miniaudio.stream_memory(
            data,
            output_format=miniaudio.SampleFormat.SIGNED16,
            nchannels=1,
            sample_rate=RATE,
            frames_to_read=_PIECE_SECONDS * RATE,
        )
    except miniaudio.DecodeError as error:
        raise _refused(_what(data)) from error
    samples = bytearray()
    most = int(max_seconds * RATE) * 2
    try:
        for piece in pieces:
            samples += piece.tobytes()
            if len(samples) > most:
                raise InvalidAudio(
                    f"The file of sound is longer than {max_seconds:g} seconds, the most that this "
                    "server accepts (MlxNotebookApp.max_audio_seconds)."
                )
    except miniaudio.MiniaudioError as error:
        raise _refused(f"it is damaged ({error})") from error
    if not samples:
        raise _refused("it has no samples")
    return bytes(samples)


def _check_length(data: bytes) -> None:
    """Raise InvalidAudio for a WAV file that ends before the samples which its header promises."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return
    at, frame = 12, 1
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"fmt " and at + 14 <= len(data):
            (frame,) = struct.unpack_from("<H", data, at + 12)
        if kind == b"data":
            there = len(data) - at
            if size < _UNKNOWN_SIZE and size - there >= max(frame, 1):
                raise _refused(
                    f"it is cut off, because its header promises {size:,} bytes of samples and "
                    f"{there:,} are there"
                )
            return
        at += size + size % 2


def _what(data: bytes) -> str:
    """Return why data that miniaudio does not recognise cannot be read."""
    for place, mark, name in _OTHERS:
        if data[place : place + len(mark)] == mark:
            return f"its format is {name}, and {_READ}: convert it first"
    return f"its format is unknown or it is damaged; {_READ}"


def _refused(why: str) -> InvalidAudio:
    return InvalidAudio(f"The file of sound cannot be read: {why}.")
