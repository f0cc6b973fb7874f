"""`options` of Ollama's requests, and how long a model is kept.

Format: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx (parameters) and docs/api.md.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from mlx_notebook.protocol import Sampling
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.sampling_parameters import (
    Penalty,
    SamplingParameters,
    StopText,
)
from mlx_notebook.server.wire.parameters.unsupported_parameters import Unsupported

_INT32 = 2**31 - 1
_Int = Annotated[int, Meta(ge=-(2**31), le=_INT32)]
# How another server runs a model, and the length of its context. Here a model always has its own.
_ABOUT_RUNNING = (
    *("numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep"),
    *("low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock"),
    *("embedding_only", "penalize_newline", "mirostat_tau", "mirostat_eta"),
)
_UNITS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "ns": 1e-9,
}
_DURATION = re.compile(r"(?P<number>\d+\.?\d*|\.\d+)(?P<unit>h|ms|m|s|us|\u00b5s|ns)")

KeepTime = str | int | float


class OllamaOptions(RequestParameters, kw_only=True):
    """Sampling parameters. `num_predict` is the most tokens of the answer (-1, -2: no limit)."""

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    num_predict: Annotated[int, Meta(ge=-2, le=_INT32)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=65536)] | None = None
    repeat_penalty: Penalty | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None

    # Validated, then ignored.
    numa: bool | None = None
    num_ctx: _Int | None = None
    num_batch: _Int | None = None
    num_gpu: _Int | None = None
    main_gpu: _Int | None = None
    num_thread: _Int | None = None
    num_keep: _Int | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    embedding_only: bool | None = None
    penalize_newline: bool | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the options that this server refuses if they would change the answer."""
        return {
            "mirostat": Unsupported("use 'temperature', 'top_p' or 'min_p'", (0,)),
            "tfs_z": Unsupported("use 'min_p' or 'typical_p'", (0, 0.0, 1, 1.0)),
        }

    def sampling(self, logprobs: int | None = None) -> Sampling:
        """Return the sampling parameters for the engine.

        Parameters
        ----------
        logprobs
            Number of alternatives for each token; None for no log probabilities.
        """
        most = self.num_predict
        return SamplingParameters(
            seed=self.seed,
            top_k=self.top_k,
            min_p=self.min_p,
            typical_p=self.typical_p,
            # No token counts: the same as no penalty, so that the engine need not know.
            repeat_penalty=1.0 if self.repeat_last_n == 0 else self.repeat_penalty,
            repeat_last_n=None if self.repeat_last_n == 0 else self.repeat_last_n,
            presence_penalty=None if self.repeat_last_n == 0 else self.presence_penalty,
            frequency_penalty=None if self.repeat_last_n == 0 else self.frequency_penalty,
        ).engine_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=_INT32 if most is not None and most <= 0 else most,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or [],
            logprobs=logprobs,
        )


UNUSED_OPTIONS = frozenset(f"options.{name}" for name in _ABOUT_RUNNING)
"""Options that are validated and then ignored."""


def keep_seconds(given: KeepTime | None) -> float | None:
    """Return `keep_alive` in seconds: a number, or text such as "5m" or "1h30m".

    Returns
    -------
    float or None
        Infinity for a negative time. None if none is given.

    Raises
    ------
    InvalidRequest
        The text is no duration.
    """
    if given is None or given == "":
        return None
    seconds = _seconds(given) if isinstance(given, str) else float(given)
    return float("inf") if seconds < 0 else seconds


def _seconds(text: str) -> float:
    sign, digits = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if re.fullmatch(r"\d{1,18}(\.\d{0,9})?", digits):
        return sign * float(digits)
    parts = list(_DURATION.finditer(digits)) if len(digits) <= 64 else []
    if not parts or "".join(part[0] for part in parts) != digits:
        raise InvalidRequest(
            f"'keep_alive' is not valid: {text[:64]!r} is neither a number of seconds nor a "
            "duration such as '5m' or '1h30m'.",
            param="keep_alive",
            code="invalid_value",
        )
    return sign * sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)
