"""The text backend: an mlx-lm model in memory and the batch of rows that it decodes."""

from collections.abc import Callable, Generator
from concurrent.futures import Executor
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from mlx_notebook.engine.backends.adapters import (
    BaseWeights,
    adapter_bytes,
    apply_adapter,
    share_base,
)
from mlx_notebook.engine.backends.backend import (
    GeneratingBackend,
    LoadStep,
    Progress,
    Token,
    Vectors,
)
from mlx_notebook.engine.backends.model_loader import (
    adapt_to_device,
    loading,
    model_identity,
    read_parts,
    read_weights,
    warm_up,
)
from mlx_notebook.engine.backends.pooling import mean
from mlx_notebook.engine.backends.weight_sources import open_source
from mlx_notebook.engine.batching.batch_row import PromptProgress
from mlx_notebook.engine.batching.prefill_policy import (
    PrefillLimits,
    PrefillPolicy,
    PrefillSpeed,
)
from mlx_notebook.engine.batching.row_generator import RowGenerator
from mlx_notebook.engine.batching.speculation import Speculation
from mlx_notebook.engine.dialects.reasoning import continues_reasoning, opens_reasoning
from mlx_notebook.engine.distributed.leader import Leader, RemoteModel
from mlx_notebook.engine.errors import AudioNotSupported, InvalidRequest, VisionNotSupported
from mlx_notebook.engine.infilling.infiller import Infiller
from mlx_notebook.engine.kv_cache.checkpoints import (
    Checkpoint,
    always_cuttable,
    checkpoint_lengths,
    make_checkpoint,
    shortened,
)
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache, PrefixHit
from mlx_notebook.engine.kv_cache.quantized import row_caches
from mlx_notebook.engine.kv_cache.row_cache import RowCache
from mlx_notebook.engine.prompts.chat_format import ChatFormat, OutputPlan
from mlx_notebook.engine.prompts.length_limits import LengthLimit, longest_token
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, prepare_prompt, truncate_prompt
from mlx_notebook.engine.prompts.shared_prefix import NOTHING_SHARED, SharedPrefix
from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.vocabulary import Vocabulary
from mlx_notebook.engine.speculative.draft_loading import load_draft_model
from mlx_notebook.model_files.footprint import context_window
from mlx_notebook.model_files.generation_config import read_sampling_defaults
from mlx_notebook.protocol import (
    ChatPrompt,
    EngineConfig,
    FillPrompt,
    Generate,
    ModelOptions,
    Prompt,
)

_DEFAULT_CONTEXT = 4096
"""Most tokens of a model whose config.json does not state it."""


_SHORT_HIT = 64
"""A prefix shorter than this and than a quarter of the prompt is computed anew.

To begin with different prefixes costs the prompts of a batch more than that saves.
"""

_LOOKUP = 15
"""Most tokens that prompt lookup drafts if the settings do not say it."""

_GPU_SPEED, _CPU_SPEED = 8000.0, 1000.0
"""Guesses of the speed of prefill, in tokens per second, until it is measured."""


