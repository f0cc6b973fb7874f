"""What local models take beside the parameters of an API, through `extra_body` of its SDK."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, structs

from mlx_notebook.protocol import RESERVED_KWARGS, ChatPrompt, Sampling
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.parameters import RequestParameters
from mlx_notebook.server.wire.unsupported_parameters import GENERATION, Unsupported

StopText = Annotated[str, Meta(min_length=1, max_length=4096)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Penalty = Annotated[float, Meta(gt=0, le=100)]
_Bias = Annotated[float, Meta(ge=-100, le=100)]
# The bias of a token that is never chosen.
_NEVER = -100.0
BadWord = Annotated[str, Meta(min_length=1, max_length=256)]


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


class SamplingParameters(RequestParameters, kw_only=True):
    """Parameters of this server for every endpoint that generates; `None` leaves them open.

    `stop_token_ids` end the answer and are no part of it. `bad_words` are never completed.
    `allowed_token_ids` are the only tokens that may be chosen. `repeat_penalty` is llama.cpp's
    name of `repetition_penalty`; with `repeat_last_n` all penalties count only so many tokens of
    prompt and answer (-1: all). `typical_p` keeps the tokens that are about as likely as is
    typical, `xtc_*` now and then drops the likeliest ones. `seed: -1` draws a seed, as no seed
    does. `logit_bias` may be llama.cpp's list of pairs too, where `false` forbids a token.

    `truncate_prompt_tokens` feeds that many of the prompt's last tokens (-1: as many as leave room
    for the answer). With `continue_final_message` and `add_generation_prompt: false` the answer
    goes on with the last message, which is the assistant's. `enable_thinking` says whether the
    model thinks, `include_reasoning: false` leaves its thinking out of the answer.
    `return_token_ids` and `prompt_logprobs` add what their names say.
    """

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    xtc_probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    xtc_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Penalty | None = None
    repeat_penalty: Penalty | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=65536)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[TokenId, _Bias] | list[tuple[TokenId, _Bias | bool]] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=128)] | None = None
    bad_words: Annotated[list[BadWord], Meta(max_length=128)] | None = None
    allowed_token_ids: Annotated[list[TokenId], Meta(min_length=1, max_length=65536)] | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    include_reasoning: bool | None = None
    return_token_ids: bool | None = None
    prompt_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return what is refused, by name."""
        return GENERATION

    def given_template_kwargs(self) -> dict[str, Any]:
        """Return what the request tells the chat template itself.

        Raises:
            InvalidRequest: It sets what is no variable of a template.
        """
        thinks = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
        return {**thinks, **checked_template_kwargs(self.chat_template_kwargs)}

    def with_continuation(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return a prompt whose last message is to be gone on with, if that is asked for.

        Raises:
            InvalidRequest: The last message cannot be gone on with.
        """
        if not self.continue_final_message:
            opens = self.add_generation_prompt is not False
            return structs.replace(prompt, add_generation_prompt=opens)
        if self.add_generation_prompt:
            raise InvalidRequest(
                "'continue_final_message' needs 'add_generation_prompt' to be false.",
                param="add_generation_prompt",
            )
        return continue_last_message(prompt, "continue_final_message")

    def engine_sampling(
        self,
        *,
        temperature: float | None,
        top_p: float | None,
        max_tokens: int | None,
        stop: list[str],
        logprobs: int | None = None,
    ) -> Sampling:
        """Return how tokens are to be chosen, together with the API's own parameters.

        Raises:
            InvalidRequest: Two names of one parameter differ.
        """
        penalty, other = self.repetition_penalty, self.repeat_penalty
        if None not in (penalty, other) and penalty != other:
            raise InvalidRequest(
                "'repeat_penalty' is another name of 'repetition_penalty', and the two differ: "
                "send one of them.",
                param="repeat_penalty",
            )
        window = None if self.repeat_last_n == -1 else self.repeat_last_n
        return Sampling(
            temperature=temperature,
            top_p=top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            typical_p=1.0 if self.typical_p is None else self.typical_p,
            xtc_probability=self.xtc_probability or 0.0,
            xtc_threshold=0.1 if self.xtc_threshold is None else self.xtc_threshold,
            repetition_penalty=other if penalty is None else penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repeat_last_n=window,
            logit_bias=self._biases(),
            seed=None if self.seed == -1 else self.seed,
            max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0,
            stop=stop,
            stop_token_ids=self.stop_token_ids or [],
            bad_words=self.bad_words or [],
            allowed_token_ids=self.allowed_token_ids,
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
        )

    def _biases(self) -> dict[int, float]:
        """Return the bias of each token.

        Raises:
            InvalidRequest: One is `true`.
        """
        given = self.logit_bias or {}
        biases = dict(given)
        if any(bias is True for bias in biases.values()):
            raise InvalidRequest(
                "'logit_bias' is not valid: a bias is a number, or false for a token that must "
                "not be chosen.",
                param="logit_bias",
                code="invalid_value",
            )
        return {token: _NEVER if bias is False else bias for token, bias in biases.items()}


def continue_last_message(prompt: ChatPrompt, param: str) -> ChatPrompt:
    """Return a prompt whose last message the model goes on with.

    Raises:
        InvalidRequest: That message is not the assistant's, says nothing, or makes a call; `param`
            is the parameter at fault.
    """
    last = prompt.messages[-1]
    if last["role"] != "assistant":
        raise InvalidRequest(
            f"'{param}' needs a last message of the role 'assistant', which the answer continues.",
            param=param,
        )
    if last.get("tool_calls"):
        raise InvalidRequest(
            "The last message makes a tool call and cannot be continued: send the call's result.",
            param=param,
        )
    if not (last["content"] or last.get("reasoning_content")):
        raise InvalidRequest(
            "The last message is empty: leave it out, or say how the answer begins.", param=param
        )
    return structs.replace(prompt, add_generation_prompt=False, continues=True)
