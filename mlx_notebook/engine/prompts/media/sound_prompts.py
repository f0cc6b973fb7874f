"""Sounds in prompts: tokens for a file of sound, by the model's template and processor."""

import hashlib
import inspect
import threading
from typing import Any

import numpy as np
from mlx_vlm.utils import process_inputs_with_fallback

from mlx_notebook.engine.errors import InvalidAudio, InvalidRequest
from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ProcessedImage
from mlx_notebook.engine.prompts.media.media_tokens import (
    content_keys,
    find_placeholder,
    model_inputs,
    split_tokens,
)
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.engine.sandbox.audio_decoding import RATE
from mlx_notebook.engine.sandbox.sandbox import decode_sound
from mlx_notebook.protocol import EncodedSound

_PLACEHOLDERS = ("<|audio|>", "<audio_soft_token>", "<audio>")


class SoundReader:
    """Reads the sounds of prompts for a model that hears. Used on worker threads.

    Parameters
    ----------
    tokenizer, processor
        The model's tokenizer and mlx-vlm's processor.
    audio_token
        The model's token for a patch of sound.
    base
        The first number that is no token.
    cache
        The cache of processed images and sounds.
    lock
        Held while the processor works.

    Raises
    ------
    InvalidRequest
        If the model's chat template or its processor does not support sounds.
    """

    def __init__(
        self,
        tokenizer: Any,
        processor: Any,
        audio_token: int,
        base: int,
        cache: ImageCache,
        lock: threading.Lock,
    ):
        self._tokenizer, self._processor, self._cache = tokenizer, processor, cache
        self._audio_token, self._base, self._lock = audio_token, base, lock
        named = getattr(processor, "audio_token", None)
        self.placeholder = find_placeholder(tokenizer, "audio", audio_token, [named], _PLACEHOLDERS)
        extractor = getattr(processor, "feature_extractor", None)
        if extractor is None or getattr(extractor, "sampling_rate", None) != RATE:
            raise InvalidRequest(f"its processor takes no sound of {RATE:,} samples a second")
        # What is longer than this, the extractor cuts off.
        most = inspect.signature(extractor.__call__).parameters.get("max_length")
        self._most = most.default if most is not None and isinstance(most.default, int) else None

    def process(self, sound: EncodedSound, salt: str = "") -> ProcessedImage:
        """Decode and preprocess a sound, unless it is in the cache.

        Only prompts with the same `salt` share it, since the time tells whether it was there.
        """
        deadline.current().check()
        content = hashlib.sha256(b"sound\0" + sound.data).digest()
        return self._cache.get(salt.encode() + content, lambda: self._process(sound))

    def _process(self, sound: EncodedSound) -> ProcessedImage:
        data = decode_sound(sound.data, sound.max_seconds, sound.where)
        samples = np.frombuffer(data, "<i2").astype(np.float32) / 2**15
        if self._most is not None and len(samples) > self._most:
            raise InvalidAudio(
                f"The sound at {sound.where} has {len(samples) / RATE:.1f} seconds. This model "
                f"hears {self._most / RATE:g} at a time: send shorter pieces.",
                sound.where,
            )
        try:
            with self._lock:  # processors share a tokenizer, which is not thread-safe
                given = process_inputs_with_fallback(
                    self._processor,
                    images=None,
                    audio=[samples],
                    prompts=[self.placeholder.mark],
                    add_special_tokens=False,
                )
            ids = np.array(given["input_ids"]).reshape(-1).tolist()
            before, tokens, after = split_tokens(self._tokenizer, ids, self._audio_token, "audio")
        except Exception as error:  # processors raise exceptions of any kind for unusual shapes
            raise InvalidAudio(
                f"The sound at {sound.where} cannot be played to this model: {error}.", sound.where
            ) from error
        inputs = model_inputs(given)
        keys = content_keys(inputs, tokens, self._audio_token, self._base)
        return ProcessedImage(self._audio_token, tokens, keys, before, after, inputs)
