"""The parameters of chat completions in the form of the engine, and those that are refused."""

import json
from typing import Any

import pytest

from mlx_notebook.protocol import ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.openai.chat_request import DECODER, ChatCompletionRequest

TOOLS = [
    {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}},
    {"function": {"strict": True, "description": "B", "name": "b"}},
]
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def request(**parameters: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "Hi"}], **parameters}
    asked = decode(DECODER, json.dumps(body).encode())
    asked.check()
    return asked


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        (named("b"), ToolChoice(mode="required", names=["b"], parallel=False)),
        (
            {"type": "function", "name": "b"},
            ToolChoice(mode="required", names=["b"], parallel=False),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("a")]}},
            ToolChoice(names=["a"]),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "a"}, named("b")],
            },
            ToolChoice(mode="required", names=["a", "b"]),
        ),
    ],
)
def test_a_tool_choice_is_accepted_in_every_form(choice: Any, expected: ToolChoice) -> None:
    assert request(tools=TOOLS, tool_choice=choice).choice() == expected


def test_parallel_calls_can_be_turned_off() -> None:
    assert not request(tools=TOOLS, parallel_tool_calls=False).choice().parallel


def test_tools_have_one_order_of_keys_and_always_parameters() -> None:
    first, second = request(tools=TOOLS).prompt().tools
    assert list(first["function"]) == ["name", "parameters"]
    assert list(second["function"]) == ["name", "description", "parameters", "strict"]
    assert second["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("parameters", "thinks", "budget"),
    [
        ({}, None, None),
        ({"reasoning_effort": "none"}, False, 0),
        ({"reasoning_effort": "minimal"}, False, 0),
        ({"reasoning_effort": "low"}, True, 1024),
        ({"reasoning_effort": "high"}, True, None),
        ({"thinking_budget": 7}, True, 7),
        ({"reasoning_effort": "high", "thinking_budget": 7}, True, 7),
        (
            {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False}},
            False,
            None,
        ),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            True,
            None,
        ),
    ],
)
def test_effort_and_budget_turn_reasoning_on_and_off(
    parameters: dict[str, Any], thinks: bool | None, budget: int | None
) -> None:
    asked = request(**parameters)
    assert asked.prompt().template_kwargs.get("enable_thinking") is thinks
    assert asked.reasoning_budget() == budget


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"verbosity": "low"}, "verbosity"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named("a")}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": named("zz")}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice.type"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1].function.name"),
        ({"tools": [{"type": "custom"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": 3}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice"),
        ({"json_schema": SCHEMA, "grammar": "root ::= [a-z]"}, "grammar"),
        ({"json_schema": "{"}, "json_schema"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repeat_penalty"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"service_tier": "banana"}, "service_tier"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"continue_final_message": True}, "continue_final_message"),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "add_generation_prompt",
        ),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs.regex",
        ),
    ],
)
def test_unsupported_parameters_are_refused_by_name(parameters: dict[str, Any], param: str) -> None:
    def ask() -> None:
        asked = request(**parameters)
        asked.prompt()
        asked.choice()
        asked.output_format()
        asked.sampling()

    with pytest.raises(InvalidRequest) as caught:
        ask()
    assert caught.value.param == param
