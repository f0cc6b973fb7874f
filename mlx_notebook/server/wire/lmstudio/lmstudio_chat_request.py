"""The request of LM Studio's `POST api/v1/chat`, as a request for a response.

Format: https://lmstudio.ai/docs/developer/rest/chat.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.server.errors import ApiError, InvalidRequest
from mlx_notebook.server.wire.parameters.parameters import RequestParameters
from mlx_notebook.server.wire.parameters.sampling_parameters import Penalty
from mlx_notebook.server.wire.responses.responses_request import ReasoningOptions, ResponsesRequest

LmStudioModelName = Annotated[str, Meta(min_length=1, max_length=512)]
ReasoningSetting = Literal["off", "low", "medium", "high", "on"]

_MCP = "mcp/"
_INT32 = 2**31 - 1
# What the server's own errors call parts of the request.
_OWN_NAMES = re.compile(
    r"input\[\d+\]\.content\[(?P<part>\d+)\](?P<field>\.image_url|\.text)?"
    r"|input\[\d+\](?:\.content)?(?![\[.])|(?<![\w ])(?P<tools>tools)(?=['\[]|$)"
)
_FIELDS = {".image_url": ".data_url", ".text": ".content"}


class LmStudioMessageInput(Struct, tag_field="type", tag="message"):
    """A part of the message that is text."""

    content: str


class LmStudioTextInput(Struct, tag_field="type", tag="text"):
    """A part of the message that is text, by the name that some clients use."""

    content: str


class LmStudioImageInput(Struct, tag_field="type", tag="image"):
    """A part of the message that is an image: a data URL."""

    data_url: Annotated[str, Meta(pattern="^data:")]


class LmStudioPlugin(Struct, tag_field="type", tag="plugin"):
    """An MCP server of the server's own settings: `mcp/<label>`."""

    id: str
    allowed_tools: list[str] | None = None


class LmStudioMcpServer(Struct, tag_field="type", tag="ephemeral_mcp"):
    """An MCP server that the request names by its address."""

    server_label: str
    server_url: str
    allowed_tools: list[str] | None = None
    headers: dict[str, str] | None = None


_Part = LmStudioMessageInput | LmStudioTextInput | LmStudioImageInput
_Integration = str | LmStudioPlugin | LmStudioMcpServer


class LmStudioChatRequest(RequestParameters, kw_only=True):
    """A message to answer, alone or after the turns that `previous_response_id` names.

    Unless `store` is false, the answer has a `response_id` for the next request. A model always has
    its whole context, so `context_length` has no effect.
    """

    model: LmStudioModelName
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[_Part], Meta(min_length=1)]
    system_prompt: str | None = None
    integrations: list[_Integration] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Penalty | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=_INT32)] | None = None
    reasoning: ReasoningSetting | None = None
    context_length: Annotated[int, Meta(ge=1)] | None = None
    store: bool | None = None
    previous_response_id: str | None = None

    def unused(self) -> frozenset[str]:
        """Return the parameters that are validated and then ignored."""
        return frozenset({"context_length"})

    def for_response(self) -> ResponsesRequest:
        """Return the request for the response that answers this.

        Raises
        ------
        InvalidRequest
            An integration is no MCP server.
        """
        items: list[dict[str, Any]] = []
        if self.system_prompt:
            # An item, and not instructions, so that it holds for the turns that follow.
            items.append({"type": "message", "role": "system", "content": self.system_prompt})
        items.append({"type": "message", "role": "user", "content": self._content()})
        return ResponsesRequest(
            input=items,
            model=self.model,
            tools=[
                _mcp_tool(integration, f"integrations[{index}]")
                for index, integration in enumerate(self.integrations or ())
            ],
            stream=self.stream,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repeat_penalty=self.repeat_penalty,
            max_output_tokens=self.max_output_tokens,
            reasoning=self._effort(),
            enable_thinking=True if self.reasoning == "on" else None,
            store=self.store,
            previous_response_id=self.previous_response_id,
        )

    def _content(self) -> str | list[dict[str, str]]:
        if isinstance(self.input, str):
            return self.input
        return [
            {"type": "input_image", "image_url": part.data_url}
            if isinstance(part, LmStudioImageInput)
            else {"type": "input_text", "text": part.content}
            for part in self.input
        ]

    def _effort(self) -> ReasoningOptions | None:
        match self.reasoning:
            case None | "on":
                return None
            case "off":
                return ReasoningOptions(effort="none")
            case effort:
                return ReasoningOptions(effort=effort)


def named_as_here(error: ApiError) -> ApiError:
    """Return an error about a response with the names that this API has for its parameters."""
    error.message = _OWN_NAMES.sub(_name_here, error.message)
    error.param = error.param and _OWN_NAMES.sub(_name_here, error.param)
    if error.param == "messages":
        error.param = "input"
    return error


def _name_here(found: re.Match[str]) -> str:
    if found["tools"]:
        return "integrations"
    if found["part"] is None:
        return "input"
    return f"input[{found['part']}]{_FIELDS.get(found['field'] or '', '')}"


def _mcp_tool(integration: _Integration, path: str) -> dict[str, Any]:
    """Return an integration as a tool of a response."""
    tool: dict[str, Any] = {"type": "mcp", "require_approval": "never"}
    if isinstance(integration, LmStudioMcpServer):
        tool |= {"server_label": integration.server_label, "server_url": integration.server_url}
        if integration.headers:
            tool["headers"] = integration.headers
    else:
        id = integration if isinstance(integration, str) else integration.id
        if not id.startswith(_MCP):
            raise InvalidRequest(
                f"'{path}' is not an MCP server: this server has no plugins, and knows "
                "'mcp/<label>' for the servers in MlxNotebookApp.mcp_servers.",
                param=path,
                code="unsupported_tool",
            )
        tool["server_label"] = id.removeprefix(_MCP)
    if not isinstance(integration, str) and integration.allowed_tools is not None:
        tool["allowed_tools"] = integration.allowed_tools
    return tool


CHAT_DECODER = msgspec.json.Decoder(LmStudioChatRequest)
