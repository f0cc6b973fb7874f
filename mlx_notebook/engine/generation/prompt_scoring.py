"""Computes the log probabilities of a prompt's own tokens, and their attention, chunk by chunk.

Between two chunks the scheduler does the steps of other requests.
"""

from contextlib import nullcontext

import mlx.core as mx

from mlx_notebook.engine.backends.backend import GeneratingBackend
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.generation.attention import AttentionRecord, attention_modules
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.protocol import Event, PromptLogprobs, TokenLogprob

_CHUNK = 256
"""Most tokens of one step."""

_MAX_ATTENTION = 8192
"""Most tokens of a prompt whose attention is recorded: they all travel in one event."""
_MAX_LOGPROBS = 2**18
"""Most log probabilities of one prompt: they all travel in one event."""


def check_scored(
    backend: GeneratingBackend, prompt: PreparedPrompt, count: int, attention_from: int | None
) -> None:
    """Check that a prompt can be scored with `count` alternatives for each token.

    Raises
    ------
    InvalidRequest
        If the prompt has images or is too long, or the attention of the model is not known.
    """
    if attention_from is not None:
        _check_attention(backend, len(prompt.tokens), attention_from)
    if prompt.image_spans:
        raise InvalidRequest(
            "a prompt with images cannot be scored: leave 'prompt_logprobs' out",
            "prompt_logprobs",
        )
    most = _MAX_LOGPROBS // (count + 1)
    if len(prompt.tokens) > most:
        raise InvalidRequest(
            f"the prompt has {len(prompt.tokens)} tokens, and {most} can be scored with {count} "
            "alternatives each: shorten it, or ask for fewer",
            "prompt_logprobs",
        )


def _check_attention(backend: GeneratingBackend, length: int, start: int) -> None:
    if not attention_modules(backend.model):
        raise InvalidRequest(
            f"the architecture of {backend.name} does not show its attention: leave "
            "'prompt_attention_from' out",
            "prompt_attention_from",
        )
    if not start < length <= _MAX_ATTENTION:
        raise InvalidRequest(
            f"the prompt has {length} tokens: 'prompt_attention_from' must be less than that, and "
            f"attention is reported for at most {_MAX_ATTENTION} tokens",
            "prompt_attention_from",
        )


class ScoringJob:
    """The scoring of one request's prompt.

    Parameters
    ----------
    request_id, tokens
        The request and the tokens of its prompt.
    count
        How many alternatives to report for each token.
    backend
        The model to run it on.
    attention_from
        The first token whose attention to the tokens before this place is reported. None: none.
    user
        The user who sent the request.
    patient
        Whether nobody waits for it.
    """

    def __init__(
        self,
        request_id: str,
        tokens: list[int],
        count: int,
        backend: GeneratingBackend,
        attention_from: int | None = None,
        user: str = "",
        patient: bool = False,
    ):
        self.id, self.user, self.patient = request_id, user, patient
        self._tokens, self._count, self._backend = tokens, count, backend
        self._scored: list[TokenLogprob | None] = [None]
        self._ids: list[list[int]] = [tokens[:1]]
        self._ranks: list[int] = [0]
        self._cache: BatchCache | None = None
        self._attention: AttentionRecord | None = None
        if attention_from is not None:
            self._attention = AttentionRecord(backend.model, attention_from, len(tokens))

    @property
    def nbytes(self) -> int:
        """Bytes of its KV cache, and of the attention weights of a step."""
        cache = 0 if self._cache is None else self._cache.nbytes
        return cache + (0 if self._attention is None else self._attention.nbytes)

    def step(self) -> Event | None:
        """Score the next chunk; return the answer after the last one."""
        backend = self._backend
        if self._cache is None:
            self._cache = BatchCache([backend.plain_cache()])
        begin = len(self._scored) - 1
        size = _CHUNK
        if self._attention is not None:
            size = min(size, self._attention.step_tokens(begin))
        inputs = self._tokens[begin : begin + size]
        following = self._tokens[begin + 1 : begin + 1 + size]
        if following:
            fed = mx.array([inputs], mx.uint32)
            record = self._attention
            with nullcontext() if record is None else record.recording(begin, len(inputs)):
                logits = self._cache.feed(backend.model, fed, [len(inputs)])[0, : len(following)]
            logprobs = logits.astype(mx.float32)
            logprobs = logprobs - mx.logsumexp(logprobs, axis=-1, keepdims=True)
            chosen = mx.take_along_axis(logprobs, mx.array(following)[:, None], axis=-1)
            count = max(1, self._count)
            best = mx.argsort(-logprobs, axis=-1)[:, :count]
            values = mx.take_along_axis(logprobs, best, axis=-1)
            self._ranks += ((logprobs > chosen).sum(axis=-1) + 1).tolist()
            rows = zip(following, chosen.tolist(), best.tolist(), values.tolist(), strict=True)
            for token, (logprob,), ids, numbers in rows:
                pairs = list(zip(ids, numbers, strict=True))[: self._count]
                self._scored.append(backend.vocabulary.logprob(token, logprob, pairs))
                self._ids.append([token, *ids[: self._count]])
        if len(self._scored) < len(self._tokens):
            return None
        self._cache = None
        attention = None if self._attention is None else self._attention.result()
        return PromptLogprobs(self.id, self._scored, self._ids, self._ranks, attention)
