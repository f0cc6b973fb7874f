"""Threads that render and tokenize prompts and compile grammars, beside the thread that owns MLX.

Each model has workers of its own, separate ones for long prompts, so that a slow template or a long
text delays few others. Users take turns. The results go back to the owner of MLX through its inbox.
"""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from mlx_notebook.engine.backends.backend import Backend, GeneratingBackend
from mlx_notebook.engine.backends.single_purpose import SinglePurposeBackend
from mlx_notebook.engine.errors import Cancelled, ContextOverflow, EngineError, InvalidRequest
from mlx_notebook.engine.generation.audio_job import AudioJob, speech, transcription
from mlx_notebook.engine.generation.embedding_job import EmbeddingJob
from mlx_notebook.engine.generation.prompt_scoring import check_scored
from mlx_notebook.engine.generation.request import PreparedRequest
from mlx_notebook.engine.generation.reranking_job import RerankingJob
from mlx_notebook.engine.generation.tokenization import tokenized
from mlx_notebook.engine.kv_cache.disk.block_file import Arrays
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, max_new_tokens, truncate_input
from mlx_notebook.engine.prompts.shared_prefix import DeclaredPrefixes, SharedPrefix
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.sandbox.deadline import Deadline, current
from mlx_notebook.engine.sandbox.sandbox import AHEAD
from mlx_notebook.engine.scheduling.shared_pool import PoolJob, SharedPool
from mlx_notebook.protocol import (
    ChatPrompt,
    Embed,
    EngineConfig,
    FillPrompt,
    Generate,
    Rerank,
    Speak,
    TextPrompt,
    Tokenize,
    Tokenized,
    Transcribe,
)

log = logging.getLogger(__name__)

PromptJob = Generate | Tokenize | Embed | Rerank | Transcribe | Speak
"""A command whose prompt, or sound, a worker prepares."""

Outcome = PreparedRequest | Tokenized | EmbeddingJob | RerankingJob | AudioJob | EngineError
"""What a worker makes of a job, or why it could not."""

_LONG = 2**16
"""Characters, images and other parts from which on a prompt is a long one."""


@dataclass
class _ModelWorkers:
    """The threads of one model. To compile a grammar may take seconds; urgent jobs do not wait."""

    urgent: SharedPool = field(default_factory=lambda: SharedPool(2, "urgent-prompt"))
    patient: SharedPool = field(default_factory=lambda: SharedPool(1, "patient-prompt"))
    short: SharedPool = field(default_factory=lambda: SharedPool(AHEAD, "prompt"))
    grammar: SharedPool = field(default_factory=lambda: SharedPool(2, "grammar"))
    long: SharedPool = field(default_factory=lambda: SharedPool(1, "long-prompt"))


@dataclass(frozen=True)
class _Task:
    """A job that a worker prepares, or that waits for a worker."""

    pool: SharedPool
    job: PoolJob
    deadline: Deadline
    then: Callable[[Outcome], None]


