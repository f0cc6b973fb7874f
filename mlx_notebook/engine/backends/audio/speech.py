"""The backend of models that read texts aloud: mlx-audio's Soprano.

`selection` imports it when the first such model is loaded, since mlx-audio takes seconds.
"""

import json
import math
import time
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_audio.tts.models.soprano.soprano import DecoderConfig, Model, ModelConfig
from scipy.signal import resample_poly

from mlx_notebook.engine.audio.audio_weights import use_weights
from mlx_notebook.engine.audio.sound_files import RATE, Samples16, check_format, sound_file
from mlx_notebook.engine.backends.audio.audio_backend import SpeakingBackend
from mlx_notebook.engine.backends.backend import LoadStep
from mlx_notebook.engine.backends.model_loader import loading
from mlx_notebook.engine.backends.single_purpose import load_with_tokenizer
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.protocol import Event, ModelOptions, Speak, SpeechAudio, Spoken

# Most tokens of a sentence, as the library has it: half a minute of sound.
_MAX_TOKENS = 512
# Bytes of a file in one event.
_PIECE = 2**18
_PAUSE = 0.001
# Samples: a hundredth of a second.
_SILENCE = RATE // 100


class SopranoBackend(SpeakingBackend):
    """A Soprano model in memory. It has one voice."""

    def __init__(self, name: str, model: Any, tokenizer: Any, workers: Executor) -> None:
        super().__init__(name, model, tokenizer, model.config.max_position_embeddings)
        self._workers = workers

    def check_speech(self, command: Speak) -> None:
        """Check the voice, the speed and the format."""
        if command.voice is not None:
            raise InvalidRequest(
                f"{self.name} has one voice only: leave 'voice' out, or give 'default'.", "voice"
            )
        if command.speed != 1:
            raise InvalidRequest(
                f"{self.name} speaks at its own speed only: leave 'speed' out.", "speed"
            )
        check_format(command.format)

    def speak(self, command: Speak) -> Generator[list[Event], None, Event]:
        """Read a text aloud, a token at a time. Sound comes with the end of each sentence."""
        began, working, samples, prompt, tokens = time.perf_counter(), 0.0, 0, 0, 0
        parts: list[Samples16] = []
        for text in self._sentences(command.text):
            states = []
            fed = self._model._tokenize(text)
            prompt += len(fed)
            for token, state in self._model.stream_generate(fed, max_tokens=_MAX_TOKENS):
                tokens += token is not None
                states.append(state)
                working += time.perf_counter() - began
                yield []
                began = time.perf_counter()
            if len(states) == 1:  # the sentence ended before it began
                continue
            parts.append(self._sound(states))
            samples += len(parts[-1])
            if command.format == "pcm":
                yield [SpeechAudio(command.id, sound_file(parts.pop(), "pcm"))]
        if command.format != "pcm":
            # A file that players read has some samples, even if the model says nothing.
            whole = np.concatenate(parts) if parts else np.zeros(_SILENCE, np.int16)
            made = self._workers.submit(sound_file, whole, command.format)
            while not made.done():
                time.sleep(_PAUSE)
                yield []
            data = made.result()
            for begin in range(0, len(data), _PIECE):
                yield [SpeechAudio(command.id, data[begin : begin + _PIECE])]
        working += time.perf_counter() - began
        return Spoken(command.id, samples / RATE, prompt, tokens, working)

    def _sentences(self, text: str) -> list[str]:
        """Return the prompts for the sentences of a text."""
        lines = [line for line in text.split("\n") if line.strip()]
        return [prompt for prompt, _, _ in self._model._preprocess_text(lines)] if lines else []

    def _sound(self, states: list[mx.array]) -> Samples16:
        """Return the sound of a sentence at `RATE`, from the hidden states of its tokens."""
        model = self._model
        wave = model.decoder(mx.concatenate(states, axis=1).astype(mx.float32))[0]
        size = (len(states) - 1) * model.config.decoder_config.token_size
        heard = np.nan_to_num(np.array(wave[-size:].astype(mx.float32)))
        shared = math.gcd(RATE, model.sample_rate)
        scaled = resample_poly(heard, RATE // shared, model.sample_rate // shared)
        samples: Samples16 = (np.clip(scaled, -1, 1) * 32767).astype(np.int16)
        return samples


def load(
    name: str, path: Path, options: ModelOptions, workers: Executor
) -> Generator[LoadStep, None, SopranoBackend]:
    """Load a Soprano model in slices (see `selection.load`). Nothing is fetched for it.

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model, tokenizer = yield from load_with_tokenizer(
            path, config, options, workers, lambda: _read_soprano(path, config)
        )
        model.tokenizer = tokenizer
        model.post_load_hook(path)
        return SopranoBackend(name, model, tokenizer, workers)


def _read_soprano(path: Path, config: dict[str, Any]) -> Any:
    """Return a model with weights that are not read yet."""
    if config.get("tie_word_embeddings"):
        raise ValueError("its words share their weights, which this architecture cannot.")
    model = Model(_settings(config, path))
    use_weights(model, path, config)
    if mx.default_device() == mx.cpu:
        model.set_dtype(mx.float32)
    return model


def _settings(config: dict[str, Any], path: Path) -> Any:
    """Return a model's settings. The library tells versions apart by the name of the folder."""
    decoder = config.get("decoder_config")
    given = {**config, "model_path": str(path)}
    if isinstance(decoder, dict):
        given["decoder_config"] = DecoderConfig.from_dict(decoder)
    return ModelConfig.from_dict(given)
