"""What local models take beside the parameters of an API, through `extra_body` of its SDK."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from mlx_notebook.messages import RESERVED_KWARGS, Sampling
from mlx_notebook.server.errors import InvalidRequest

StopText = Annotated[str, Meta(min_length=1, max_length=4096)]


def checked_template_kwargs(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a copy of what a request tells the chat template beside messages and tools.

    Raises:
        InvalidRequest: It names a parameter of the renderer itself, such as the template.
    """
    for name in given or ():
        if name in RESERVED_KWARGS:
            raise InvalidRequest(
                f"'chat_template_kwargs' cannot set '{name}': it holds only variables that the "
                "model's own chat template reads.",
                param=f"chat_template_kwargs.{name}",
                code="unsupported_parameter",
            )
    return dict(given or {})


class LocalSampling(Struct, kw_only=True):
    """Sampling parameters of this server; `None` leaves them to the model's own settings."""

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def sampled(
        self,
        *,
        temperature: float | None,
        top_p: float | None,
        max_tokens: int | None,
        stop: list[str],
        logprobs: int | None = None,
        logit_bias: dict[int, float] | None = None,
    ) -> Sampling:
        """Return how tokens are to be chosen, together with the API's own parameters."""
        return Sampling(
            temperature=temperature,
            top_p=top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=logit_bias or {},
            seed=self.seed,
            max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0,
            stop=stop,
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
        )
