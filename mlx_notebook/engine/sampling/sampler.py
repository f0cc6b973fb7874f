"""How the next token of every row is chosen, in one pass over the whole batch.

Each row has a random stream of its own that depends on its seed and position alone, so a request
gives the same text alone or beside others. Filters follow mlx-lm's `make_sampler`: top-p, min-p
and top-k cut the model's own distribution, typical-p and XTC what is left of it, then temperature
applies.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np

from mlx_notebook.engine.grammar.constraints import Constraint
from mlx_notebook.engine.grammar.mask import apply, words
from mlx_notebook.engine.sampling.penalties import adjust
from mlx_notebook.model_files.generation_config import effective_sampling
from mlx_notebook.protocol import Sampling

_GOLDEN = 0x9E3779B9
_MASK32 = 0xFFFFFFFF


@dataclass(eq=False)
class Row:
    """One sequence's settings and state in the sampler.

    `position` counts tokens chosen so far; `logprobs` is how many alternatives to report. `allowed`
    are the only tokens that may be chosen (`None`: all); `stop` end the row beside the model's own.
    Penalties count the last `window` tokens of `prompt` and answer (`None`: see `penalties`).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    window: int | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)
    allowed: list[int] | None = field(default=None, repr=False)
    stop: tuple[int, ...] = ()
    seed: int = 0
    logprobs: int | None = None
    constraint: Constraint | None = None
    prompt: list[int] = field(default_factory=list, repr=False)
    position: int = 0
    counts: mx.array | None = field(default=None, repr=False)
    seen: mx.array | None = field(default=None, repr=False)
    recent: mx.array | None = field(default=None, repr=False)
    bias: mx.array | None = field(default=None, repr=False)

    @property
    def filtered(self) -> bool:
        """Whether top-k, top-p or min-p cut this row's distribution."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)

    @property
    def is_typical(self) -> bool:
        """Whether typical-p cuts this row's distribution."""
        return self.temperature > 0 and self.typical_p < 1

    @property
    def excludes(self) -> bool:
        """Whether this row's likeliest tokens are dropped now and then (XTC)."""
        return self.temperature > 0 and self.xtc_probability > 0

    @property
    def adjusted(self) -> bool:
        """Whether penalties or a bias change this row's logits."""
        return bool(
            self.logit_bias
            or self.allowed is not None
            or self.repetition_penalty != 1
            or self.presence_penalty
            or self.frequency_penalty
        )


def make_row(
    sampling: Sampling,
    defaults: Mapping[str, float],
    prompt: list[int],
    index: int = 0,
    constraint: Constraint | None = None,
) -> Row:
    """The row for one sequence of a request.

    `defaults` are the model's own generation settings; `index` is the row's number within its
    request, which gives each of `n` rows a stream of its own. Without a seed one is drawn.
    """
    chosen = effective_sampling(sampling, defaults)
    seed = sampling.seed if sampling.seed is not None else secrets.randbits(64)
    window = sampling.repeat_last_n
    counted = prompt if chosen["repetition_penalty"] != 1.0 else []
    if window is not None:
        counted = prompt[-window:] if window else []
    return Row(
        temperature=float(chosen["temperature"]),
        top_p=float(chosen["top_p"]),
        top_k=max(0, int(chosen["top_k"])),
        min_p=float(chosen["min_p"]),
        typical_p=sampling.typical_p,
        xtc_probability=sampling.xtc_probability,
        xtc_threshold=sampling.xtc_threshold,
        repetition_penalty=float(chosen["repetition_penalty"]),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        window=window,
        logit_bias=sampling.logit_bias,
        allowed=sampling.allowed_token_ids,
        stop=tuple(sampling.stop_token_ids),
        seed=(seed + index * 0x5851F42D4C957F2D) & 0xFFFFFFFFFFFFFFFF,
        logprobs=sampling.logprobs,
        constraint=constraint,
        prompt=counted,
    )


def row_key(row: Row) -> tuple[int, int]:
    """The two words of the row's random key at its present position (Threefry is counter-based)."""
    low, high = row.seed & _MASK32, row.seed >> 32
    return low ^ ((high * _GOLDEN) & _MASK32), (high + row.position) & _MASK32


_noise = mx.vmap(lambda key, like: mx.random.gumbel(like.shape, mx.float32, key))
_uniform = mx.vmap(lambda key: mx.random.uniform(key=key))
# XTC draws from a stream of its own, so that a row without it has the same noise.
_XTC_STREAM = 0x78746300


