"""The text backend: one resident mlx-lm model and the batch of sequences that it decodes."""

import copy
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import StopSequences
from mlx_lm.models.cache import CacheList, KVCache, make_prompt_cache, trim_prompt_cache
from mlx_lm.utils import load_config, load_model, load_tokenizer

from mlx_notebook.engine.backends.adapters import Base, lay, own_bytes, share
from mlx_notebook.engine.backends.backend import Done, Progress, Token, Vectors
from mlx_notebook.engine.backends.batch import RowGenerator
from mlx_notebook.engine.backends.pooling import mean
from mlx_notebook.engine.dialects.reasoning import continues_reasoning, opens_reasoning
from mlx_notebook.engine.errors import (
    ContextOverflow,
    InvalidRequest,
    LimitExceeded,
    LoadFailed,
    VisionNotSupported,
    reason,
)
from mlx_notebook.engine.images.image_tokens import ImageTokenCache
from mlx_notebook.engine.kv_cache.model_identity import identify
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.kv_cache.quantized import quantized_caches
from mlx_notebook.engine.prompts.chat_format import ChatFormat, OutputPlan
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, prepare, truncated
from mlx_notebook.engine.prompts.tokenizer_file import check_growth
from mlx_notebook.engine.runtime.device_memory import versions
from mlx_notebook.engine.sampling.sampler import Row
from mlx_notebook.engine.sampling.vocabulary import Vocabulary
from mlx_notebook.engine.speculative.draft_loading import load_speculation
from mlx_notebook.model_files.footprint import context_window
from mlx_notebook.model_files.generation_config import read_sampling_defaults
from mlx_notebook.protocol import ChatPrompt, EngineConfig, Generate, ModelOptions, Prompt

log = logging.getLogger(__name__)

_SLICE_BYTES = 256 * 2**20
_TEMPLATE_CHARACTERS = 2**18
_CONTEXT = 4096
"""Most tokens of a model whose config.json does not tell."""
_VOCABULARIES = ("tokenizer.*", "vocab.*", "tekken.json", "*.tiktoken", "*.model", "*.py")


