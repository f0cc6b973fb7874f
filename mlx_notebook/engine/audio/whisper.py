"""mlx-audio's Whisper, loaded from a folder; its tokens are looked up once."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_audio.stt.models.whisper.whisper import HFTokenizerWrapper, Model, ModelDimensions

from mlx_notebook.engine.audio.audio_weights import use_weights


class WhisperTokens(HFTokenizerWrapper):
    """The tokens of a language and a task. To look one up may copy the whole vocabulary."""

    @cached_property
    def eot(self) -> int:
        """The token that ends a text."""
        return int(super().eot)

    @cached_property
    def timestamp_begin(self) -> int:
        """The first token that stands for a time."""
        return int(super().timestamp_begin)

    @cached_property
    def no_speech(self) -> int | None:
        """The token for a window in which nobody speaks."""
        found: int | None = super().no_speech
        return found

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """The tokens of signs that are not spoken."""
        return tuple(super().non_speech_tokens)

    @cached_property
    def all_language_tokens(self) -> tuple[int, ...]:
        """The tokens of all languages."""
        return tuple(super().all_language_tokens)


class Whisper(Model):
    """A Whisper model. `use` gives it its tokenizer."""

    def use(self, tokenizer: Any) -> None:
        """Take a tokenizer."""
        self._tokenizer = tokenizer
        self._known: dict[tuple[str | None, str], WhisperTokens] = {}

    def get_tokenizer(self, language: str | None = None, task: str = "transcribe") -> WhisperTokens:
        """Return the tokens of a language, given by its code, and a task."""
        key = language, task
        if key not in self._known:
            self._known[key] = WhisperTokens(
                self._tokenizer, self.is_multilingual, self.num_languages, language, task
            )
        return self._known[key]


def read_whisper(path: Path, config: dict[str, Any]) -> Whisper:
    """Return the model of a folder, with weights that are not in memory yet."""
    # On a CPU only products of 32 bits are fast (see `model_loader.adapt_to_device`).
    dtype = mx.float32 if mx.default_device() == mx.cpu else mx.float16
    model = Whisper(ModelDimensions.from_dict(config), dtype)
    use_weights(model, path, config)
    if (heads := _alignment_heads(path / "generation_config.json")) is not None:
        model.set_alignment_heads(heads)
    return model


def _alignment_heads(file: Path) -> list[list[int]] | None:
    """Return the heads of the decoder that follow the sound, if the model's files name them."""
    if not file.is_file():
        return None
    heads = json.loads(file.read_text(encoding="utf-8")).get("alignment_heads")
    return heads if isinstance(heads, list) and heads else None
