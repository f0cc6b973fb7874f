"""The request body of `POST v1/responses`.

Format: https://platform.openai.com/docs/api-reference/responses/create.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_notebook.protocol import OutputFormat, Sampling, ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.metadata import Metadata
from mlx_notebook.server.wire.openai.chat_request import (
    CacheRetention,
    ReasoningEffort,
    effort_budget,
)
from mlx_notebook.server.wire.parameters.output_formats import (
    JsonObjectFormat,
    OutputFormatParameters,
    TextFormat,
    json_format,
    stream_options_without_stream,
)
from mlx_notebook.server.wire.parameters.parameters import unsupported_parameter
from mlx_notebook.server.wire.parameters.sampling_parameters import StopText
from mlx_notebook.server.wire.responses.conversation_object import ConversationReference
from mlx_notebook.server.wire.responses.response_items import ItemDict
from mlx_notebook.server.wire.responses.response_tool_choice import (
    FunctionChoice,
    McpChoice,
    not_reached,
    not_run,
    tool_choice_of,
)
from mlx_notebook.server.wire.responses.response_tools import (
    OfferedFunction,
    OfferedTools,
    offered_tools,
    qualified,
)

Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
INCLUDABLE: tuple[str, ...] = get_args(Includable)

# Parameters of OpenAI's server that this one does not support.
_UNSUPPORTED = (
    *("access_programs", "background_options", "context_management", "image"),
    *("moderation", "personality", "prompt"),
)
_UNUSED = frozenset(
    (
        *("prompt_cache_options", "prompt_cache_retention", "service_tier"),
        *("stream_options.include_obfuscation",),
    )
)


# A tool as the client sent it, since the response repeats it. `offered_tools` validates it.
_Tool = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "anyOf": [
                {
                    "properties": {
                        "type": {"const": "function"},
                        "name": {"type": "string", "minLength": 1, "maxLength": 128},
                    },
                    "required": ["type", "name"],
                },
                {
                    "properties": {
                        "type": {"const": "namespace"},
                        "name": {"type": "string", "minLength": 1, "maxLength": 128},
                        "tools": {"type": "array", "items": {"type": "object"}, "maxItems": 0},
                    },
                    "required": ["type", "name", "tools"],
                },
                # Left out of the prompt.
                {"properties": {"type": {"const": "web_search"}}, "required": ["type"]},
            ]
        }
    ),
]


class NamedSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextOptions(Struct):
    """The format of the answer's text."""

    format: TextFormat | JsonObjectFormat | NamedSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Struct):
    """Options for reasoning.

    With `summary` the reasoning is sent as a summary, which here is its whole text. The chat
    template decides whether the model sees the reasoning of earlier turns (`context`).
    """

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | UnsetType | None = UNSET
    mode: str | UnsetType = UNSET


class ResponseStreamOptions(Struct):
    """`include_obfuscation` has no effect: this server does not pad events to equal size."""

    include_obfuscation: bool | None = None