class TextBackend:
    """A text model in memory (see `Backend`)."""

    sees = False

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        config: dict[str, Any],
        defaults: dict[str, float],
        options: ModelOptions,
        settings: EngineConfig,
        prefixes: PrefixCache,
    ):
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.defaults = defaults
        known = context_window(config) or _CONTEXT
        self.context_length = min(known, options.context_limit or known)
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = Base(self.nbytes - own_bytes(model))
        self.vocabulary = Vocabulary(tokenizer)
        family = str(config.get("model_type", ""))
        self.chat_format = ChatFormat(tokenizer, _width(model), family, options.tool_dialect)
        longest = longest_token(tokenizer)
        self.length_limit = LengthLimit(self.context_length, settings.max_prompt_tokens, longest)
        self.trimmable = all(map(_always_trimmable, make_prompt_cache(model)))
        self._prefixes, self._prefill_step = prefixes, settings.prefill_step
        self.empty: Callable[[], list[Any]] = partial(make_prompt_cache, model)
        rows = settings.max_batch
        if options.kv_bits is not None:
            self.empty, rows = quantized_caches(name, model, options.kv_bits), 1
        self._generator = RowGenerator(
            model,
            completion_batch_size=rows,
            prefill_batch_size=min(8, rows),
            prefill_step_size=settings.prefill_step,
        )
        self._end = tuple(sorted(tokenizer.eos_token_ids))
        self._stable: dict[int, int] = {}
        self._salts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._generator)

    @property
    def kv_bytes(self) -> int:
        """What the keys and values of its sequences take, in bytes."""
        return self._generator.kv_bytes

    def prepare(self, prompt: Prompt, length_limit: LengthLimit | None = None) -> PreparedPrompt:
        """Render and tokenize a prompt; an image in it is refused."""
        if isinstance(prompt, ChatPrompt) and prompt.images:
            raise VisionNotSupported(
                f"The model {self.name} takes no images.", prompt.images[0].where
            )
        return prepare(
            self.chat_format,
            prompt,
            length_limit or self.length_limit,
            keep_stable=not self.trimmable,
        )

    def plan(self, command: Generate) -> tuple[PreparedPrompt, OutputPlan]:
        """Make a request's prompt and the plan for its rows."""
        shown = self.chat_format.visible_prompt(command.prompt, command.tool_choice)
        cut = command.truncate_prompt is not None
        prompt = self.prepare(shown, self.length_limit.stated if cut else None)
        if not prompt.tokens:
            raise InvalidRequest("the prompt is empty", "messages")
        if command.truncate_prompt is not None:
            room = self.context_length, command.sampling.max_tokens
            prompt = truncated(prompt, command.truncate_prompt, *room, self.tokenizer.decode)
        reasoning = self.chat_format.reasoning
        in_reasoning = reasoning is not None and opens_reasoning(prompt.text, reasoning)
        if reasoning is not None and isinstance(command.prompt, ChatPrompt):
            last = command.prompt.messages[-1]
            in_reasoning |= command.prompt.continues and continues_reasoning(
                last, prompt.text, reasoning
            )
        return prompt, self.chat_format.plan(command, in_reasoning)

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Make a vector of each tokenized text: the mean of the last hidden states."""
        return mean(self.model, batch, chunk)

    def insert(
        self, row: Row, prompt: PreparedPrompt, max_tokens: int, *, endless: bool
    ) -> tuple[int, int]:
        """Take a sequence into the batch."""
        tokens, stable = prompt.cache_keys, prompt.stable
        cache, rest = self._prefixes.fetch(self.name, tokens, prompt.salt)
        cached = len(tokens) - len(rest)
        head = stable - cached
        split = not self.trimmable and 0 < head < len(rest)
        (uid,) = self._generator.insert_segments(
            [[rest[:head], rest[head:]] if split else [rest]],
            max_tokens=[max_tokens],
            caches=[self._begin(prompt, cache, cached)],
            all_tokens=[tokens[:cached]],
            samplers=[row],
            stop_sequences=[self._stops(row, endless)],
        )
        if split:
            self._stable[uid] = stable
        if prompt.salt:
            self._salts[uid] = prompt.salt
        return uid, cached

    def _stops(self, row: Row, endless: bool) -> StopSequences:
        """What ends a row."""
        return StopSequences([(token,) for token in (*(() if endless else self._end), *row.stop)])

    def _begin(self, prompt: PreparedPrompt, cache: list[Any] | None, cached: int) -> list[Any]:
        """The cache that a prompt begins with, of which `cached` tokens are computed."""
        return cache or self.empty()

    def fork(self, uid: int, row: Row, max_tokens: int, *, endless: bool) -> int:
        """Take in another sequence with the prompt of `uid`, which has just been computed."""
        cache, tokens = self._generator.extract_cache([uid])[uid]
        cache = copy.deepcopy(cache)
        trim_prompt_cache(cache, 1)
        (sibling,) = self._generator.insert(
            [tokens[-1:]],
            max_tokens=[max_tokens],
            caches=[cache],
            all_tokens=[list(tokens[:-1])],
            samplers=[row],
            stop_sequences=[self._stops(row, endless)],
        )
        if salt := self._salts.get(uid):
            self._salts[sibling] = salt
        return int(sibling)

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running sequence, then compute one chunk of waiting prompts."""
        prompts, tokens = self._generator.next()
        progress = []
        for prompt in prompts:
            self._keep_stable(prompt)
            progress.append(Progress(prompt.uid, prompt.progress[0], prompt.end_of_prompt))
        made = []
        for token in tokens:
            made.append(Token(token.uid, token.token, token.finish_reason, token.logprobs))
            if token.finish_reason is not None:
                salt = self._salts.pop(token.uid, "")
                self._prefixes.keep(self.name, token.all_tokens, token.prompt_cache, salt)
        return progress, made

    def remove(self, uids: list[int]) -> None:
        """Take sequences out of the batch; what was computed of them is kept for reuse."""
        for uid, (cache, tokens) in self._generator.remove(uids, return_prompt_caches=True).items():
            self._stable.pop(uid, None)
            salt = self._salts.pop(uid, "")
            if cache and tokens and not all(layer.empty() for layer in cache):
                self._prefixes.keep(self.name, tokens, cache, salt)

    def speculate(self, options: ModelOptions, workers: Executor) -> Generator[None, None, None]:
        """Make ready to guess ahead, where the settings say so, in slices."""
        made = yield from load_speculation(
            self.name,
            options,
            self.tokenizer.get_vocab(),
            width=_width(self.model),
            trimmable=self.trimmable,
            prefill_step=self._prefill_step,
            workers=workers,
        )
        if made is not None:
            speculation, size = made
            self._generator.speculate(speculation)
            self.nbytes += size

    def close(self) -> None:
        """Let go of everything that holds memory, whoever still holds this object."""
        self._prefixes.forget(self.name)
        self._generator.close()
        del self.model, self._generator, self.empty

    def _keep_stable(self, prompt: Any) -> None:
        """Caches that cannot be trimmed are kept where the next turn will still agree with them."""
        if prompt.uid not in self._stable or not prompt.end_of_segment:
            return
        stable = self._stable.pop(prompt.uid)
        cache, tokens = self._generator.extract_cache([prompt.uid])[prompt.uid]
        if len(tokens) == stable:
            salt = self._salts.get(prompt.uid, "")
            self._prefixes.keep(self.name, tokens, copy.deepcopy(cache), salt)


def _width(model: Any) -> int:
    """The last dimension of the model's logits, found by a look at one step's shape."""
    logits = model(mx.array([[0]]))
    return int(logits.shape[-1])


def _always_trimmable(layer: Any) -> bool:
    """Whether a layer's cache can be cut back at any length (a full sliding window cannot)."""
    if isinstance(layer, CacheList):
        return all(map(_always_trimmable, layer.caches))
    return isinstance(layer, KVCache | ImageTokenCache)


