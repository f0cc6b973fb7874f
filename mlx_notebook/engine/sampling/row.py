"""The sampling settings of one row of the batch, and what the sampler has to remember of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import mlx.core as mx

from mlx_notebook.engine.grammar.constraints import Constraint
from mlx_notebook.model_files.generation_config import effective_sampling
from mlx_notebook.protocol import Sampling

_GOLDEN = 0x9E3779B9
_MASK32 = 0xFFFFFFFF
_ROW_STRIDE = 0x5851F42D4C957F2D


@dataclass(eq=False)
class Row:
    """The sampling settings and state of one row.

    Attributes
    ----------
    window
        Penalties count the last `window` tokens of `prompt` and answer. With None, the repetition
        penalty counts all of them, the other penalties the answer.
    allowed
        The only tokens that may be chosen; None allows all.
    stop
        Tokens that end the row, beside the model's end tokens.
    logprobs
        How many alternatives to report for each token; None reports no log probabilities.
    prompt
        The prompt tokens that penalties count.
    position
        The number of tokens chosen so far.
    counts, seen, recent, bias
        State of the penalties, shape (vocabulary,), or for `recent` (window,).
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
    def uses_top_filters(self) -> bool:
        """Whether top-k, top-p or min-p apply to this row."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)

    @property
    def uses_typical_p(self) -> bool:
        """Whether typical-p applies to this row."""
        return self.temperature > 0 and self.typical_p < 1

    @property
    def uses_xtc(self) -> bool:
        """Whether XTC applies to this row."""
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

    @property
    def random_key(self) -> tuple[int, int]:
        """The two words of the row's key at this position, for MLX's counter-based generator."""
        low, high = self.seed & _MASK32, self.seed >> 32
        return low ^ ((high * _GOLDEN) & _MASK32), (high + self.position) & _MASK32


def make_row(
    sampling: Sampling,
    defaults: Mapping[str, float],
    prompt: list[int],
    index: int = 0,
    constraint: Constraint | None = None,
) -> Row:
    """Return the row for one answer to a request.

    Parameters
    ----------
    sampling
        The request's settings. Without a seed, a random one is used.
    defaults
        The model's own sampling settings.
    prompt
        The tokens of the prompt.
    index
        The number of the row within its request. Each row has its own random stream.
    """
    settings = effective_sampling(sampling, defaults)
    seed = sampling.seed if sampling.seed is not None else secrets.randbits(64)
    window = sampling.repeat_last_n
    counted = prompt if settings["repetition_penalty"] != 1.0 else []
    if window is not None:
        counted = prompt[-window:] if window else []
    return Row(
        temperature=float(settings["temperature"]),
        top_p=float(settings["top_p"]),
        top_k=max(0, int(settings["top_k"])),
        min_p=float(settings["min_p"]),
        typical_p=sampling.typical_p,
        xtc_probability=sampling.xtc_probability,
        xtc_threshold=sampling.xtc_threshold,
        repetition_penalty=float(settings["repetition_penalty"]),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        window=window,
        logit_bias=sampling.logit_bias,
        allowed=sampling.allowed_token_ids,
        stop=tuple(sampling.stop_token_ids),
        seed=(seed + index * _ROW_STRIDE) & 0xFFFFFFFFFFFFFFFF,
        logprobs=sampling.logprobs,
        constraint=constraint,
        prompt=counted,
    )