class ResponsesRequest(OutputFormatParameters, kw_only=True):
    """Items to answer. Only `input` is required.

    Without `model` the server's default model answers. Without `max_output_tokens` the answer may
    fill the rest of the context, up to 4096 tokens. Unless `store` is false, the response is stored
    for `previous_response_id` and `GET v1/responses/{id}`.
    """

    input: str | list[ItemDict] | None = None
    model: Annotated[str, Meta(max_length=512)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationReference | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    background: bool | None = None
    include: list[Includable] | None = None

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    thinking_budget: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None

    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None

    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: CacheRetention | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None

    # Refused if they would have an effect: see `check`.
    access_programs: Any = None
    background_options: Any = None
    context_management: Any = None
    image: Any = None
    moderation: Any = None
    personality: Any = None
    prompt: Any = None

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
        asked = {name: getattr(self, name) not in (None, []) for name in _UNSUPPORTED}
        asked["text.verbosity"] = bool(self.text and self.text.verbosity in ("low", "high"))
        if self.reasoning is not None:
            asked["reasoning.context"] = self.reasoning.context in ("current_turn", "all_turns")
            asked["reasoning.mode"] = self.reasoning.mode not in (UNSET, "standard")
        for name, is_asked in asked.items():
            if is_asked:
                raise unsupported_parameter(name)
        if self.stream_options is not None and not self.stream:
            raise stream_options_without_stream()
        if self.conversation is not None and self.previous_response_id is not None:
            raise InvalidRequest(
                "A response continues 'conversation' or 'previous_response_id', and not both.",
                param="conversation",
            )
        if self.background and self.store is False:
            raise InvalidRequest(
                "A background response must be stored: leave 'store' out.",
                param="store",
            )
        if self.top_logprobs and "message.output_text.logprobs" not in (self.include or ()):
            raise InvalidRequest(
                "'top_logprobs' needs 'message.output_text.logprobs' in 'include'.",
                param="top_logprobs",
            )

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation that the response belongs to."""
        given = self.conversation
        return given.id if isinstance(given, ConversationReference) else given

    def offered_tools(self, mcp: Sequence[OfferedFunction] = ()) -> OfferedTools:
        """Return the tools that the model may call, with `mcp`, and those that are left out.

        Raises
        ------
        InvalidRequest
            A function is not valid, or two have the same name.
        """
        return offered_tools(self.tools or [], mcp)

    def choice(self, tools: OfferedTools) -> ToolChoice:
        """Return whether the model may, must or must not call the tools.

        A function that the choice names is called once, unless `parallel_tool_calls` is true.

        Raises
        ------
        InvalidRequest
            `tool_choice` names an unknown tool or type, or requires a call without tools.
        """
        parallel = self.parallel_tool_calls is not False
        choice = self.tool_choice or "auto"
        names: list[str] | None = None
        if isinstance(choice, str):
            mode = choice
        else:
            kind = tool_choice_of(choice)
            if isinstance(kind, FunctionChoice):
                mode = "required"
                named = [{"type": "function", "name": kind.name, "namespace": kind.namespace}]
                parallel = self.parallel_tool_calls is True
            elif isinstance(kind, McpChoice):
                mode, named = "required", [choice]
                parallel = self.parallel_tool_calls is True
            else:
                mode, named = kind.mode, kind.tools
            names = [name for tool in named for name in self._checked_names(tool, tools)]
        if mode == "required" and not tools.functions:
            for label, why in tools.unavailable.items():
                raise not_reached(label, why)
            left = ", ".join(tools.left_out)
            raise InvalidRequest(
                "'tool_choice' requires a call, but "
                + (f"this server cannot run {left}." if left else "there are no 'tools'."),
                param="tool_choice",
                code="unsupported_tool" if left else None,
            )
        return ToolChoice(mode=mode, names=names, parallel=parallel)

    def own_format(self) -> list[tuple[str, OutputFormat]]:
        """Return the format that `text.format` sets."""
        match self.text.format if self.text else None:
            case JsonObjectFormat(schema=schema) | NamedSchemaFormat(schema=schema):
                return [("text.format", json_format(schema))]
        return []

    def template_kwargs(self) -> dict[str, Any]:
        """Return the variables for the chat template.

        Raises
        ------
        InvalidRequest
            A name is reserved for the renderer.
        """
        kwargs = self.given_template_kwargs()
        effort = self.reasoning.effort if self.reasoning else None
        if effort is not None:
            kwargs.setdefault("enable_thinking", effort not in ("none", "minimal"))
            if effort not in ("none", "minimal"):
                # Harmony's templates (gpt-oss) read it.
                known = effort if effort in ("low", "medium") else "high"
                kwargs.setdefault("reasoning_effort", known)
        return kwargs

    def reasoning_budget(self) -> int | None:
        """Return the reasoning budget in tokens, if there is one."""
        if self.thinking_budget is not None:
            return self.thinking_budget
        effort = self.reasoning.effort if self.reasoning else None
        wanted = self.given_template_kwargs().get("enable_thinking")
        return effort_budget(effort, is_wanted=wanted)

    def sampling(self) -> Sampling:
        """Return the sampling parameters for the engine."""
        return self.engine_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_output_tokens,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or [],
            logprobs=self.top_logprobs or 0 if self.wants_logprobs else None,
        )

    @property
    def wants_logprobs(self) -> bool:
        """Whether the request asks for log probabilities."""
        return "message.output_text.logprobs" in (self.include or ())

    @property
    def wants_summary(self) -> bool:
        """Whether reasoning is sent as a summary."""
        options = self.reasoning
        return options is not None and bool(options.summary or options.generate_summary)

    def _checked_names(self, tool: dict[str, Any], tools: OfferedTools) -> list[str]:
        name, namespace = tool.get("name"), tool.get("namespace")
        kind = tool.get("type")
        if kind == "mcp":
            return self._names_of_server(tool, tools)
        if isinstance(kind, str) and kind != "function":
            raise not_run(kind, "tool_choice")
        asked = qualified(str(name), namespace if isinstance(namespace, str) else None)
        if kind != "function" or asked not in [tool.name for tool in tools.functions]:
            raise InvalidRequest(
                f"'tool_choice' names {str(name)[:200]!r}, which is not a function in 'tools'.",
                param="tool_choice",
            )
        return [asked]

    def _names_of_server(self, tool: dict[str, Any], tools: OfferedTools) -> list[str]:
        label, name = tool.get("server_label"), tool.get("name")
        of_mcp = [each for each in self.tools or [] if each.get("type") == "mcp"]
        names = [
            offered.name
            for offered in tools.functions
            if offered.namespace == label and name in (None, offered.function.name)
        ]
        if (why := tools.unavailable.get(str(label))) is not None:
            raise not_reached(str(label), why)
        if label not in [each.get("server_label") for each in of_mcp] or not names:
            raise InvalidRequest(
                f"'tool_choice' demands a tool of the MCP server {str(label)[:100]!r} that it does "
                "not have, or that 'tools' does not allow.",
                param="tool_choice",
            )
        return names


DECODER = msgspec.json.Decoder(ResponsesRequest)