class TextBackend(GeneratingBackend):
    """A text model in memory."""

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
        twin: RemoteModel | None = None,
    ):
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.sampling_defaults = defaults
        known = context_window(config) or _DEFAULT_CONTEXT
        self.context_length = min(known, options.context_limit or known)
        self.nbytes = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
        self.base = BaseWeights(self.nbytes - adapter_bytes(model))
        self.vocabulary = Vocabulary(tokenizer)
        family = str(config.get("model_type", ""))
        self.chat_format = ChatFormat(tokenizer, _width(model), family, options.tool_dialect)
        self.infiller = Infiller(self.chat_format)
        longest = longest_token(tokenizer)
        self.length_limit = LengthLimit(self.context_length, settings.max_prompt_tokens, longest)
        self.trimmable = all(map(always_cuttable, make_prompt_cache(model)))
        self._prefixes, self._prefill_step = prefixes, settings.prefill_step
        self._twin = twin
        self.empty_cache = row_caches(name, model, options)
        if twin is not None:
            self.empty_cache = twin.rows(self.empty_cache)
        self._generator = RowGenerator(
            model, _policy(settings), settings.max_batch, self.empty_cache
        )
        self._end_tokens = tuple(sorted(tokenizer.eos_token_ids))
        self._borders: dict[int, set[int]] = {}
        self._checkpoints: dict[int, dict[int, Checkpoint]] = {}
        self._kept: dict[int, int] = {}
        # Of rows whose prompts are not for all: the salt, and the beginning that others share.
        self._scopes: dict[int, tuple[str, SharedPrefix]] = {}

    def __len__(self) -> int:
        return len(self._generator)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV caches of its rows."""
        return self._generator.kv_bytes

    def wait_seconds(self, tokens: int) -> float:
        """Return how many seconds a prompt of so many tokens that came alone waits for others."""
        return self._generator.wait_seconds(tokens)

    def prepare(
        self, prompt: Prompt, length_limit: LengthLimit | None = None, salt: str | None = None
    ) -> PreparedPrompt:
        """Render and tokenize a prompt; refuse one with images or sound.

        `salt` is that of `prepare_prompt`.
        """
        if isinstance(prompt, ChatPrompt) and prompt.images:
            raise VisionNotSupported(
                f"The model {self.name} takes no images.", prompt.images[0].where
            )
        if isinstance(prompt, ChatPrompt) and prompt.sounds:
            raise AudioNotSupported(f"The model {self.name} does not hear.", prompt.sounds[0].where)
        return prepare_prompt(
            self.chat_format,
            prompt,
            length_limit or self.length_limit,
            need_end=not self.trimmable,
            salt=salt,
        )

    def plan(self, command: Generate) -> tuple[PreparedPrompt, OutputPlan]:
        """Return a request's prompt and the plan for its rows."""
        if isinstance(command.prompt, FillPrompt):
            return self.infiller.plan(command, command.prompt, self.length_limit)
        shown = self.chat_format.visible_prompt(command.prompt, command.tool_choice)
        cut = command.truncate_prompt is not None
        limit = self.length_limit.relaxed if cut else None
        prompt = self.prepare(shown, limit, command.cache_salt)
        if not prompt.tokens:
            raise InvalidRequest("the prompt is empty", "messages")
        if command.truncate_prompt is not None:
            room = self.context_length, command.sampling.max_tokens
            prompt = truncate_prompt(prompt, command.truncate_prompt, *room, self.tokenizer.decode)
        reasoning = self.chat_format.reasoning
        in_reasoning = reasoning is not None and opens_reasoning(prompt.text, reasoning)
        if reasoning is not None and isinstance(command.prompt, ChatPrompt):
            last = command.prompt.messages[-1]
            in_reasoning |= command.prompt.continues and continues_reasoning(
                last, prompt.text, reasoning
            )
        return prompt, self.chat_format.plan(command, in_reasoning)

    def embed(self, batch: list[list[int]], chunk: int) -> Generator[None, None, Vectors]:
        """Return a vector for each tokenized text: the mean of the last hidden states."""
        return mean(self.model, batch, chunk, self._twin)

    def plain_cache(self) -> RowCache:
        """Return the caches of a row without tokens, which are not quantised."""
        layers = make_prompt_cache(self.model)
        return RowCache(layers) if self._twin is None else self._twin.row(layers, plain=True)

    def insert(
        self, row: Row, prompt: PreparedPrompt, max_tokens: int, *, endless: bool
    ) -> tuple[int, int]:
        """Add a row to the batch."""
        tokens = prompt.cache_keys
        opening = prompt.places.opening
        hit = self._prefixes.fetch(self.name, tokens, prompt.salt, opening, prompt.shared)
        prompt.broken = hit.broken
        if hit.length < min(_SHORT_HIT, len(tokens) // 4):
            hit = PrefixHit(broken=hit.broken)
        borders = [] if self.trimmable else checkpoint_lengths(prompt, hit.length)
        places = [hit.length, *borders, len(tokens)]
        uid = self._generator.insert(
            [tokens[start:end] for start, end in pairwise(places)],
            row,
            cache=self._initial_cache(prompt, hit.layers, hit.length),
            tokens=tokens[: hit.length],
            max_tokens=max_tokens,
            ends=self._ends(row, endless),
            user=prompt.user,
            urgent=prompt.urgent,
            patient=prompt.patient,
        )
        if prompt.kept is not None and self.trimmable:
            self._kept[uid] = prompt.kept
        if borders:
            self._borders[uid] = set(borders)
        if prompt.salt or prompt.shared.length:
            self._scopes[uid] = prompt.salt, prompt.shared
        return uid, hit.length

    def _ends(self, row: Row, endless: bool) -> tuple[int, ...]:
        """Return the tokens that end a row."""
        return (*(() if endless else self._end_tokens), *row.stop)

    def _initial_cache(
        self, prompt: PreparedPrompt, cache: list[Any] | None, cached: int
    ) -> list[Any]:
        """Return the KV cache that a prompt begins with; `cached` of its tokens are computed."""
        return cache or self.empty_cache()

    def fork(self, uid: int, row: Row, max_tokens: int, *, endless: bool) -> int:
        """Add another row with the prompt of `uid`, which has just been computed."""
        sibling = self._generator.fork(uid, row, max_tokens, self._ends(row, endless))
        if (kept := self._kept.get(uid)) is not None:
            self._kept[sibling] = kept
        if scope := self._scopes.get(uid):
            self._scopes[sibling] = scope
        return sibling

    def step(self) -> tuple[list[Progress], list[Token]]:
        """Decode one token of every running row, then compute one chunk of waiting prompts."""
        prompts, tokens = self._generator.next()
        progress = []
        for prompt in prompts:
            self._make_checkpoint(prompt)
            progress.append(Progress(prompt.uid, prompt.done, prompt.end_of_prompt))
        new_tokens = []
        for token in tokens:
            new_tokens.append(Token(token.uid, token.token, token.finish, token.report))
            if token.finish is not None:
                self._keep(token.uid, token.all_tokens, token.cache)
        return progress, new_tokens

    def remove(self, uids: list[int]) -> None:
        """Remove rows from the batch; the prefix cache keeps what was computed of them."""
        # A stop text may have ended a row that its last tokens, of the same step, ended too.
        rows = {uid: self._generator.extract(uid) for uid in uids if uid in self._generator}
        self._generator.remove(uids)
        for uid, (cache, tokens) in rows.items():
            computed = cache and tokens and not all(layer.empty() for layer in cache)
            self._keep(uid, tokens if computed else [], cache)

    def speculate(self, options: ModelOptions, workers: Executor) -> Generator[None, None, None]:
        """Set up speculative decoding if the settings ask for it, in slices."""
        draft_model, size = yield from load_draft_model(
            self.name,
            options,
            self.tokenizer.get_vocab(),
            width=_width(self.model),
            trimmable=self.trimmable,
            prefill_step=self._prefill_step,
            workers=workers,
        )
        self.nbytes += size
        lookup = _LOOKUP if options.prompt_lookup is None else options.prompt_lookup
        if self.trimmable and not self.takes_images and (draft_model is not None or lookup):
            self._generator.speculate(Speculation(draft_model, lookup))

    def finish_load(
        self, identity: str, workers: Executor, *, warm: bool
    ) -> Generator[None, None, None]:
        """Warm the model up if `warm`, in slices, and open its prefix cache on disk."""
        if warm:
            workers.submit(self.chat_format.read_vocabulary)
            yield from warm_up(self, self._prefixes)
            if self.trimmable:
                yield from self._generator.warm_up()
        self._prefixes.open(self.name, identity, self.empty_cache())

    def close(self) -> None:
        """Release everything that holds memory, even if someone still holds this object."""
        self._prefixes.forget(self.name)
        self.reranker = None
        del self.model, self._generator, self.empty_cache, self._twin

    def _make_checkpoint(self, prompt: PromptProgress) -> None:
        """Copy the layers that cannot be cut, if a prompt is computed up to one of its borders."""
        borders = self._borders.get(prompt.uid)
        if not borders or not prompt.end_of_segment:
            return
        cache, tokens = self._generator.extract(prompt.uid)
        if len(tokens) in borders:
            borders.remove(len(tokens))
            made = self._checkpoints.setdefault(prompt.uid, {})
            made[len(tokens)] = make_checkpoint(cache)

    def _keep(self, uid: int, tokens: list[int], cache: list[Any]) -> None:
        """Give the KV cache of a row that has ended to the prefix cache."""
        self._borders.pop(uid, None)
        if (kept := self._kept.pop(uid, len(tokens))) < len(tokens):
            tokens, cache = tokens[:kept], shortened(cache, kept, len(tokens))
        salt, shared = self._scopes.pop(uid, ("", NOTHING_SHARED))
        checkpoints = self._checkpoints.pop(uid, None)
        self._prefixes.keep(self.name, tokens, cache, salt, checkpoints, shared)


def _width(model: Any) -> int:
    """Return the size of the model's logits, from the shape of one step."""
    logits = model(mx.array([[0]]))
    return int(logits.shape[-1])


def _policy(settings: EngineConfig) -> PrefillPolicy:
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    limits = PrefillLimits(
        chunk=settings.prefill_step,
        pause=settings.max_pause,
        rows=settings.max_batch,
        rounding=mx.cuda.is_available(),
    )
    return PrefillPolicy(limits, PrefillSpeed(_GPU_SPEED if on_gpu else _CPU_SPEED))


def load(
    name: str,
    path: Path,
    options: ModelOptions,
    settings: EngineConfig,
    prefixes: PrefixCache,
    workers: Executor,
    *,
    base_from: TextBackend | None = None,
    leader: Leader | None = None,
) -> Generator[LoadStep, None, TextBackend]:
    """Load a text model in slices (see `selection.load`).

    Parameters
    ----------
    base_from
        A resident model of the same folder. Its base weights are shared instead of read again.
    leader
        Tells the other ranks; None if there is one rank.

    Raises
    ------
    LoadFailed
        If something is wrong with the model's files.
    """
    with loading(name):
        source = open_source(path, trusted=options.trust_remote_code)
        # Loading the tokenizer is pure Python and takes as long as everything else.
        tokenizer = workers.submit(source.tokenizer)
        identity = workers.submit(model_identity, path, options)
        model = source.build()
        config = source.config
        if options.adapter is not None:
            apply_adapter(model, Path(options.adapter))
        twin = leader.divide(name, path, options, model, config) if leader is not None else None
        adapt_to_device(model)
        read: Callable[[Any], Generator[int, None, int]] = source.read
        if base_from is not None:
            share_base(model, base_from.model)
            read = read_weights
        done, parts = yield from read_parts(model, tokenizer, identity, read=read)
        if twin is not None:
            yield from twin.wait(done)
        defaults = read_sampling_defaults(path)
        backend = TextBackend(
            name, model, parts[0], config, defaults, options, settings, prefixes, twin
        )
        if base_from is not None:
            backend.base = base_from.base
        for _ in backend.speculate(options, workers):
            yield done
        for _ in backend.finish_load(parts[1], workers, warm=settings.warm_up):
            yield done
    return backend
