"""The vision backend: the text backend with an mlx-vlm model that also takes images.

`selection` imports it when the first vision model is loaded, since mlx-vlm takes two seconds.
"""

import io
import json
import logging
import wave
from collections.abc import Generator
from concurrent.futures import Executor
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_config
from mlx_vlm.models.cache import ArraysCache
from mlx_vlm.utils import load_model
from PIL import Image

from mlx_notebook.engine.backends.backend import LoadStep, Progress, Token, Vectors
from mlx_notebook.engine.backends.model_loader import (
    adapt_to_device,
    loading,
    model_identity,
    open_tokenizer,
    read_parts,
    wait,
)
from mlx_notebook.engine.backends.text import TextBackend
from mlx_notebook.engine.backends.vision.vision_model import VisionModel
from mlx_notebook.engine.backends.vision.vision_processor import open_processor
from mlx_notebook.engine.backends.vision.vision_self_test import rows_keep_apart
from mlx_notebook.engine.errors import (
    AudioNotSupported,
    EngineError,
    LoadFailed,
    VisionNotSupported,
)
from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ImageTokenCache, ImageTokenRow
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.media.image_prompts import ImagePromptBuilder
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.engine.sandbox.audio_decoding import RATE
from mlx_notebook.model_files.architectures import hears
from mlx_notebook.model_files.generation_config import read_sampling_defaults
from mlx_notebook.protocol import (
    ChatPrompt,
    EncodedImage,
    EncodedSound,
    EngineConfig,
    ModelOptions,
    Prompt,
)

log = logging.getLogger(__name__)

_IMAGE_CACHE_SHARE = 40
"""The image cache may hold this part of the device's memory: a fortieth."""


