"""The request body of `POST v1/chat/completions`.

Format: https://platform.openai.com/docs/api-reference/chat/create, with the parameters of local
servers that clients send through `extra_body` of OpenAI's SDKs.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlx_notebook.protocol import ChatPrompt, Sampling, ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.metadata import Metadata
from mlx_notebook.server.wire.openai.chat_messages import (
    AssistantMessage,
    RequestMessage,
    engine_messages,
)
from mlx_notebook.server.wire.openai.tools import (
    DescribedChatTool,
    ToolChoiceMode,
    ToolChoiceObject,
    checked_tool_choice,
    template_tools,
)
from mlx_notebook.server.wire.parameters.output_formats import CompletionParameters
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.parameters.sampling_parameters import (
    checked_template_kwargs,
    continue_last_message,
)

CacheRetention = Literal["in_memory", "24h"]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_UNUSED = frozenset(
    (
        *("prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "service_tier", "user", "stream_options.include_obfuscation"),
    )
)
# The reasoning budget of each effort, in tokens. Higher efforts have none.
_BUDGETS: dict[ReasoningEffort, int] = {"none": 0, "minimal": 0, "low": 1024, "medium": 4096}


class ChatCompletionRequest(CompletionParameters, kw_only=True):
    """A chat to continue. Only `messages` is required.

    Without `model` the server's default model answers. Without `max_tokens` the answer may fill the
    rest of the context, up to 4096 tokens. Sampling parameters default to the model's own
    generation settings. `thinking_budget` ends the reasoning after that many tokens.
    """

    messages: Annotated[list[RequestMessage], Meta(min_length=1)]
    model: Annotated[str, Meta(max_length=512)] | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    tools: list[DescribedChatTool] | None = None
    tool_choice: ToolChoiceMode | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None

    reasoning_effort: ReasoningEffort | None = None
    thinking_budget: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None

    store: bool | None = None
    metadata: Metadata | None = None

    # Validated, then ignored: see `unused`.
    prediction: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: CacheRetention | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    user: str | None = None

    # Refused if they would have an effect: see `check`.
    audio: Any = None
    function_call: Any = None
    functions: list[Any] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: Any = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: Any = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return _UNUSED if self.store else _UNUSED | {"metadata"}

    def check(self) -> None:
        """Check for unsupported features.

        Raises
        ------
        InvalidRequest
            The request needs one. `param` is the parameter.
        """
        asked = {
            "audio": self.audio is not None,
            "function_call": self.function_call not in (None, "none", "auto"),
            "functions": bool(self.functions),
            "modalities": "audio" in (self.modalities or ()),
            "moderation": self.moderation is not None,
            "verbosity": self.verbosity in ("low", "high"),
            "web_search_options": self.web_search_options is not None,
        }
        instead = {"functions": "use 'tools'", "function_call": "use 'tool_choice'"}
        for name, is_asked in asked.items():
            if is_asked:
                raise unsupported_parameter(name, instead.get(name, "leave it out"))
        self.check_stream()
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest(
                "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs"
            )

    def prompt(self) -> ChatPrompt:
        """Return the prompt that the engine renders.

        Raises
        ------
        InvalidRequest
            The messages or the tools are invalid.
        """
        prompt = ChatPrompt(
            messages=engine_messages(self.messages),
            tools=template_tools(self.tools or []),
            template_kwargs=template_kwargs(
                self.given_template_kwargs(), self.reasoning_effort, self.thinking_budget
            ),
        )
        last = self.messages[-1]
        if isinstance(last, AssistantMessage) and (last.prefix or last.partial):
            return continue_last_message(prompt, f"messages[{len(self.messages) - 1}]")
        return self.with_continuation(prompt)

    def choice(self) -> ToolChoice:
        """Return whether the model may, must or must not call tools.

        Raises
        ------
        InvalidRequest
            `tool_choice` names an unknown tool, or requires a call without tools.
        """
        return checked_tool_choice(self.tool_choice, self.tools or [], self.parallel_tool_calls)

    def reasoning_budget(self) -> int | None:
        """Return the reasoning budget in tokens, if there is one."""
        if self.thinking_budget is not None:
            return self.thinking_budget
        wanted = self.given_template_kwargs().get("enable_thinking")
        return effort_budget(self.reasoning_effort, is_wanted=wanted)

    def sampling(self) -> Sampling:
        """Return the sampling parameters for the engine."""
        return self.engine_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


def effort_budget(effort: ReasoningEffort | None, *, is_wanted: bool | None = None) -> int | None:
    """Return the reasoning budget of an effort in tokens; None for no limit.

    Parameters
    ----------
    effort
        The effort.
    is_wanted
        Whether the request turns reasoning on by itself.
    """
    budget = _BUDGETS.get(effort) if effort else None
    return None if budget == 0 and is_wanted else budget


def template_kwargs(
    given: dict[str, Any] | None, effort: ReasoningEffort | None, budget: int | None = None
) -> dict[str, Any]:
    """Return the variables for the chat template.

    A reasoning effort or a budget turns reasoning on or off, unless the request sets the template's
    variable itself.

    Raises
    ------
    InvalidRequest
        A name is reserved for the renderer.
    """
    kwargs = checked_template_kwargs(given)
    if effort is not None:
        kwargs.setdefault("enable_thinking", effort not in ("none", "minimal"))
        if effort not in ("none", "minimal"):
            # Harmony's templates (gpt-oss) read it.
            kwargs.setdefault("reasoning_effort", effort if effort in ("low", "medium") else "high")
    elif budget:
        kwargs.setdefault("enable_thinking", True)
    return kwargs


DECODER = msgspec.json.Decoder(ChatCompletionRequest)
