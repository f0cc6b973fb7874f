"""The vision backend: the text backend over a model that also sees.

Only `loading` imports this, once a vision model is to be loaded: mlx-vlm takes two seconds.
"""

import io
import json
import logging
import time
from collections.abc import Generator
from concurrent.futures import Executor
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_config
from mlx_vlm.models.cache import ArraysCache
from mlx_vlm.utils import get_model_and_args, load_image_processor, load_model, load_processor
from PIL import Image

from mlx_notebook.engine.backends import text
from mlx_notebook.engine.backends.backend import Done, Progress, Token, Vectors
from mlx_notebook.engine.backends.vision_model import SeeingModel
from mlx_notebook.engine.backends.vision_self_test import rows_keep_apart
from mlx_notebook.engine.errors import EngineError, LoadFailed, VisionNotSupported, reason
from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ImageTokenCache, ImageTokenRow
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.image_prompts import ImagePromptBuilder
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.engine.prompts.tokenizer_file import check_growth
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.model_files.generation_config import read_sampling_defaults
from mlx_notebook.protocol import ChatPrompt, EncodedImage, EngineConfig, ModelOptions, Prompt

log = logging.getLogger(__name__)

_IMAGE_CACHE_SHARE = 40
"""Pictures may take this part of the device's memory."""


