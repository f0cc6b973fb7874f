"""Decode one window of 30 seconds, a layer of the encoder or a token at a time."""

import zlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_audio.stt.models.whisper.decoding import DecodingOptions, DecodingTask, LogitFilter

_RETRIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Temperatures at which a window that came out badly is tried again, as Whisper's authors do."""

# Thresholds of Whisper's authors (whisper/transcribe.py). A text that repeats itself more, or of
# which the model is less sure, is tried again. A window that is more likely silent is left out.
_MOST_COMPRESSED = 2.4
_LEAST_LOGPROB = -1.0
_SILENCE = 0.6


@dataclass(frozen=True)
class Window:
    """What was decoded of a window.

    Attributes
    ----------
    tokens
        Its text and times, as tokens.
    temperature
        At which they were sampled.
    logprob
        Mean log probability of the tokens.
    compression
        How often the text repeats itself: its length by its compressed length, in bytes.
    no_speech
        Probability that nobody speaks.
    attempts
        How many tokens were generated in all, failed attempts included.
    """

    tokens: list[int]
    temperature: float
    logprob: float
    compression: float
    no_speech: float
    attempts: int

    @property
    def is_silent(self) -> bool:
        """Whether nobody speaks in it."""
        return self.no_speech > _SILENCE and self.logprob <= _LEAST_LOGPROB

    @property
    def is_bad(self) -> bool:
        """Whether it should be tried again: it repeats itself, or the model is very unsure."""
        unsure = self.logprob < _LEAST_LOGPROB and not self.is_silent
        return unsure or self.compression > _MOST_COMPRESSED


def encode(encoder: Any, mel: mx.array) -> Generator[None, None, mx.array]:
    """Return what the encoder makes of a window's spectrogram; yield after each layer.

    Shapes: (3000, mels) becomes (1, positions, width).
    """
    hidden = nn.gelu(encoder.conv1(mel[None]))
    hidden = nn.gelu(encoder.conv2(hidden)) + encoder._positional_embedding
    for block in encoder.blocks:
        hidden, _, _ = block(hidden)
        mx.eval(hidden)
        yield
    return encoder.ln_post(hidden)


def decode_window(
    model: Any, features: mx.array, options: dict[str, Any], temperature: float
) -> Generator[None, None, Window]:
    """Decode a window, again at higher temperatures if it comes out badly; yield after each token.

    Parameters
    ----------
    features
        What the encoder made of it.
    options
        Those of mlx-audio's `DecodingOptions`.
    temperature
        0 allows other attempts.
    """
    attempts = 0
    temperatures = (temperature,) if temperature else (0.0, *_RETRIES)
    for one in temperatures:
        task = _WindowTask(model, DecodingOptions(**options, temperature=one))
        window = yield from task.decoded(features, attempts)
        attempts = window.attempts
        if not window.is_bad:
            break
    return window


class _WindowTask(DecodingTask):
    """mlx-audio's decoding of a window, which yields after each token."""

    def __init__(self, model: Any, options: DecodingOptions) -> None:
        super().__init__(model, options)
        if not options.without_timestamps:
            order = _OrderedTimes(self.tokenizer.timestamp_begin, self.sample_begin)
            self.logit_filters.insert(-1, order)

    def decoded(self, features: mx.array, attempts: int) -> Generator[None, None, Window]:
        """Return the window; `attempts` is how many tokens were generated before."""
        tokens = list(self.initial_tokens)
        inputs, total, no_speech = mx.array([tokens]), 0.0, 0.0
        temperature: float = self.options.temperature
        for _ in range(self.sample_len):
            logits = self.inference.logits(inputs, features)
            if len(tokens) == self.sample_begin and self.tokenizer.no_speech is not None:
                at_start = mx.softmax(logits[0, self.sot_index])
                no_speech = float(at_start[self.tokenizer.no_speech].item())
            last = logits[:, -1]
            for logit_filter in self.logit_filters:
                last = logit_filter.apply(last, mx.array([tokens]))
            logprobs = last - mx.logsumexp(last, axis=-1, keepdims=True)
            if temperature:
                chosen = mx.random.categorical(last / temperature)
            else:
                chosen = mx.argmax(last, axis=-1)
            token = int(chosen.item())
            attempts += 1
            total += float(logprobs[0, token].item())
            if token == self.tokenizer.eot:
                break
            tokens.append(token)
            if len(tokens) >= self.n_ctx:
                break
            inputs = mx.array([[token]])
            yield
        written = tokens[self.sample_begin :]
        text = self.tokenizer.decode(written).strip().encode()
        return Window(
            written,
            temperature,
            total / (len(written) + 1),
            len(text) / len(zlib.compress(text)),
            no_speech,
            attempts,
        )


class _OrderedTimes(LogitFilter):
    """Keeps times from running backwards, and segments from being empty.

    Parameters
    ----------
    first
        The first token that stands for a time.
    begin
        Index of the first token that is generated.
    """

    def __init__(self, first: int, begin: int) -> None:
        self._first, self._begin = first, begin

    def apply(self, logits: mx.array, tokens: mx.array) -> mx.array:
        """Forbid the times before the last one."""
        written = tokens[0, self._begin :].tolist()
        times = [token for token in written if token >= self._first]
        if not times:
            return logits
        ends_segment = written[-1] >= self._first and not (
            len(written) < 2 or written[-2] >= self._first
        )
        least = times[-1] if ends_segment else times[-1] + 1
        ids = mx.arange(logits.shape[-1])
        return mx.where((ids >= self._first) & (ids < least), -mx.inf, logits)
