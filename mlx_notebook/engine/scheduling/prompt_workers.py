"""What a job needs before it can run, made by workers, off the thread that owns MLX.

What comes of it goes back to that thread through its inbox. Each model has workers of its own, for
short prompts and for long ones, so that a slow template or a long text holds up few others.
"""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from mlx_notebook.engine.backends.backend import Backend
from mlx_notebook.engine.errors import Cancelled, ContextOverflow, EngineError, InvalidRequest
from mlx_notebook.engine.generation.embedding_job import Embedding
from mlx_notebook.engine.generation.prompt_scoring import check_scored
from mlx_notebook.engine.generation.tokenization import tokenized
from mlx_notebook.engine.kv_cache.disk_store import Arrays
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.prompts.chat_format import OutputPlan
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, max_new_tokens, shortened
from mlx_notebook.engine.sandbox.deadline import Deadline, current
from mlx_notebook.protocol import (
    ChatPrompt,
    Embed,
    EngineConfig,
    Generate,
    TextPrompt,
    Tokenize,
    Tokenized,
)

log = logging.getLogger(__name__)

Job = Generate | Tokenize | Embed

_LONG = 2**16
"""Characters, images and other parts from which on a prompt is a long one."""


@dataclass(frozen=True)
class Planned:
    """A request's prompt, the plan for its rows, and how many tokens they may have.

    `on_disk` is how many tokens of the prompt were computed before and are kept there.
    """

    prompt: PreparedPrompt
    plan: OutputPlan
    max_tokens: int
    on_disk: int


@dataclass
class _Workers:
    """The threads that prepare one model's prompts."""

    short: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, "prompt"))
    grammar: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, "grammar"))
    """For requests that need a grammar: to compile one may take seconds."""
    long: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "long-prompt"))


@dataclass(frozen=True)
class _Work:
    """A job that is being prepared, or waits for that."""

    future: Future[None]
    deadline: Deadline
    then: Callable[["Made"], None]


Made = Planned | Tokenized | Embedding | EngineError


class Preparing:
    """Makes what jobs need.

    Parameters
    ----------
    settings, prefixes, workers
        As for `Residency`.
    inbox
        Takes functions that the thread which owns MLX is to call.
    """

    def __init__(
        self,
        settings: EngineConfig,
        prefixes: PrefixCache,
        workers: Executor,
        inbox: "queue.SimpleQueue[Any]",
    ):
        self._settings, self._prefixes = settings, prefixes
        self._workers, self._inbox = workers, inbox
        self._of_models: WeakKeyDictionary[Backend, _Workers] = WeakKeyDictionary()
        self._work: dict[str, _Work] = {}

    def make(self, job: Job, backend: Backend, then: Callable[[Made], None]) -> None:
        """Make what a job needs of its model; `then` takes it, or why it could not be made."""
        workers = self._of_models.get(backend) or _Workers()
        self._of_models[backend] = workers
        deadline = Deadline()

        def run() -> None:
            with deadline.active():
                made = self._made(job, backend)
            if deadline.stopped:
                made = Cancelled("the request was cancelled")
            self._inbox.put(partial(self._end, job.id, made))

        if _is_long(job):
            lane = workers.long
        else:
            lane = workers.grammar if _constrained(job) else workers.short
        self._work[job.id] = _Work(lane.submit(run), deadline, then)

    def cancel(self, job_id: str) -> None:
        """Stop making what a job needs: nobody waits for it any more."""
        work = self._work.get(job_id)
        if work is None:
            return
        work.deadline.stop()
        if work.future.cancel():
            self._end(job_id, Cancelled("the request was cancelled"))

    def _end(self, job_id: str, made: Made) -> None:
        self._work.pop(job_id).then(made)

    def read_back(
        self, model: str, prompt: PreparedPrompt, then: Callable[[int, Arrays], None]
    ) -> None:
        """Read what memory lacks of a computed prompt from disk; `then` takes its length and it."""

        def run() -> None:
            count, arrays = 0, Arrays()
            try:
                count, arrays = self._prefixes.read(model, prompt.cache_keys, prompt.salt)
            except Exception:
                log.exception("kept prompts could not be read")
            self._inbox.put(partial(then, count, arrays))

        self._workers.submit(run)

    def _made(self, job: Job, backend: Backend) -> Made:
        try:
            match job:
                case Generate():
                    return self._planned(job, backend)
                case Tokenize():
                    return tokenized(job, backend)
                case Embed():
                    return self._embedding(job, backend)
        except EngineError as error:
            return error
        except Exception as error:
            log.exception("preparing %s failed", job.id)
            return EngineError(f"the request could not be prepared: {error}")

    def _planned(self, command: Generate, backend: Backend) -> Planned:
        prompt, plan = backend.plan(command)
        if command.prompt_logprobs is not None:
            check_scored(prompt, command.prompt_logprobs)
        max_tokens = max_new_tokens(
            len(prompt.tokens),
            backend.context_length,
            command.sampling.max_tokens,
            self._settings.max_prompt_tokens,
        )
        prompt.salt = command.cache_salt
        on_disk = self._prefixes.on_disk(command.model, prompt.cache_keys, prompt.salt)
        return Planned(prompt, plan, max_tokens, on_disk)

    def _embedding(self, command: Embed, backend: Backend) -> Embedding:
        length_limit = None if command.truncate is None else backend.length_limit.stated
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
            inputs = [shortened(backend.tokenizer, tokens, most) for tokens in inputs]
        if not inputs or not all(inputs):
            raise InvalidRequest("an input is empty", "input")
        return Embedding(command, inputs, backend.context_length, self._settings.prefill_step)


def _is_long(job: Job) -> bool:
    """Whether preparing a job may take longer than most do."""
    size = 0
    match job:
        case Embed():
            left: list[Any] = list(job.inputs)
        case Generate(prompt=TextPrompt(text=text)) | Tokenize(prompt=TextPrompt(text=text)):
            left = [text]
        case Generate(prompt=chat) | Tokenize(prompt=chat):
            assert isinstance(chat, ChatPrompt)
            left = [chat.messages, chat.tools, chat.template_kwargs]
            size = _LONG if chat.images else 0
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


def _constrained(job: Job) -> bool:
    """Say whether a job may need a grammar."""
    if not isinstance(job, Generate):
        return False
    offers_tools = isinstance(job.prompt, ChatPrompt) and bool(job.prompt.tools)
    return job.output_format is not None or offers_tools
