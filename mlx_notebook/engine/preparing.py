"""What a job needs before it can run, made by workers, off the thread that owns MLX.

What comes of it goes back to that thread through its inbox.
"""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlx_notebook.engine.backend import Backend
from mlx_notebook.engine.embedding import Embedding
from mlx_notebook.engine.errors import EngineError, InvalidRequest
from mlx_notebook.engine.language import Plan
from mlx_notebook.engine.prefix_cache import PrefixCache
from mlx_notebook.engine.prefix_store import Arrays
from mlx_notebook.engine.prompts import Prepared, allowed_tokens, shortened, tokenized
from mlx_notebook.engine.scoring import check_scored
from mlx_notebook.messages import Embed, EngineConfig, Generate, TextPrompt, Tokenize, Tokenized

log = logging.getLogger(__name__)

Job = Generate | Tokenize | Embed


@dataclass(frozen=True)
class Planned:
    """A request's prompt, the plan for its rows, and how many tokens they may have.

    `on_disk` is how many tokens of the prompt were computed before and are kept there.
    """

    prompt: Prepared
    plan: Plan
    max_tokens: int
    on_disk: int


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

    def make(self, job: Job, backend: Backend, then: Callable[[Made], None]) -> None:
        """Make what a job needs of its model; `then` takes it, or why it could not be made."""
        self._workers.submit(lambda: self._inbox.put(partial(then, self._made(job, backend))))

    def read_back(self, model: str, prompt: Prepared, then: Callable[[int, Arrays], None]) -> None:
        """Read what memory lacks of a computed prompt from disk; `then` takes its length and it."""

        def run() -> None:
            count, arrays = 0, Arrays()
            try:
                count, arrays = self._prefixes.read(model, prompt.known_as, prompt.salt)
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
                    return tokenized(job, backend.tokenizer, backend.prepare)
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
        max_tokens = allowed_tokens(
            len(prompt.tokens),
            backend.context_length,
            command.sampling.max_tokens,
            self._settings.max_prompt_tokens,
        )
        prompt.salt = command.cache_salt
        on_disk = self._prefixes.on_disk(command.model, prompt.known_as, prompt.salt)
        return Planned(prompt, plan, max_tokens, on_disk)

    def _embedding(self, command: Embed, backend: Backend) -> Embedding:
        inputs = [backend.prepare(TextPrompt(text=text)).tokens for text in command.inputs]
        if command.truncate is not None:
            most = backend.context_length if command.truncate == -1 else command.truncate
            inputs = [shortened(backend.tokenizer, tokens, most) for tokens in inputs]
        if not inputs or not all(inputs):
            raise InvalidRequest("an input is empty", "input")
        return Embedding(command, inputs, backend.context_length, self._settings.prefill_step)
