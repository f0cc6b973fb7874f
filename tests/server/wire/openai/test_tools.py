"""A function that the tool choice names is called once, unless several calls are requested."""

from typing import Any

import msgspec
import pytest

from mlx_notebook.protocol import ToolChoice
from mlx_notebook.server.wire.anthropic import messages_request
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai import chat_request
from mlx_notebook.server.wire.openai.tools import ChatTool, left_out_tools, template_tools
from mlx_notebook.server.wire.responses import responses_request

CHAT = {"type": "function", "function": {"name": "now"}}
RESPONSES = {"type": "function", "name": "now", "parameters": {"type": "object"}}
MESSAGES = {"name": "now", "input_schema": {"type": "object"}}


def of_chat(**options: Any) -> ToolChoice:
    body = {"messages": [{"role": "user", "content": "Hello"}], "tools": [CHAT], **options}
    return decode(chat_request.DECODER, msgspec.json.encode(body)).choice()


def of_responses(**options: Any) -> ToolChoice:
    body = {"input": "Hello", "tools": [RESPONSES], **options}
    asked = decode(responses_request.DECODER, msgspec.json.encode(body))
    return asked.choice(asked.offered_tools())


def of_messages(**choice: Any) -> ToolChoice:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
    body |= {"tools": [MESSAGES], "tool_choice": {"type": "tool", "name": "now", **choice}}
    return decode(messages_request.DECODER, msgspec.json.encode(body)).choice()


@pytest.mark.parametrize(
    ("choice", "once"),
    [
        (of_chat(tool_choice=CHAT), True),
        (of_chat(tool_choice=CHAT, parallel_tool_calls=False), True),
        (of_chat(tool_choice=CHAT, parallel_tool_calls=True), False),
        (of_chat(tool_choice="required"), False),
        (of_responses(tool_choice={"type": "function", "name": "now"}), True),
        (of_messages(), True),
        (of_messages(disable_parallel_tool_use=True), True),
        (of_messages(disable_parallel_tool_use=False), False),
    ],
)
def test_a_named_function_is_called_once(choice: ToolChoice, once: bool) -> None:
    assert choice.mode == "required"
    assert choice.parallel is not once


def test_tools_that_are_no_functions_are_left_out_and_named() -> None:
    given = [{"type": "web_search"}, CHAT, {"type": "custom", "custom": {"name": "patch"}}]
    tools = msgspec.convert(given, list[ChatTool])
    assert [tool["function"]["name"] for tool in template_tools(tools)] == ["now"]
    assert left_out_tools(tools) == ["tools[0]:web_search", "tools[2]:custom"]
