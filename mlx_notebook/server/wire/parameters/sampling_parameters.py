"""Sampling parameters of local servers, which clients send through `extra_body` of an SDK."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, structs

from mlx_notebook.protocol import RESERVED_KWARGS, ChatPrompt, Sampling
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.unsupported_parameters import GENERATION, Unsupported

StopText = Annotated[str, Meta(min_length=1, max_length=4096)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Penalty = Annotated[float, Meta(gt=0, le=100)]
_Bias = Annotated[float, Meta(ge=-100, le=100)]
# The bias of a token that is never sampled.
_NEVER = -100.0
BadWord = Annotated[str, Meta(min_length=1, max_length=256)]


def checked_template_kwargs(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a copy of a request's `chat_template_kwargs`.

    Raises
    ------
    InvalidRequest
        A name is reserved for the renderer, such as `messages`.
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
    """Parameters of every endpoint that generates text; `None` means not set.

    `stop_token_ids` end the answer and are not part of it. `bad_words` never occur in the answer.
    If `allowed_token_ids` is set, only these tokens are sampled. `repeat_penalty` is llama.cpp's
    name for `repetition_penalty`. `repeat_last_n` applies all penalties to the last tokens of
    prompt and answer only (-1: to all). `typical_p` is locally typical sampling; `xtc_*` sometimes
    excludes the most likely tokens. `seed: -1` is the same as no seed. `logit_bias` can also be
    llama.cpp's list of pairs, where `false` forbids a token.

    `truncate_prompt_tokens` keeps only the last tokens of the prompt (-1: as many as leave room for
    the answer). With `continue_final_message` and `add_generation_prompt: false` the answer
    continues the last message, which must be the assistant's. `enable_thinking` turns reasoning on
    or off; `include_reasoning: false` omits it from the answer. `return_token_ids` and
    `prompt_logprobs` add token ids and the prompt's log probabilities to the response.
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
        """Return the parameters that this endpoint refuses."""
        return GENERATION

    def given_template_kwargs(self) -> dict[str, Any]:
        """Return the variables that the request sets for the chat template.

        Raises
        ------
        InvalidRequest
            A name is reserved for the renderer.
        """
        kwargs = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
        return {**kwargs, **checked_template_kwargs(self.chat_template_kwargs)}

    def with_continuation(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return the prompt so that the model continues its last message, if that is requested.

        Raises
        ------
        InvalidRequest
            The last message cannot be continued.
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
        """Return these parameters and those of the API, in the form of the engine.

        Raises
        ------
        InvalidRequest
            `repetition_penalty` and `repeat_penalty` differ.
        """
        penalty, other = self.repetition_penalty, self.repeat_penalty
        if None not in (penalty, other) and penalty != other:
            raise InvalidRequest(
                "'repeat_penalty' and 'repetition_penalty' are the same parameter, but their "
                "values differ: send only one.",
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
        """Return the bias of each token id.

        Raises
        ------
        InvalidRequest
            A bias is `true`.
        """
        given = self.logit_bias or {}
        biases = dict(given)
        if any(bias is True for bias in biases.values()):
            raise InvalidRequest(
                "'logit_bias' is not valid: a bias is a number, or false to forbid the token.",
                param="logit_bias",
                code="invalid_value",
            )
        return {token: _NEVER if bias is False else bias for token, bias in biases.items()}


def continue_last_message(prompt: ChatPrompt, param: str) -> ChatPrompt:
    """Return the prompt so that the model continues its last message.

    Raises
    ------
    InvalidRequest
        The last message is not the assistant's, is empty, or has tool calls. `param` is the
        parameter that the error names.
    """
    last = prompt.messages[-1]
    if last["role"] != "assistant":
        raise InvalidRequest(
            f"'{param}' requires that the last message has the role 'assistant'.",
            param=param,
        )
    if last.get("tool_calls"):
        raise InvalidRequest(
            "The last message is a tool call and cannot be continued: send the tool's result.",
            param=param,
        )
    if not (last["content"] or last.get("reasoning_content")):
        raise InvalidRequest(
            "The last message is empty: leave it out, or begin the answer in it.", param=param
        )
    return structs.replace(prompt, add_generation_prompt=False, continues=True)
