"""The response object of `v1/responses`.

Format: https://platform.openai.com/docs/api-reference/responses/object.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from mlx_notebook import protocol
from mlx_notebook.server.wire.openai.logprobs import Logprob
from mlx_notebook.server.wire.prompt_logprobs import PromptTokenLogprobs
from mlx_notebook.server.wire.responses.conversation_object import ConversationReference
from mlx_notebook.server.wire.responses.mcp_items import without_secrets
from mlx_notebook.server.wire.responses.responses_request import ReasoningOptions, ResponsesRequest

_FUNCTION = {"description": None, "parameters": None, "strict": True}
"""Fields that every function of a response has."""

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
McpCallStatus = Literal["in_progress", "calling", "completed", "incomplete", "failed"]


class OutputText(Struct, tag_field="type", tag="output_text"):
    """Text of the answer."""

    text: str
    annotations: list[Any]
    logprobs: list[Logprob]


class ReasoningText(Struct, tag_field="type", tag="reasoning_text"):
    """The reasoning."""

    text: str


class SummaryText(Struct, tag_field="type", tag="summary_text"):
    """The reasoning, if the request asks for a summary."""

    text: str


class OutputMessage(Struct, tag_field="type", tag="message"):
    """An assistant message."""

    id: str
    status: ItemStatus
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class OutputReasoning(Struct, tag_field="type", tag="reasoning"):
    """The model's reasoning before its answer."""

    id: str
    status: ItemStatus
    summary: list[SummaryText]
    content: list[ReasoningText] | UnsetType = UNSET
    encrypted_content: str | UnsetType | None = UNSET


class OutputCall(Struct, tag_field="type", tag="function_call"):
    """A function call of the model. `arguments` is JSON text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET


class OutputMcpTools(Struct, tag_field="type", tag="mcp_list_tools"):
    """The tools of an MCP server, or why there are none."""

    id: str
    server_label: str
    tools: list[dict[str, Any]]
    error: str | None = None


class OutputMcpCall(Struct, tag_field="type", tag="mcp_call"):
    """A call of an MCP tool, which this server makes."""

    id: str
    status: McpCallStatus
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: dict[str, Any] | None = None
    approval_request_id: str | None = None


class OutputApproval(Struct, tag_field="type", tag="mcp_approval_request"):
    """A call of an MCP tool, which waits for the approval of the client."""

    id: str
    server_label: str
    name: str
    arguments: str


OutputItem = (
    OutputMessage | OutputReasoning | OutputCall | OutputMcpTools | OutputMcpCall | OutputApproval
)


class InputTokensDetails(Struct):
    """`cached_tokens` of the input came from the prefix cache."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct):
    """`reasoning_tokens` of the output were reasoning."""

    reasoning_tokens: int


class ResponseUsage(Struct):
    """Token counts of a response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: protocol.Usage) -> "ResponseUsage":
        """Return the engine's counts in OpenAI's shape."""
        return cls(
            usage.prompt,
            InputTokensDetails(usage.cached),
            usage.completion,
            OutputTokensDetails(usage.reasoning),
            usage.prompt + usage.completion,
        )

    def __add__(self, other: "ResponseUsage") -> "ResponseUsage":
        """Return the counts of both together."""
        cached = self.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens
        reasoning = self.output_tokens_details.reasoning_tokens
        reasoning += other.output_tokens_details.reasoning_tokens
        return ResponseUsage(
            self.input_tokens + other.input_tokens,
            InputTokensDetails(cached),
            self.output_tokens + other.output_tokens,
            OutputTokensDetails(reasoning),
            self.total_tokens + other.total_tokens,
        )


class ResponseError(Struct):
    """Why the response failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteDetails(Struct):
    """Why the response was cut off."""

    reason: Literal["max_output_tokens", "content_filter"]


class Response(Struct, kw_only=True):
    """A response, finished or in progress, with the parameters of its request."""

    id: str
    created_at: int
    model: str
    status: ResponseStatus
    output: list[OutputItem]
    object: Literal["response"] = "response"
    background: bool = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    frequency_penalty: float = 0.0
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    previous_response_id: str | None = None
    conversation: ConversationReference | UnsetType | None = UNSET
    prompt_cache_key: str | None = None
    reasoning: ReasoningOptions
    safety_identifier: str | None = None
    service_tier: Literal["default"] = "default"
    store: bool = True
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = []
    top_logprobs: int = 0
    top_p: float
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    # Present if the request asks for them.
    prompt_token_ids: list[int] | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptTokenLogprobs | UnsetType = UNSET

    @classmethod
    def to(
        cls,
        request: ResponsesRequest,
        id: str,
        model: str,
        at: int,
        *,
        chosen: Mapping[str, float],
        store: bool,
    ) -> "Response":
        """Return the response to a request before it has output.

        `chosen` has the sampling parameters in use. `at` is the creation time in Unix seconds.
        """
        format = request.text.format if request.text else None
        conversation = request.conversation_id
        return cls(
            id=id,
            created_at=at,
            model=model,
            status="queued" if request.background else "in_progress",
            output=[],
            background=bool(request.background),
            frequency_penalty=request.frequency_penalty or 0.0,
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            max_tool_calls=request.max_tool_calls,
            metadata=request.metadata or {},
            parallel_tool_calls=request.parallel_tool_calls is not False,
            presence_penalty=request.presence_penalty or 0.0,
            previous_response_id=request.previous_response_id,
            conversation=UNSET if conversation is None else ConversationReference(conversation),
            prompt_cache_key=request.prompt_cache_key,
            reasoning=request.reasoning or ReasoningOptions(),
            safety_identifier=request.safety_identifier,
            store=store,
            temperature=chosen["temperature"],
            text={"format": format or {"type": "text"}, "verbosity": "medium"},
            tool_choice=request.tool_choice or "auto",
            tools=[shown_tool(tool) for tool in request.tools or []],
            top_logprobs=request.top_logprobs or 0,
            top_p=chosen["top_p"],
            truncation=request.truncation or "disabled",
            user=request.user,
        )


def shown_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool of a request as the response shows it."""
    if tool.get("type") == "mcp":
        return {"require_approval": "always", "allowed_tools": None, **without_secrets(tool)}
    return {**_FUNCTION, **tool} if tool.get("type") == "function" else tool


class DeletedResponse(Struct):
    """The answer to a DELETE request."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(Struct):
    """A page of the input items of a response."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class InputTokens(Struct):
    """The number of tokens in the input of a request."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"
