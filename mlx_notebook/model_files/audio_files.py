"""Models of sound, according to their files. Server and engine use the same rule."""

from collections.abc import Mapping
from typing import Any

# Model types of mlx-audio that write what is spoken.
_TRANSCRIBERS = ("whisper",)
# Those that read texts aloud: they need no program that turns texts into phonemes.
_SPEAKERS = ("soprano",)
# The smallest vocabulary of a Whisper model that knows several languages.
_MULTILINGUAL = 51865


def is_transcriber(config: Mapping[str, Any]) -> bool:
    """Return whether a model turns speech into text, and mlx-audio can run it."""
    return config.get("model_type") in _TRANSCRIBERS


def is_speaker(config: Mapping[str, Any]) -> bool:
    """Return whether a model reads texts aloud, and mlx-audio can run it."""
    return config.get("model_type") in _SPEAKERS


def audio_capabilities(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a model of sound can do."""
    if is_speaker(config):
        return ("speech",)
    size = config.get("vocab_size", config.get("n_vocab"))
    translates = isinstance(size, int) and size >= _MULTILINGUAL
    return ("transcription", "translation") if translates else ("transcription",)


def working_numbers(config: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return how much a transcription keeps for each token that it may write, and the most tokens.

    The first is in numbers: the keys and values of the text, and those of the sound of 30 seconds.
    """

    def number(*keys: str) -> int:
        found = (config.get(key) for key in keys)
        return next((value for value in found if isinstance(value, int) and value > 0), 0)

    layers, width = number("decoder_layers", "n_text_layer"), number("d_model", "n_text_state")
    most = number("max_target_positions", "n_text_ctx") or None
    sound = number("max_source_positions", "n_audio_ctx")
    return 2 * layers * width * (1 + sound // (most or 1)), most