def load(
    name: str,
    path: Path,
    options: ModelOptions,
    settings: EngineConfig,
    prefixes: PrefixCache,
    workers: Executor,
    *,
    donor: TextBackend | None = None,
) -> Generator[Done, None, TextBackend]:
    """Load a model in slices, so that others go on decoding between them.

    Parameters
    ----------
    donor
        A resident model of the same folder, whose arrays are used in place of new ones.

    Yields
    ------
    How many bytes of its weights are in memory; the first time when the files are known to fit
    the architecture, and nothing of them has been taken in.

    Raises
    ------
    LoadFailed
        With a sentence that says what is wrong with the model's files.
    """
    began = time.perf_counter()
    try:
        config = load_config(path)
        require_tokenizer(path)
        # Reading the tokenizer is pure Python and takes as long as all the rest.
        trusted = options.trust_remote_code
        extra = {"trust_remote_code": trusted}
        pending = workers.submit(open_tokenizer, path, config, extra)
        identity = workers.submit(model_identity, path, options)
        model, config = load_model(path, lazy=True, trust_remote_code=trusted)
        if options.adapter is not None:
            lay(model, Path(options.adapter))
        if mx.default_device() == mx.cpu:
            # Only fp32 products go through BLAS (measured: 4 times faster prompts).
            model.set_dtype(mx.float32)
        if donor is not None:
            share(model, donor.model)
        yield 0
        done = yield from read_weights(model)
        tokenizer = yield from wait(pending, done)
        cache_keys = yield from wait(identity, done)
    except (MemoryError, LoadFailed):
        raise
    except Exception as error:
        raise LoadFailed(f"{name} cannot be loaded: {reason(error)}", "model") from error
    backend = TextBackend(
        name, model, tokenizer, config, read_sampling_defaults(path), options, settings, prefixes
    )
    if donor is not None:
        backend.base = donor.base
    for _ in backend.speculate(options, workers):
        yield done
    if settings.warm_up:
        workers.submit(backend.chat_format.read_vocabulary)
        for _ in warm_up(backend):
            yield done
    prefixes.open(name, cache_keys, backend.empty())
    log.info("loaded %s in %.2f s", name, time.perf_counter() - began)
    return backend


def warm_up(backend: TextBackend) -> Generator[None, None, None]:
    """Run what a first request would otherwise compile: alone and batched, greedy and not."""
    first = [3, 4, 5, 6, 7, 8, 9, 10]
    sampled = Row(temperature=0.7, top_p=0.9, top_k=5, repetition_penalty=1.1)
    for rows in ([Row()], [Row(), sampled], [sampled]):
        for i, row in enumerate(rows):
            tokens = [token + i for token in first[: 8 - i]]
            backend.insert(row, PreparedPrompt(tokens, "", len(tokens)), 3, endless=True)
        while len(backend):
            backend.step()
            yield
    backend._prefixes.forget(backend.name)
    mx.clear_cache()


def model_identity(path: Path, options: ModelOptions, *also: str) -> str:
    """What prompts on disk are known by: they fit this very model only, and what `also` counts."""
    folders = [path, Path(options.adapter)] if options.adapter else [path]
    return identify(folders, *versions(), str(options.kv_bits), *also)


def wait(pending: Future[Any], done: Done = None) -> Generator[Done, None, Any]:
    """What a worker makes, without holding up others meanwhile; yields `done`."""
    while not pending.done():
        time.sleep(0.002)
        yield done
    return pending.result()


def require_tokenizer(path: Path) -> None:
    """Raise `FileNotFoundError` where a model's folder has no vocabulary."""
    if not any(next(path.glob(kind), None) for kind in _VOCABULARIES):
        raise FileNotFoundError("there is no tokenizer in its folder.")


def open_tokenizer(path: Path, config: dict[str, Any], extra: dict[str, Any] | None = None) -> Any:
    """The model's tokenizer; `extra` overrides its own settings.

    Raises
    ------
    LoadFailed
        If its chat template is too large, or takes too much time or memory for a greeting.
    ValueError
        If it makes long texts of short ones.
    """
    check_growth(path)
    tokenizer = load_tokenizer(path, extra, eos_token_ids=config.get("eos_token_id"))
    if tokenizer.has_chat_template:
        if len(str(tokenizer.chat_template)) > _TEMPLATE_CHARACTERS:
            raise LoadFailed(
                f"{path.name} cannot be loaded: its chat template has more than "
                f"{_TEMPLATE_CHARACTERS} characters.",
                "model",
            )
        greeting = [{"role": "user", "content": "Hello"}]
        try:
            apply_template(tokenizer, greeting, [], {}, True)
        except (LimitExceeded, ContextOverflow) as error:
            raise LoadFailed(
                f"{path.name} cannot be loaded, tried with a greeting: {error.message}", "model"
            ) from error
        except InvalidRequest as error:
            log.info("%s: %s", path.name, error)
    return tokenizer


def read_weights(model: Any) -> Generator[int, None, int]:
    """Read the weights from disk, some hundred megabytes at a time; gives the bytes read."""
    part: list[mx.array] = []
    size = done = 0
    for _, array in tree_flatten(model.parameters()):
        part.append(array)
        size += array.nbytes
        if size >= _SLICE_BYTES:
            mx.eval(part)
            done += size
            part, size = [], 0
            yield done
    mx.eval(part)
    return done + size