class _Plan:
    """What is the same for every step of an unchanged batch: settings as arrays."""

    def __init__(self, rows: list[Row]):
        self.rows = list(rows)
        self.greedy = all(row.temperature <= 0 for row in rows)
        self.adjusted = [i for i, row in enumerate(rows) if row.adjusted]
        self.constrained = [i for i, row in enumerate(rows) if row.constraint is not None]
        self.reported = [i for i, row in enumerate(rows) if row.logprobs is not None]
        self.filtered = any(row.filtered for row in rows)
        self.typical = any(row.is_typical for row in rows)
        self.excluding = any(row.excludes for row in rows)
        if self.greedy:
            return

        def column(values: list[float]) -> mx.array:
            return mx.array(values, mx.float32)[:, None]

        self.inverse_temperature = column([1 / (r.temperature or 1) for r in rows])
        self.noise_scale = column([float(r.temperature > 0) for r in rows])
        self.keys = mx.array([row_key(row) for row in rows], mx.uint32)
        self.next_key = mx.array([0, 1], mx.uint32)
        if self.filtered:
            self.top_p = column([r.top_p if r.temperature > 0 else 1.0 for r in rows])
            self.log_min_p = column([math.log(r.min_p) if r.min_p > 0 else -math.inf for r in rows])
            self.top_k = mx.array([r.top_k for r in rows], mx.int32)[:, None]
        if self.typical:
            self.typical_p = column([r.typical_p if r.is_typical else 1.0 for r in rows])
        if self.excluding:
            self.xtc_probability = column([r.xtc_probability if r.excludes else 0.0 for r in rows])
            self.xtc_threshold = column([r.xtc_threshold for r in rows])

    def fits(self, rows: list[Row]) -> bool:
        """Whether this plan was made for exactly these rows."""
        return len(rows) == len(self.rows) and all(
            a is b for a, b in zip(rows, self.rows, strict=True)
        )


class BatchSampler:
    """Chooses one token a row; keeps its plan while the batch stays the same."""

    def __init__(self) -> None:
        self._plan = _Plan([])

    def forget(self) -> None:
        """Rows have moved on without this sampler: look at them anew."""
        self._plan = _Plan([])

    def plan(self, rows: list[Row]) -> _Plan:
        """The plan for these rows, made anew only when they changed."""
        if not self._plan.fits(rows):
            self._plan = _Plan(rows)
        return self._plan

    def __call__(
        self, rows: list[Row], inputs: mx.array, logits: mx.array
    ) -> tuple[mx.array, list[tuple[mx.array, mx.array, mx.array] | None]]:
        """Choose the next token of each row.

        Parameters
        ----------
        rows
            One a row of the batch, in its order. Their positions move on by one.
        inputs
            The tokens fed in this step, shape (B,); they count towards penalties.
        logits
            Shape (B, vocabulary). Constraints were applied by the caller.

        Returns
        -------
        tokens
            Shape (B,), not evaluated.
        logprobs
            For each row that asked: log probability of the token, ids and log probabilities
            of the most likely ones; taken from the model's own distribution.
        """
        plan = self.plan(rows)
        raw = logits
        if plan.adjusted:
            logits = adjust(rows, plan.adjusted, inputs, logits)
        if plan.constrained:
            logits = _constrain(rows, plan.constrained, logits)
        tokens = _choose(plan, logits)
        if not plan.greedy:
            plan.keys = plan.keys + plan.next_key
        for row in rows:
            row.position += 1
        logprobs: list[tuple[mx.array, mx.array, mx.array] | None] = [None] * len(rows)
        for i in plan.reported:
            logprobs[i] = _report(raw[i], tokens[i], rows[i].logprobs or 0)
        return tokens, logprobs


def choose_ahead(row: Row, logits: mx.array, skipped: int = 0) -> mx.array:
    """The tokens that a row without penalties and constraint would choose, several at once.

    Parameters
    ----------
    logits
        Shape (L, vocabulary): after L tokens in a row, of which the first one chooses for the
        row's present position plus `skipped`. The row does not move on.

    Returns
    -------
    Shape (L,), not evaluated.
    """
    first = row.position + skipped
    if row.temperature <= 0:
        return mx.argmax(logits, axis=-1)
    rows = [replace(row, position=first + place) for place in range(logits.shape[0])]
    return _choose(_Plan(rows), logits)


