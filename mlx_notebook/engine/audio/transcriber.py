"""Transcribe a sound window by window: where a segment ends, the next window begins."""

from collections.abc import Generator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt.models.whisper.audio import FRAMES_PER_SECOND, N_FRAMES, SAMPLE_RATE
from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES

from mlx_notebook.engine.audio.spectrogram import spectrogram
from mlx_notebook.engine.audio.window_decoding import Window, decode_window, encode
from mlx_notebook.engine.audio.word_times import word_times
from mlx_notebook.protocol import (
    Event,
    Heard,
    SpokenWord,
    Transcribe,
    Transcribed,
    TranscriptSegment,
)

T = TypeVar("T")

# Above this temperature a window's text is no context for the next one.
_HOTTEST_CONTEXT = 0.5


@dataclass(frozen=True)
class _Piece:
    """A segment of a window: begin and end in positions of the encoder, and its tokens."""

    start: int
    end: int
    tokens: list[int]


class Transcriber:
    """The transcription of one sound.

    Parameters
    ----------
    model
        mlx-audio's Whisper, in memory.
    command, samples
        What to do, and the sound at `SAMPLE_RATE`.
    workers
        Find the times of words (see `word_times`).

    Attributes
    ----------
    seconds
        Length of the sound.
    tokens
        How many tokens were generated so far.
    language
        Name of the language; empty until it is known.
    """

    def __init__(
        self,
        model: Any,
        command: Transcribe,
        samples: npt.NDArray[np.int16],
        workers: Executor,
    ):
        self._model, self._command, self._workers = model, command, workers
        self._samples = samples
        self.seconds = len(samples) / SAMPLE_RATE
        self._frames = len(samples) * FRAMES_PER_SECOND // SAMPLE_RATE
        self._stride = N_FRAMES // model.dims.n_audio_ctx
        self.tokens = 0
        self.language = ""

    def events(self) -> Generator[list[Event], None, None]:
        """Yield after each step the events that it made; most make none."""
        model, command = self._model, self._command
        mel = yield from _silent(spectrogram(self._samples, model.dims.n_mels))
        yield [Heard(command.id, 0.0, self.seconds)]
        code = command.language
        context: list[int] = []
        seek = 0
        while seek < self._frames:
            size = min(N_FRAMES, self._frames - seek)
            features = yield from _silent(encode(model.encoder, self._window(mel, seek, size)))
            if code is None:
                code = self._spoken(features)
            tokenizer = model.get_tokenizer(code, self._task)
            if not self.language:
                self.language = LANGUAGES.get(code, code)
                context = tokenizer.encode(f" {command.context}") if command.context else []
            options = {
                "language": code,
                "task": self._task,
                "prompt": context,
                "fp16": model.dtype == mx.float16,
            }
            decoding = decode_window(model, features, options, command.temperature)
            window = yield from _silent(decoding)
            self.tokens += window.attempts
            if window.is_silent:
                seek += size
            else:
                pieces, advance = _pieces(
                    window.tokens, tokenizer.timestamp_begin, size // self._stride
                )
                yield from self._segments(window, pieces, tokenizer, features, seek, size)
                hot = window.temperature > _HOTTEST_CONTEXT
                context = [] if hot else context + [t for p in pieces for t in p.tokens]
                seek += min(size, advance * self._stride) or size
            done = min(seek, self._frames) / FRAMES_PER_SECOND
            yield [Heard(command.id, done, self.seconds)]

    @property
    def _task(self) -> str:
        return "translate" if self._command.translate else "transcribe"

    def _window(self, mel: mx.array, seek: int, size: int) -> mx.array:
        """Return the spectrogram of a window, without what follows the sound."""
        window = mel[seek : seek + size].astype(self._model.dtype)
        return mx.pad(window, [(0, N_FRAMES - size), (0, 0)])

    def _spoken(self, features: mx.array) -> str:
        """Return the code of the language that is spoken."""
        if not self._model.is_multilingual:
            return "en"
        _, probabilities = self._model.detect_language(features)
        return str(max(probabilities[0], key=probabilities[0].__getitem__))

    def _segments(
        self,
        window: Window,
        pieces: list[_Piece],
        tokenizer: Any,
        features: mx.array,
        seek: int,
        size: int,
    ) -> Generator[list[Event], None, None]:
        """Yield the segments of a window. Those without text are left out."""
        offset, second = seek / FRAMES_PER_SECOND, self._stride / FRAMES_PER_SECOND
        texts = [[t for t in piece.tokens if t < tokenizer.eot] for piece in pieces]
        words: list[Any] = []
        if self._command.words and any(texts):
            together = [token for text in texts for token in text]
            times = word_times(
                self._model,
                tokenizer,
                together,
                features,
                size / FRAMES_PER_SECOND,
                self._workers,
            )
            words = yield from _silent(times)
        for piece, text in zip(pieces, texts, strict=True):
            own: list[SpokenWord] = []
            left = len(text)
            while words and left > 0:
                word = words.pop(0)
                left -= len(word.tokens)
                if word.word:
                    begin, end = _rounded(offset + word.start), _rounded(offset + word.end)
                    own.append(SpokenWord(word.word, begin, end, word.probability))
            written = tokenizer.decode(text)
            if not written.strip():
                continue
            yield [
                TranscriptSegment(
                    self._command.id,
                    seek,
                    _rounded(offset + piece.start * second),
                    _rounded(min(self.seconds, offset + piece.end * second)),
                    written,
                    piece.tokens,
                    window.temperature,
                    window.logprob,
                    window.compression,
                    window.no_speech,
                    own,
                )
            ]

    def end(self, working: float) -> Transcribed:
        """Return the last event; `working` is how many seconds it took."""
        return Transcribed(self._command.id, self.language, self.seconds, self.tokens, working)


def _silent(work: Generator[None, None, T]) -> Generator[list[Event], None, T]:
    """Do work that makes no events."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        yield []


def _pieces(tokens: list[int], first: int, whole: int) -> tuple[list[_Piece], int]:
    """Cut a window's tokens into segments.

    Two times in a row are the end of a segment and the begin of the next one. What follows the last
    such place is unfinished, and is heard again in the next window, unless the text ends with a
    single time.

    Parameters
    ----------
    first
        The first token that stands for a time.
    whole
        Length of the window in positions.

    Returns
    -------
    pieces, advance
        The segments, and after how many positions the next window begins; 0: after this one.
    """
    is_time = [token >= first for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    ends_alone = is_time[-2:] == [False, True]
    if not cuts:
        last = next((t - first for t in reversed(tokens) if t > first), whole)
        return [_Piece(0, last, tokens)] if tokens else [], 0
    if ends_alone:
        cuts.append(len(tokens))
    pieces, begin = [], 0
    for cut in cuts:
        part = tokens[begin:cut]
        pieces.append(_Piece(part[0] - first if part[0] >= first else 0, part[-1] - first, part))
        begin = cut
    return pieces, 0 if ends_alone else pieces[-1].end


def _rounded(seconds: float) -> float:
    return round(float(seconds), 3)
