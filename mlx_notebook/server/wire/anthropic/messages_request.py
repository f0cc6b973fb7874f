"""The request bodies of `POST v1/messages` and `v1/messages/count_tokens`.

Format: https://docs.anthropic.com/en/api/messages.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from mlx_notebook.protocol import ChatPrompt, OutputFormat, Sampling, ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic.block_messages import BlockMessageBuilder, billing_blocks
from mlx_notebook.server.wire.anthropic.content_blocks import MessageParamContent
from mlx_notebook.server.wire.anthropic.context_edits import ContextManagement
from mlx_notebook.server.wire.anthropic.message_tools import (
    AnyTool,
    ToolChoiceAny,
    ToolChoiceAuto,
    ToolChoiceNone,
    ToolChoiceTool,
    ToolParam,
    checked_choice,
    left_out_tools,
    own_tools,
)
from mlx_notebook.server.wire.conversation import with_one_system_message, with_ordered_tool_results
from mlx_notebook.server.wire.openai.chat_request import effort_budget
from mlx_notebook.server.wire.parameters.output_formats import OutputFormatParameters
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.parameters.sampling_parameters import StopText, continue_last_message
from mlx_notebook.server.wire.parameters.unsupported_parameters import GENERATION, Unsupported

_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class UserMessageParam(Struct, tag_field="role", tag="user"):
    """A user message, which also has tool results."""

    content: MessageParamContent


class AssistantMessageParam(Struct, tag_field="role", tag="assistant"):
    """An assistant message."""

    content: MessageParamContent


class SystemMessageParam(Struct, tag_field="role", tag="system"):
    """A system message within a conversation."""

    content: MessageParamContent


class ThinkingEnabled(Struct, tag_field="type", tag="enabled"):
    """Reasoning is on, with a budget in tokens."""

    budget_tokens: _Tokens
    display: Literal["summarized", "omitted"] | None = None


class ThinkingAdaptive(Struct, tag_field="type", tag="adaptive"):
    """Reasoning is on, without a budget."""

    display: Literal["summarized", "omitted"] | None = None


class ThinkingDisabled(Struct, tag_field="type", tag="disabled"):
    """Reasoning is off."""


class JsonFormat(Struct):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct):
    """The format of the answer, and the reasoning effort."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    task_budget: Any = None


# Parameters of Anthropic's server that this one does not support.
_UNSUPPORTED = (*("compaction", "container", "diagnostics", "fallbacks", "mcp_servers"),)
_UNUSED = frozenset(
    (
        *("betas", "billing_policy", "cache_control", "fallback_credit_token", "inference_geo"),
        *("metadata", "service_tier", "user_profile_id", "workspace_id"),
    )
)