class VisionBackend(text.TextBackend):
    """A model that also sees, in memory (see `Backend`).

    `sees` is false where its pictures cannot be batched; it then writes about texts only.
    """

    model: SeeingModel

    def __init__(self, *args: Any, image_token: int, base: int) -> None:
        super().__init__(*args)
        generator, layers = self._generator, self.empty()
        if not all(hasattr(layer, "merge") for layer in layers):
            raise LoadFailed(
                f"{self.name} cannot be loaded: its caches cannot be batched.", "model"
            )
        recurrent = any(isinstance(layer, ArraysCache) for layer in layers)
        if recurrent:
            # mlx-vlm pads prompts on the left, and its recurrent layers mask nothing else.
            generator.prefill_batch_size = 1
        if not rows_keep_apart(self.model, not recurrent):
            log.warning("%s runs one request at a time: its rows disturb each other", self.name)
            generator.prefill_batch_size = generator.completion_batch_size = 1
        self._most_prompts = generator.prefill_batch_size
        self._image_token, self._base = image_token, base
        self._images = ImageCache(device_memory() // _IMAGE_CACHE_SHARE)
        self._image_prompts: ImagePromptBuilder | None = None
        self._blind = "The model takes no images."

    def open_eyes(self, processor: Any, workers: Executor) -> Generator[Done, None, None]:
        """Find out how this model is shown pictures, by a small grey one."""
        try:
            builder = ImagePromptBuilder(
                self.chat_format, processor, self._image_token, self._base, self._images
            )
            seen = yield from text.wait(workers.submit(builder.process, _grey()))
            self.model.features(seen)
            self.model.check()
            self.model.positions(seen.tokens, [])
        except EngineError as error:
            log.warning("%s is used without its eyes: %s", self.name, error.message)
            self._blind = f"{self.name} takes no images here: {error.message}."
            return
        self._images.clear()
        self._image_prompts, self.sees = builder, True

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Render and tokenize a prompt and read its pictures."""
        if not isinstance(prompt, ChatPrompt) or not prompt.images:
            return super().prepare(prompt, length_limit)
        if self._image_prompts is None:
            raise VisionNotSupported(self._blind, prompt.images[0].where)
        keep_stable = not self.trimmable
        return self._image_prompts.prepare(prompt, length_limit or self.length_limit, keep_stable)

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Make a vector of each tokenized text, in one piece: its caches also hold what it sees."""
        return super().embed(batch, max(chunk, *map(len, batch)))

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running sequence, then compute one chunk of waiting prompts."""
        self._look_ahead()
        done = super().step()
        if any(progress.end for progress in done[0]):
            self._images.trim()  # encoded pictures are larger than their pixels
        return done

    def close(self) -> None:
        """Let go of everything that holds memory."""
        self._images.clear()
        super().close()

    def _look_ahead(self) -> None:
        """Encode one image, and let those prompts begin whose pictures are all encoded.

        So others decode a token between any two pictures.
        """
        ready, looked = 0, False
        for *_, image_tokens in self._generator.waiting_caches[: self._most_prompts]:
            unencoded = image_tokens.unencoded
            if unencoded and not looked:
                self.model.features(unencoded.pop(0))
                looked = True
            if unencoded:
                break
            ready += 1
        room = self._most_prompts - self._generator.computing
        self._generator.admit(min(ready, max(0, room)))

    def _begin(self, prompt: PreparedPrompt, cache: list[Any] | None, cached: int) -> list[Any]:
        """Put the prompt's own row in the place of that of whoever computed the cache."""
        if not prompt.image_spans:
            row = ImageTokenRow(cached)
        else:
            where, delta = self.model.positions(prompt.tokens, prompt.image_spans)
            row = ImageTokenRow(cached, where, delta, prompt.image_spans, len(prompt.tokens))
        layers = cache or self.empty()
        return [*layers[:-1], ImageTokenCache([row])]


def load(
    name: str,
    path: Path,
    options: ModelOptions,
    settings: EngineConfig,
    prefixes: PrefixCache,
    workers: Executor,
) -> Generator[Done, None, VisionBackend]:
    """Load a vision model in slices, so that others go on decoding between them.

    Raises
    ------
    LoadFailed
        With a sentence that says what is wrong with the model's files.
    """
    began = time.perf_counter()
    try:
        config = load_config(path)
        tokenizer_ready = workers.submit(_tokenizer, path, config, options.trust_remote_code)
        processor_ready = workers.submit(_processor, path, options.trust_remote_code)
        identity = workers.submit(text.model_identity, path, options, version("mlx-vlm"))
        whole = load_model(path, lazy=True)
        if mx.default_device() == mx.cpu:
            # Only fp32 products go through BLAS.
            whole.set_dtype(mx.float32)
        if "cross_attention_states" in signature(type(whole.language_model).__call__).parameters:
            raise ValueError("models that see by cross-attention are not supported")
        yield 0
        done = yield from text.read_weights(whole)
        tokenizer = yield from text.wait(tokenizer_ready, done)
        processor = yield from text.wait(processor_ready, done)
        cache_keys = yield from text.wait(identity, done)
        image_token = _image_token(whole.config)
        base = max(len(tokenizer), _vocabulary(config), image_token + 1)
        backend = VisionBackend(
            name,
            SeeingModel(whole, image_token, base),
            tokenizer,
            config,
            read_sampling_defaults(path),
            options,
            settings,
            prefixes,
            image_token=image_token,
            base=base,
        )
        for _ in backend.open_eyes(processor, workers):
            yield done
        if settings.warm_up:
            workers.submit(backend.chat_format.read_vocabulary)
            for _ in text.warm_up(backend):
                yield done
        prefixes.open(name, cache_keys, backend.empty())
    except (MemoryError, EngineError):
        raise
    except Exception as error:
        log.exception("loading %s failed", name)
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    log.info("loaded %s in %.2f s", name, time.perf_counter() - began)
    return backend


def _tokenizer(path: Path, config: dict[str, Any], trust_remote_code: bool) -> Any:
    """The model's tokenizer; older models keep its chat template in a file of its own."""
    extra: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    file = path / "chat_template.json"
    if file.is_file():
        extra["chat_template"] = json.loads(file.read_text(encoding="utf-8"))["chat_template"]
    return text.open_tokenizer(path, config, extra)


def _processor(path: Path, trust_remote_code: bool) -> Any:
    """The model's processor, by mlx-vlm, which needs no torch."""
    check_growth(path)
    get_model_and_args(load_config(path))  # importing it registers its processor
    processor = load_processor(
        path, False, trust_remote_code=trust_remote_code, local_files_only=True
    )
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token is None:  # processors pad, be it a single prompt
        tokenizer.pad_token = tokenizer.eos_token
    own = load_image_processor(path)
    if own is not None:
        processor.image_processor = own
    return processor


def _image_token(config: Any) -> int:
    for name in ("image_token_id", "image_token_index"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    raise ValueError("its config.json names no token for images")


def _vocabulary(config: dict[str, Any]) -> int:
    sizes = (config.get("vocab_size"), (config.get("text_config") or {}).get("vocab_size"))
    return max((size for size in sizes if isinstance(size, int)), default=0)


def _grey() -> EncodedImage:
    """A small image in which there is nothing to see."""
    held = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(held, "PNG")
    return EncodedImage(data=held.getvalue(), where="warm-up")
