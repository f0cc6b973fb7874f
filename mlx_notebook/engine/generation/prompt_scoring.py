"""Computes the log probabilities of a prompt's own tokens, one chunk at a time.

Between two chunks the scheduler does the steps of other requests.
"""

import mlx.core as mx

from mlx_notebook.engine.backends.backend import GeneratingBackend
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.kv_cache.batch_cache import BatchCache
from mlx_notebook.engine.prompts.prompt import PreparedPrompt
from mlx_notebook.protocol import Event, PromptLogprobs, TokenLogprob

_CHUNK = 256
_MAX_LOGPROBS = 2**18
"""Most log probabilities of one prompt: they all travel in one event."""


def check_scored(prompt: PreparedPrompt, count: int) -> None:
    """Check that a prompt can be scored with `count` alternatives for each token.

    Raises
    ------
    InvalidRequest
        If the prompt has images or is too long.
    """
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
        user: str = "",
        patient: bool = False,
    ):
        self.id, self.user, self.patient = request_id, user, patient
        self._tokens, self._count, self._backend = tokens, count, backend
        self._scored: list[TokenLogprob | None] = [None]
        self._ids: list[list[int]] = [tokens[:1]]
        self._ranks: list[int] = [0]
        self._cache: BatchCache | None = None

    def step(self) -> Event | None:
        """Score the next chunk; return the answer after the last one."""
        backend = self._backend
        if self._cache is None:
            self._cache = BatchCache([backend.plain_cache()])
        begin = len(self._scored) - 1
        inputs = self._tokens[begin : begin + _CHUNK]
        following = self._tokens[begin + 1 : begin + 1 + _CHUNK]
        if following:
            fed = mx.array([inputs], mx.uint32)
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
        return PromptLogprobs(self.id, self._scored, self._ids, self._ranks)