class VisionBackend(TextBackend):
    """A vision model in memory.

    `takes_images` is false if its images cannot be batched. Then it takes texts only. Models that
    hear take sounds as they take images.
    """

    model: VisionModel

    def __init__(self, *args: Any, image_token: int, base: int) -> None:
        super().__init__(*args)
        generator, layers = self._generator, self.empty_cache()
        most_prompts = generator.max_rows
        if not all(hasattr(layer, "merge") for layer in layers):
            raise LoadFailed(
                f"{self.name} cannot be loaded: its caches cannot be batched.", "model"
            )
        recurrent = any(isinstance(layer, ArraysCache) for layer in layers)
        if recurrent:
            # mlx-vlm pads prompts on the left, and its recurrent layers do not mask padding.
            most_prompts = 1
        if not rows_keep_apart(self.model, not recurrent):
            log.warning("%s runs one request at a time: its rows change each other", self.name)
            generator.max_rows = most_prompts = 1
            generator.urgent_rows = generator.patient_rows = 0
        self._most_prompts = most_prompts
        self._image_token, self._base = image_token, base
        self._images = ImageCache(device_memory() // _IMAGE_CACHE_SHARE)
        self._image_prompts: ImagePromptBuilder | None = None
        self._no_images = "The model takes no images."
        self._no_sounds = f"The model {self.name} does not hear."

    def enable_images(self, processor: Any, workers: Executor) -> Generator[LoadStep, None, None]:
        """Find out how the model takes images, with a small grey one."""
        try:
            builder = ImagePromptBuilder(
                self.chat_format, processor, self._image_token, self._base, self._images
            )
            seen = yield from wait(workers.submit(builder.process, _grey()))
            self.model.features(seen)
            self.model.check()
            self.model.positions(seen.tokens, [])
        except EngineError as error:
            log.warning("%s is used without images: %s", self.name, error.message)
            self._no_images = f"{self.name} takes no images here: {error.message}."
            return
        self._images.clear()
        self._image_prompts, self.takes_images = builder, True

    def enable_sounds(self, audio_token: int, workers: Executor) -> Generator[LoadStep, None, None]:
        """Find out how the model takes sound, with half a second of silence."""
        if self._image_prompts is None:
            return
        try:
            reader = self._image_prompts.enable_sounds(audio_token)
            heard = yield from wait(workers.submit(reader.process, _silence()))
            self.model.features(heard)
        except EngineError as error:
            log.warning("%s is used without sound: %s", self.name, error.message)
            self._image_prompts.disable_sounds()
            self._no_sounds = f"{self.name} does not hear here: {error.message}."
            return
        self._images.clear()
        self.takes_sounds = True

    def prepare(
        self, prompt: Prompt, length_limit: LengthLimit | None = None, salt: str | None = None
    ) -> PreparedPrompt:
        """Render and tokenize a prompt and read its images and sounds."""
        if not isinstance(prompt, ChatPrompt) or not (prompt.images or prompt.sounds):
            return super().prepare(prompt, length_limit, salt)
        if self._image_prompts is None and prompt.images:
            raise VisionNotSupported(self._no_images, prompt.images[0].where)
        if prompt.sounds and not self.takes_sounds:
            raise AudioNotSupported(self._no_sounds, prompt.sounds[0].where)
        assert self._image_prompts is not None
        limit = length_limit or self.length_limit
        return self._image_prompts.prepare(prompt, limit, not self.trimmable, salt)

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Return a vector for each tokenized text, in one piece: its caches also hold images."""
        return super().embed(batch, max(chunk, *map(len, batch)))

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running row, then compute one chunk of waiting prompts."""
        self._encode_next_image()
        done = super().step()
        if any(progress.end for progress in done[0]):
            self._images.trim()  # encoded images are larger than their pixels
        return done

    def close(self) -> None:
        """Release everything that holds memory."""
        self._images.clear()
        super().close()

    def _encode_next_image(self) -> None:
        """Encode one image, and begin the prompts whose images are all encoded.

        So the other rows decode a token between two images.
        """
        ready, encoded = 0, False
        for *_, image_tokens in self._generator.waiting_caches[: self._most_prompts]:
            unencoded = image_tokens.unencoded
            if unencoded and not encoded:
                self.model.features(unencoded.pop(0))
                encoded = True
            if unencoded:
                break
            ready += 1
        room = self._most_prompts - self._generator.computing
        self._generator.max_begun = min(ready, max(0, room))

    def _initial_cache(
        self, prompt: PreparedPrompt, cache: list[Any] | None, cached: int
    ) -> list[Any]:
        """Return the cache with this prompt's images in place of those it was computed with."""
        if not prompt.image_spans:
            row = ImageTokenRow(cached)
        else:
            where, delta = self.model.positions(prompt.tokens, prompt.image_spans)
            row = ImageTokenRow(cached, where, delta, prompt.image_spans, len(prompt.tokens))
        layers = cache or self.empty_cache()
        return [*layers[:-1], ImageTokenCache([row])]


def load(
    name: str,
    path: Path,
    options: ModelOptions,
    settings: EngineConfig,
    prefixes: PrefixCache,
    workers: Executor,
) -> Generator[LoadStep, None, VisionBackend]:
    """Load a vision model in slices (see `selection.load`).

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        config = load_config(path)
        trusted = options.trust_remote_code
        tokenizer = workers.submit(_tokenizer, path, config, trusted)
        processor = workers.submit(open_processor, path, trusted)
        identity = workers.submit(model_identity, path, options, version("mlx-vlm"))
        whole = load_model(path, lazy=True)
        adapt_to_device(whole)
        if "cross_attention_states" in signature(type(whole.language_model).__call__).parameters:
            raise ValueError("vision models with cross-attention are not supported")
        done, parts = yield from read_parts(whole, tokenizer, processor, identity)
        image_token = _image_token(whole.config)
        audio_token = _audio_token(whole.config) if hears(config, None) else None
        base = max(len(parts[0]), _vocabulary_size(config), image_token + 1, (audio_token or 0) + 1)
        backend = VisionBackend(
            name,
            VisionModel(whole, image_token, base),
            parts[0],
            config,
            read_sampling_defaults(path),
            options,
            settings,
            prefixes,
            image_token=image_token,
            base=base,
        )
        for _ in backend.enable_images(parts[1], workers):
            yield done
        if audio_token is not None:
            for _ in backend.enable_sounds(audio_token, workers):
                yield done
        for _ in backend.finish_load(parts[2], workers, warm=settings.warm_up):
            yield done
    return backend


def _tokenizer(path: Path, config: dict[str, Any], trust_remote_code: bool) -> Any:
    """Load the tokenizer; older models have the chat template in a file of its own."""
    extra: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    file = path / "chat_template.json"
    if file.is_file():
        extra["chat_template"] = json.loads(file.read_text(encoding="utf-8"))["chat_template"]
    return open_tokenizer(path, config, extra)


def _image_token(config: Any) -> int:
    for name in ("image_token_id", "image_token_index"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    raise ValueError("its config.json names no token for images")


def _audio_token(config: Any) -> int:
    value = getattr(config, "audio_token_id", None)
    if not isinstance(value, int):
        raise ValueError("its config.json names no token for sound")
    return value


def _vocabulary_size(config: dict[str, Any]) -> int:
    sizes = (config.get("vocab_size"), (config.get("text_config") or {}).get("vocab_size"))
    return max((size for size in sizes if isinstance(size, int)), default=0)


def _grey() -> EncodedImage:
    """Return a small grey image."""
    held = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(held, "PNG")
    return EncodedImage(data=held.getvalue(), where="warm-up")


def _silence() -> EncodedSound:
    """Return half a second of silence."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(RATE))
    return EncodedSound(data=held.getvalue(), where="warm-up", max_seconds=1)