class PromptWorkers:
    """Prepares jobs on worker threads.

    Parameters
    ----------
    settings, prefixes, workers
        As for `Residency`.
    inbox
        Takes functions that the thread which owns MLX calls.
    activity
        Shows how many jobs are being prepared.
    """

    def __init__(
        self,
        settings: EngineConfig,
        prefixes: PrefixCache,
        workers: Executor,
        inbox: "queue.SimpleQueue[Any]",
        activity: Activity,
    ):
        self._settings, self._prefixes = settings, prefixes
        self._workers, self._inbox, self._activity = workers, inbox, activity
        self._of_models: WeakKeyDictionary[Backend, _ModelWorkers] = WeakKeyDictionary()
        self._tasks: dict[str, _Task] = {}
        self._declared = DeclaredPrefixes()

    def prepare(self, job: PromptJob, backend: Backend, then: Callable[[Outcome], None]) -> None:
        """Prepare a job for a model; `then` is called with the outcome, in the owner's thread."""
        workers = self._of_models.get(backend) or _ModelWorkers()
        self._of_models[backend] = workers
        deadline = Deadline()

        def run() -> None:
            with deadline.active():
                outcome = self._prepared(job, backend)
            if deadline.stopped:
                outcome = Cancelled("the request was cancelled")
            self._inbox.put(partial(self._finish, job.id, outcome))

        if isinstance(job, Generate) and job.urgent:
            pool = workers.urgent
        elif isinstance(job, Generate | Embed) and job.patient:
            pool = workers.patient
        elif _is_long(job):
            pool = workers.long
        else:
            pool = workers.grammar if _may_need_grammar(job) else workers.short
        self._tasks[job.id] = _Task(pool, pool.submit(job.user, run), deadline, then)
        self._activity.preparing = len(self._tasks)

    def cancel(self, job_id: str) -> None:
        """Stop preparing a job that nobody waits for."""
        task = self._tasks.get(job_id)
        if task is None:
            return
        task.deadline.stop()
        if task.pool.cancel(task.job):
            self._finish(job_id, Cancelled("the request was cancelled"))

    def _finish(self, job_id: str, outcome: Outcome) -> None:
        task = self._tasks.pop(job_id)
        self._activity.preparing = len(self._tasks)
        self._activity.prepared += 1
        task.then(outcome)

    def read_prefix(
        self, model: str, prompt: PreparedPrompt, then: Callable[[int, Arrays], None]
    ) -> None:
        """Read the KV cache of a prompt from disk; `then` takes its length in tokens and it."""

        def run() -> None:
            count, arrays = 0, Arrays()
            try:
                count, arrays = self._prefixes.read(
                    model, prompt.cache_keys, prompt.salt, prompt.shared
                )
            except Exception:
                log.exception("the prefix cache on disk could not be read")
            self._inbox.put(partial(then, count, arrays))

        self._workers.submit(run)

    def _prepared(self, job: PromptJob, backend: Backend) -> Outcome:
        try:
            match job:
                case Generate():
                    return self._request(job, backend)
                case Tokenize():
                    return tokenized(job, backend)
                case Embed():
                    return self._embedding(job, backend)
                case Transcribe():
                    return transcription(job, backend)
                case Speak():
                    return speech(job, backend)
                case Rerank():
                    return self._reranking(job, backend)
        except EngineError as error:
            return error
        except Exception as error:
            log.exception("preparing %s failed", job.id)
            return EngineError(f"the request could not be prepared: {error}")

    def _request(self, command: Generate, backend: Backend) -> PreparedRequest:
        if isinstance(backend, SinglePurposeBackend):
            raise backend.refusal()
        assert isinstance(backend, GeneratingBackend)
        prompt, plan = backend.plan(command)
        if command.prompt_logprobs is not None:
            if command.attention_from is not None and self._settings.distributed is not None:
                raise InvalidRequest(
                    "a model on several ranks does not show its attention", "prompt_attention_from"
                )
            check_scored(backend, prompt, command.prompt_logprobs, command.attention_from)
        max_tokens = max_new_tokens(
            len(prompt.tokens),
            backend.context_length,
            command.sampling.max_tokens,
            self._settings.max_prompt_tokens,
        )
        prompt.salt, prompt.user = command.cache_salt, command.user
        prompt.urgent, prompt.patient = command.urgent, command.patient
        if command.shared_system:
            prompt.shared = SharedPrefix(
                command.shared_salt,
                self._declared.length(
                    backend,
                    command.shared_system,
                    prompt.cache_keys,
                    lambda declared: backend.prepare(declared).tokens,
                ),
            )
        on_disk = self._prefixes.on_disk(
            command.model, prompt.cache_keys, prompt.salt, prompt.shared
        )
        return PreparedRequest(prompt, plan, max_tokens, on_disk)

    def _embedding(self, command: Embed, backend: Backend) -> EmbeddingJob:
        if command.chats:
            chats = []
            for chat in command.chats:
                current().check()
                chats.append(backend.prepare_chat(chat))
            tokens = [chat.tokens for chat in chats]
            return EmbeddingJob(command, backend, tokens, self._settings.prefill_step, chats)
        length_limit = None if command.truncate is None else backend.length_limit.relaxed
        inputs = []
        for index, text in enumerate(command.inputs):
            current().check()
            try:
                inputs.append(backend.prepare(TextPrompt(text=text), length_limit).tokens)
            except ContextOverflow as error:
                error.param = f"input[{index}]" if len(command.inputs) > 1 else "input"
                raise
        if command.truncate is not None:
            most = backend.context_length if command.truncate == -1 else command.truncate
            inputs = [truncate_input(backend.tokenizer, tokens, most) for tokens in inputs]
        if not inputs or not all(inputs):
            raise InvalidRequest("an input is empty", "input")
        return EmbeddingJob(command, backend, inputs, self._settings.prefill_step)

    def _reranking(self, command: Rerank, backend: Backend) -> RerankingJob:
        reranker = backend.reranker
        if reranker is None:
            several = " on several ranks" if self._settings.distributed is not None else ""
            raise InvalidRequest(f"{backend.name} does not rank documents{several}", "model")
        pairs = reranker.pairs(command)
        return RerankingJob(command, reranker, pairs, self._settings.prefill_step)


def _is_long(job: PromptJob) -> bool:
    """Return whether a job may take longer to prepare than most do."""
    size = 0
    match job:
        case Transcribe():
            return True
        case Embed():
            left: list[Any] = list(job.inputs)
            size = _LONG if job.chats else 0
        case Speak(text=text):
            left = [text]
        case Rerank():
            left = [job.query, job.documents]
            # The query is tokenized with each document.
            size = len(job.query) * len(job.documents)
        case Generate(prompt=TextPrompt(text=text)) | Tokenize(prompt=TextPrompt(text=text)):
            left = [text]
        case Generate(prompt=FillPrompt() as fill):
            left = [fill.prefix, fill.suffix, fill.context]
        case Generate(prompt=chat) | Tokenize(prompt=chat):
            assert isinstance(chat, ChatPrompt)
            left = [chat.messages, chat.tools, chat.template_kwargs]
            size = _LONG if chat.images or chat.sounds else 0
    while left and size < _LONG:
        match left.pop():
            case str() as text:
                size += len(text)
            case dict() as values:
                size += len(values)
                left.extend(values.values())
            case list() as values if values and not isinstance(values[0], int):
                size += len(values)
                left.extend(values)
            case list() as tokens:
                size += len(tokens)
    return size >= _LONG


def _may_need_grammar(job: PromptJob) -> bool:
    if not isinstance(job, Generate):
        return False
    offers_tools = isinstance(job.prompt, ChatPrompt) and bool(job.prompt.tools)
    return job.output_format is not None or offers_tools