class CountTokensRequest(OutputFormatParameters, kw_only=True):
    """A conversation whose tokens are counted. Only `messages` is required.

    `output_format` is the older name of `output_config.format`.
    """

    messages: Annotated[
        list[UserMessageParam | AssistantMessageParam | SystemMessageParam], Meta(min_length=1)
    ]
    model: Annotated[str, Meta(max_length=512)] | None = None
    system: MessageParamContent | None = None
    tools: list[AnyTool] | None = None
    tool_choice: ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | None = None
    output_config: OutputConfig | None = None
    output_format_: JsonFormat | None = field(default=None, name="output_format")

    # Validated, then ignored: see `unused`.
    betas: list[str] | None = None
    billing_policy: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    fallback_credit_token: str | None = None
    inference_geo: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None

    context_management: ContextManagement | None = None

    # Refused if they would have an effect: see `prompt`.
    compaction: Any = None
    container: Any = None
    diagnostics: Any = None
    fallbacks: Any = None
    mcp_servers: Any = None
    speed: Literal["standard", "fast"] | None = None
    thread: Any = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return _UNUSED

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return nothing: parameters of the answer do not change the count."""
        return {}

    def prompt(self) -> ChatPrompt:
        """Return the prompt for the engine. The answer continues a last assistant message.

        Raises
        ------
        InvalidRequest
            The conversation is invalid, or needs something unsupported.
        """
        for name in _UNSUPPORTED:
            if getattr(self, name) not in (None, []):
                raise unsupported_parameter(name)
        if self.thread is not None:
            # After this error Anthropic's client sends the whole conversation.
            raise InvalidRequest(
                "This server stores no threads: leave 'thread' out and send all messages.",
                param="thread",
                code="thread_unsupported_request",
            )
        if self.speed == "fast":
            raise unsupported_parameter("speed")
        if self.output_config is not None and self.output_config.task_budget is not None:
            raise unsupported_parameter("output_config.task_budget")
        turns = BlockMessageBuilder(self.system)
        for index, turn in enumerate(self.messages):
            path = f"messages[{index}].content"
            match turn:
                case UserMessageParam():
                    turns.user(turn.content, path)
                case AssistantMessageParam():
                    turns.assistant(turn.content, path)
                case SystemMessageParam():
                    turns.system(turn.content, path)
        prompt = ChatPrompt(
            messages=with_one_system_message(with_ordered_tool_results(turns.messages)),
            tools=[tool.for_template() for tool in self.typed_tools()],
            template_kwargs=self.template_kwargs(),
        )
        if not isinstance(self.messages[-1], AssistantMessageParam):
            return self.with_continuation(prompt)
        prompt = continue_last_message(prompt, f"messages[{len(self.messages) - 1}]")
        if (said := prompt.messages[-1]["content"]) and said != said.rstrip():
            raise InvalidRequest(
                "The answer continues the last message, so it must not end with white space: "
                "remove it.",
                param=f"messages[{len(self.messages) - 1}].content",
            )
        return prompt

    def typed_tools(self) -> list[ToolParam]:
        """Return the tools that the model may call, without those that Anthropic defines.

        Raises
        ------
        InvalidRequest
            A tool is not valid, or two have the same name.
        """
        return own_tools(self.tools or [])

    @property
    def left_out(self) -> list[str]:
        """The places and types of the tools and system blocks that the model does not get.

        Anthropic defines what these tools do, and its own models know them. The API lets a model
        answer without calling any of them.
        """
        return [*billing_blocks(self.system, "system"), *left_out_tools(self.tools or [])]

    def choice(self) -> ToolChoice:
        """Return whether the model may, must or must not call tools.

        Raises
        ------
        InvalidRequest
            `tool_choice` names an unknown tool, or requires a call without tools.
        """
        return checked_choice(self.tool_choice, self.tools or [])

    def template_kwargs(self) -> dict[str, Any]:
        """Return the variables for the chat template.

        Raises
        ------
        InvalidRequest
            A name is reserved for the renderer.
        """
        kwargs = self.given_template_kwargs()
        if self.thinking is not None:
            kwargs.setdefault("enable_thinking", not isinstance(self.thinking, ThinkingDisabled))
        effort = self.output_config.effort if self.output_config else None
        if effort is not None:
            # Harmony's templates (gpt-oss) read it.
            kwargs.setdefault("reasoning_effort", effort if effort in ("low", "medium") else "high")
        return kwargs

    def own_format(self) -> list[tuple[str, OutputFormat]]:
        """Return the format that `output_config.format`, or its older name, sets."""
        given = {
            "output_config.format": self.output_config.format if self.output_config else None,
            "output_format": self.output_format_,
        }
        return [
            (name, OutputFormat(kind="json_schema", value=format.schema))
            for name, format in given.items()
            if format is not None
        ]


class MessagesRequest(CountTokensRequest, kw_only=True):
    """A conversation to continue. Only `messages` and `max_tokens` are required.

    Without `model` the server's default model answers. Sampling parameters default to the model's
    own generation settings.
    """

    max_tokens: _Tokens
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=16)] | None = None

    @classmethod
    def unsupported_parameters(cls) -> Mapping[str, Unsupported]:
        """Return the parameters that this endpoint refuses."""
        return GENERATION

    @property
    def reasoning_budget(self) -> int | None:
        """The reasoning budget in tokens. Adaptive reasoning has one by its effort.

        Raises
        ------
        InvalidRequest
            The budget is not less than `max_tokens`.
        """
        if isinstance(self.thinking, ThinkingAdaptive) and self.output_config is not None:
            return effort_budget(self.output_config.effort)
        if not isinstance(self.thinking, ThinkingEnabled):
            return None
        budget = self.thinking.budget_tokens
        if budget >= self.max_tokens:
            raise InvalidRequest(
                f"'thinking.budget_tokens' ({budget}) must be less than 'max_tokens' "
                f"({self.max_tokens}).",
                param="thinking.budget_tokens",
            )
        return budget

    @property
    def hides_reasoning(self) -> bool:
        """Whether reasoning is only sent in opaque form."""
        return getattr(self.thinking, "display", None) == "omitted"

    def sampling(self) -> Sampling:
        """Return the sampling parameters for the engine."""
        return self.engine_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=self.stop_sequences or [],
        )


DECODER = msgspec.json.Decoder(MessagesRequest)
COUNT_DECODER = msgspec.json.Decoder(CountTokensRequest)
