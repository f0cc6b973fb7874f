"""Drafts of the next tokens from a smaller model."""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from mlx_notebook.engine.sampling.row import Row
from mlx_notebook.engine.sampling.sampler import choose_at

MAX_DRAFT = 8
"""Most tokens that a draft model drafts before the model checks them."""


class DraftLength:
    """How many tokens to draft: more while they are accepted; fewer, then none, if they are not."""

    def __init__(self, limit: int):
        self._limit, self._length = limit, min(limit, 4)
        self._misses = self._rest = 0

    def next(self) -> int:
        """Return how many tokens to draft now."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._length

    def update(self, drafted: int, accepted: int) -> None:
        """Adapt the length to how many of the drafted tokens were accepted."""
        full = accepted == drafted
        self._length = min(2 * self._length, self._limit) if full else max(1, accepted)
        self._misses = 0 if accepted else self._misses + 1
        if self._misses == 4:
            self._misses, self._rest = 0, 16


class DraftModel:
    """Drafts with a smaller model of the same vocabulary.

    It samples with the row's own settings and random stream. So drafts of sampled rows, too, are
    accepted wherever the two models agree. Its KV cache is kept for the next turn.

    Parameters
    ----------
    width
        The number of logits of the large model.
    prefill_step
        How many prompt tokens it computes at a time. The row decodes without drafts until then.
    """

    def __init__(self, model: Any, width: int, prefill_step: int):
        self.length = DraftLength(MAX_DRAFT)
        self._model, self._width, self._prefill_step = model, width, prefill_step
        self._cache = make_prompt_cache(model)
        self._tokens: list[int] = []
        self._user = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its KV cache."""
        return sum(int(layer.nbytes) for layer in self._cache)

    def draft(
        self, row: Row, tokens: list[int], last: mx.array, count: int, user: str = ""
    ) -> mx.array | None:
        """Draft with the small model, or compute a part of the prompt.

        What it has computed for one user is not used for another.
        """
        self._cut_to(tokens if user == self._user else [])
        self._user = user
        behind = tokens[len(self._tokens) :]
        if len(behind) > self._prefill_step:
            self._prefill(behind[: self._prefill_step])
            return None
        self._tokens.extend(behind)
        inputs = mx.concatenate([mx.array(behind, mx.uint32), last]) if behind else last
        drafted = []
        for index in range(count):
            logits = self._model(inputs[None], cache=self._cache)[0, -1:, : self._width]
            inputs = choose_at([row], [index], logits).astype(mx.uint32)
            mx.async_eval(inputs)
            drafted.append(inputs)
        return mx.concatenate(drafted)

    def checked(self, fed: list[int]) -> None:
        """Record the tokens that the small model was fed: all but the last one."""
        self._tokens.extend(fed[:-1])

    def _cut_to(self, tokens: list[int]) -> None:
        """Cut the KV cache back to the tokens that it has in common with the row."""
        known = self._tokens
        if tokens[: len(known)] == known:
            return
        shared = next(
            (i for i, (a, b) in enumerate(zip(known, tokens, strict=False)) if a != b),
            min(len(known), len(tokens)),
        )
        trim_prompt_cache(self._cache, len(known) - shared)
        self._tokens = known[:shared]

    def _prefill(self, tokens: list[int]) -> None:
        self._model(mx.array([tokens], mx.uint32), cache=self._cache)
        mx.eval([layer.state for layer in self._cache])
        self._tokens.extend(tokens)