def _choose(plan: _Plan, logits: mx.array) -> mx.array:
    if plan.greedy:
        return mx.argmax(logits, axis=-1)
    scores = logits.astype(mx.float32)
    if plan.filtered:
        scores = _cut(scores, plan)
    if plan.typical:
        scores = _typical(scores, plan)
    if plan.excluding:
        scores = _exclude(scores, plan)
    scores = scores * plan.inverse_temperature
    scores = scores + _noise(plan.keys, scores) * plan.noise_scale
    return mx.argmax(scores, axis=-1)


def _constrain(rows: list[Row], constrained: list[int], logits: mx.array) -> mx.array:
    """Put every token that a row's constraint forbids out of reach."""
    masks = np.full((len(constrained), words(logits.shape[-1])), _MASK32, np.uint32)
    filled = []
    for i, mask in zip(constrained, masks, strict=True):
        constraint = rows[i].constraint
        filled.append(constraint is not None and constraint.fill(mask))
    if not any(filled):
        return logits
    if len(constrained) == len(rows):
        return apply(logits, masks)
    # Free rows need no mask, which is large for large vocabularies.
    where = mx.array(constrained)
    masked = mx.array(logits)  # the original still serves the log probabilities
    masked[where] = apply(logits[where], masks)
    return masked


def _cut(scores: mx.array, plan: _Plan) -> mx.array:
    """Drop what top-p, min-p and top-k exclude, by one threshold a row."""
    size = scores.shape[-1]
    ordered = mx.sort(scores, axis=-1)
    probabilities = mx.softmax(ordered, axis=-1)
    above = mx.cumsum(probabilities, axis=-1, reverse=True, inclusive=False)
    dropped = (above >= plan.top_p).sum(axis=-1, keepdims=True)
    dropped = mx.minimum(dropped, size - 1)
    k = mx.where(plan.top_k > 0, mx.minimum(plan.top_k, size), size)
    first_kept = mx.maximum(dropped, size - k)
    threshold = mx.take_along_axis(ordered, first_kept, axis=-1)
    threshold = mx.maximum(threshold, ordered[:, -1:] + plan.log_min_p)
    return mx.where(scores < threshold, -mx.inf, scores)


def _typical(scores: mx.array, plan: _Plan) -> mx.array:
    """Keep the tokens whose information is closest to what is expected, up to `typical_p` in all.

    Locally typical sampling: https://arxiv.org/abs/2202.00666.
    """
    logprobs = scores - mx.logsumexp(scores, axis=-1, keepdims=True)
    probabilities = mx.exp(logprobs)
    possible = probabilities > 0
    entropy = -mx.where(possible, probabilities * logprobs, 0).sum(axis=-1, keepdims=True)
    distance = mx.where(possible, mx.abs(logprobs + entropy), mx.inf)
    order = mx.argsort(distance, axis=-1)
    mass = mx.cumsum(mx.take_along_axis(probabilities, order, axis=-1), axis=-1)
    last = (mass < plan.typical_p).sum(axis=-1, keepdims=True)
    last = mx.minimum(last, scores.shape[-1] - 1)
    farthest = mx.take_along_axis(mx.take_along_axis(distance, order, axis=-1), last, axis=-1)
    farthest = mx.where(plan.typical_p < 1, farthest, mx.inf)
    return mx.where(distance > farthest, -mx.inf, scores)


def _exclude(scores: mx.array, plan: _Plan) -> mx.array:
    """Now and then drop the tokens above a threshold, all but the least likely of them (XTC).

    As llama.cpp and mlx-lm have it: https://github.com/oobabooga/text-generation-webui/pull/6335.
    """
    probabilities = mx.softmax(scores, axis=-1)
    above = probabilities > plan.xtc_threshold
    least = mx.where(above, probabilities, mx.inf).min(axis=-1, keepdims=True)
    drawn = _uniform(plan.keys ^ mx.array([_XTC_STREAM, 0], mx.uint32))[:, None]
    dropped = (drawn < plan.xtc_probability) & (probabilities > least)
    return mx.where(dropped, -mx.inf, scores)


def _report(logits: mx.array, token: mx.array, count: int) -> tuple[mx.array, mx.array, mx.array]:
    logprobs = logits.astype(mx.float32)
    logprobs = logprobs - mx.logsumexp(logprobs)
    if count == 0:
        none = mx.zeros((0,), mx.uint32)
        return logprobs[token], none, mx.zeros((0,), mx.float32)
    best = mx.argpartition(-logprobs, kth=min(count, logits.shape[-1]) - 1)[:count]
    best = best[mx.argsort(-logprobs[best])]
    return logprobs[token], best, logprobs[best]
