"""The request and the responses of `POST v1/completions`.

Format: https://platform.openai.com/docs/api-reference/completions.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_notebook.protocol import (
    FillPrompt,
    FinishReason,
    PromptAttention,
    Sampling,
    TextPrompt,
    TokenLogprob,
)
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.openai.chat_response import CompletionUsage
from mlx_notebook.server.wire.parameters.output_formats import CompletionParameters
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.parameters.sampling_parameters import TokenId
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs

_DEFAULT_MAX_TOKENS = 16
_UNUSED = frozenset(
    (
        *("chat_template_kwargs", "enable_thinking", "include_reasoning", "user"),
        *("add_generation_prompt", "stream_options.include_obfuscation"),
    )
)
TextOrTokens = str | list[TokenId]
# `separate_inputs` refuses empty inputs and reports the path. The OpenAPI schema says so, too.
_Text = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
_Tokens = Annotated[list[TokenId], Meta(extra_json_schema={"minItems": 1})]
# One text, its tokens, several texts, or the tokens of several.
Inputs = _Text | Annotated[list[_Text | TokenId | _Tokens], Meta(min_length=1, max_length=2048)]


class CompletionRequest(CompletionParameters, kw_only=True):
    """Text to continue. Only `prompt` is required.

    Without `model` the server's default model answers. `max_tokens` defaults to 16. `suffix` is
    text after the answer: the model fills the gap between `prompt` and `suffix`.

    With `prompt_logprobs`, `prompt_attention_from` is a place in the prompt. The answer says, for
    each token from there on, to which tokens before that place the model attended.
    """

    prompt: Inputs
    model: Annotated[str, Meta(max_length=512)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    suffix: str | None = None
    prompt_attention_from: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return _UNUSED

    def check(self) -> None:
        """Check for unsupported features.

        Raises
        ------
        InvalidRequest
            The request needs one. `param` is the parameter.
        """
        asked = {
            "best_of": self.best_of is not None and self.best_of != (self.n or 1),
            "continue_final_message": bool(self.continue_final_message),
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise unsupported_parameter(name)
        if self.prompt_attention_from is not None and self.prompt_logprobs is None:
            raise InvalidRequest(
                "'prompt_attention_from' needs 'prompt_logprobs': set it to 0 or more.",
                param="prompt_attention_from",
            )
        if self.suffix:
            self._check_fill()
        self.check_stream()

    def _check_fill(self) -> None:
        """Check that the parameters fit a prompt with a suffix."""
        others = {
            "echo": bool(self.echo),
            "prompt_logprobs": self.prompt_logprobs is not None,
            "truncate_prompt_tokens": self.truncate_prompt_tokens is not None,
        }
        for name, is_asked in others.items():
            if is_asked:
                raise InvalidRequest(
                    f"'{name}' cannot be used with 'suffix': leave one of them out.", param=name
                )

    def engine_prompt(self, prompt: TextOrTokens) -> TextPrompt | FillPrompt:
        """Return one of the prompts for the engine.

        Raises
        ------
        InvalidRequest
            There is a suffix, and the prompt is a list of tokens.
        """
        if not self.suffix:
            return TextPrompt(text=prompt)
        if not isinstance(prompt, str):
            raise InvalidRequest(
                "With 'suffix', 'prompt' must be text: token ids cannot be used.", param="prompt"
            )
        return FillPrompt(prefix=prompt, suffix=self.suffix)

    def sampling(self) -> Sampling:
        """Return the sampling parameters for the engine."""
        return self.engine_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=_DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens,
            stop=self.stops,
            logprobs=self.logprobs,
        )


def separate_inputs(inputs: Inputs, param: str) -> list[TextOrTokens]:
    """Return the inputs as a list of texts or of token lists.

    Raises
    ------
    InvalidRequest
        Texts and tokens are mixed, or an input is empty.
    """
    separated: list[TextOrTokens]
    if isinstance(inputs, str):
        separated = [inputs]
    elif all(isinstance(item, int) for item in inputs):
        separated = [[item for item in inputs if isinstance(item, int)]]
    elif all(isinstance(item, str) for item in inputs):
        separated = [item for item in inputs if isinstance(item, str)]
    elif all(isinstance(item, list) for item in inputs):
        separated = [item for item in inputs if isinstance(item, list)]
    else:
        raise InvalidRequest(
            f"'{param}' mixes texts and tokens: send one text, a list of texts, a list of token "
            "ids, or a list of such lists.",
            param=param,
        )
    for index, item in enumerate(separated):
        if not item:
            where = param if isinstance(inputs, str) else f"{param}[{index}]"
            raise InvalidRequest(f"'{where}' is empty.", param=where)
    return separated


class TextLogprobs(Struct):
    """Log probabilities, in lists with one entry a token. The prompt's first token has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class PromptAttentionWeights(Struct):
    """What a model attended to while it computed the last tokens of a prompt.

    Weights are means over `layers` layers and all heads, from 0 to 1. `mean` has one for each token
    before `prompt_attention_from`. `tokens` has, for each token from there on, the places before it
    that most attention was taken from, with their weights.
    """

    layers: int
    mean: list[float]
    tokens: list[list[tuple[int, float]]]

    @classmethod
    def of(cls, attention: PromptAttention) -> "PromptAttentionWeights":
        """Return the engine's figures, with five decimals."""
        return cls(
            attention.layers,
            [round(weight, 5) for weight in attention.mean],
            [[(place, round(weight, 5)) for place, weight in top] for top in attention.tokens],
        )


class TextChoice(Struct):
    """A continuation, or its new part in a stream."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptTokenLogprobs | UnsetType = UNSET
    prompt_attention: PromptAttentionWeights | UnsetType = UNSET


class TextCompletion(Struct):
    """A complete response, or one chunk of a stream."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str
    usage: CompletionUsage | UnsetType | None = UNSET
    object: Literal["text_completion"] = "text_completion"


class TextLogprobsBuilder:
    """Collects the log probabilities of one choice."""

    def __init__(self) -> None:
        self._offset = 0
        self._collected = TextLogprobs([], [], [], [])

    def add(self, tokens: list[TokenLogprob]) -> None:
        """Add tokens of the answer."""
        for token in tokens:
            top = {text: logprob for text, logprob, _ in token.top}
            top.setdefault(token.token, token.logprob)
            self._add(token.token, token.logprob, top)

    def add_prompt(self, first: str, tokens: list[TokenLogprob | None], count: int) -> None:
        """Add tokens of the prompt with `count` alternatives each.

        `first` is the text of the first token, which has no log probability.
        """
        for token in tokens:
            if token is None:
                self._add(first, None, None)
            else:
                self.add([msgspec.structs.replace(token, top=token.top[:count])])

    def take(self) -> TextLogprobs:
        """Return the tokens added since the last call."""
        taken, self._collected = self._collected, TextLogprobs([], [], [], [])
        return taken

    def _add(self, text: str, logprob: float | None, top: dict[str, float] | None) -> None:
        self._collected.tokens.append(text)
        self._collected.token_logprobs.append(logprob)
        self._collected.top_logprobs.append(top)
        self._collected.text_offset.append(self._offset)
        self._offset += len(text)


DECODER = msgspec.json.Decoder(CompletionRequest)
ENCODER = msgspec.json.Encoder()
