import json
from typing import Any

import pytest
from msgspec import structs

from mlx_notebook.protocol import OutputFormat, ToolChoice
from mlx_notebook.server.errors import InvalidRequest, Unavailable
from mlx_notebook.server.wire.decode import decode
from mlx_notebook.server.wire.responses.responses_request import DECODER, ResponsesRequest

TOOLS = [
    {"type": "function", "name": "a", "parameters": {"type": "object"}},
    {"type": "function", "name": "b", "description": "B", "strict": True},
]
SCHEMA = {"type": "object"}


def request(**parameters: Any) -> ResponsesRequest:
    return decode(DECODER, json.dumps({"input": "Hi", **parameters}).encode())


def test_function_tools_have_the_shape_of_chat_templates() -> None:
    first, second = (tool.for_template() for tool in request(tools=TOOLS).offered_tools().functions)
    assert first == {"type": "function", "function": {"name": "a", "parameters": SCHEMA}}
    assert second["function"] == {
        "name": "b",
        "description": "B",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "namespace", "name": "n", "tools": [{}]}], "tools[0].tools[0].type"),
        ([TOOLS[0], TOOLS[0]], "tools[1].name"),
        ([{"type": "function"}], "tools[0].name"),
        ([{**TOOLS[0], "defer_loading": True}], "tools[0].defer_loading"),
        ([{**TOOLS[0], "allowed_callers": ["programmatic"]}], "tools[0].allowed_callers"),
    ],
)
def test_an_invalid_tool_is_named(tools: list[Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(tools=tools).offered_tools()
    assert caught.value.param == param


def test_tools_that_the_server_would_run_are_left_out_and_named() -> None:
    tools = request(tools=[{"type": "web_search"}, *TOOLS, {"type": "custom"}]).offered_tools()
    assert [tool.name for tool in tools.functions] == ["a", "b"]
    assert tools.left_out == ["tools[0]:web_search", "tools[3]:custom"]


def test_a_model_gets_the_functions_of_a_namespace() -> None:
    docs = {"type": "namespace", "name": "mcp__docs__", "tools": [*TOOLS, {"type": "custom"}]}
    asked = request(
        tools=[docs, TOOLS[0]],
        tool_choice={"type": "function", "name": "b", "namespace": "mcp__docs__"},
    )
    tools = asked.offered_tools()
    assert [tool.name for tool in tools.functions] == ["mcp__docs__a", "mcp__docs__b", "a"]
    assert tools.left_out == ["tools[0].tools[2]:custom"]
    assert tools.namespaces["mcp__docs__b"] == ("mcp__docs__", "b")
    assert asked.choice(tools).names == ["mcp__docs__b"]


def test_the_first_function_of_a_namespace_says_what_it_is_about() -> None:
    space = {"type": "namespace", "name": "docs", "description": "Our pages.", "tools": TOOLS}
    described = [
        tool.for_template()["function"]
        for tool in request(tools=[space, TOOLS[1]]).offered_tools().functions
    ]
    assert [one.get("description") for one in described] == ["About docs: Our pages.", "B", "B"]


def test_fields_of_tools_that_have_no_effect_are_named() -> None:
    output = {"output_schema": SCHEMA, "allowed_callers": ["direct"], "async": False}
    tools = [{**TOOLS[0], **output}, {"type": "mcp", "server_label": "x", "colour": "red"}]
    assert request(tools=tools).offered_tools().ignored == [
        "tools[0].output_schema",
        "tools[1].colour",
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("required", ToolChoice(mode="required")),
        (
            {"type": "function", "name": "b"},
            ToolChoice(mode="required", names=["b"], parallel=False),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "a"}]},
            ToolChoice(names=["a"]),
        ),
    ],
)
def test_a_tool_choice_is_accepted_in_every_form(choice: Any, expected: ToolChoice) -> None:
    asked = request(tools=TOOLS, tool_choice=choice)
    assert asked.choice(asked.offered_tools()) == expected


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([], "required"),
        ([{"type": "web_search"}], "required"),
        ([{"type": "web_search"}], {"type": "web_search"}),
        (TOOLS, {"type": "function", "name": "zz"}),
        (TOOLS, {"type": "custom"}),
        (TOOLS, {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}),
    ],
)
def test_a_tool_choice_that_cannot_be_met_is_refused(tools: list[Any], choice: Any) -> None:
    asked = request(tools=tools, tool_choice=choice)
    with pytest.raises(InvalidRequest) as caught:
        asked.choice(asked.offered_tools())
    assert (caught.value.param or "").startswith("tool_choice")


def test_a_demanded_mcp_server_that_gives_no_tools_is_named_with_the_reason() -> None:
    small = {"type": "mcp", "server_label": "small"}
    for choice in (small, "required"):
        asked = request(tools=[small], tool_choice=choice)
        tools = structs.replace(asked.offered_tools(), unavailable={"small": "It is asleep."})
        with pytest.raises(Unavailable, match="'small' gives no tools: It is asleep"):
            asked.choice(tools)


def test_a_demanded_tool_that_only_openai_runs_is_named() -> None:
    asked = request(tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    with pytest.raises(
        InvalidRequest, match="'web_search', which this server cannot run"
    ) as caught:
        asked.choice(asked.offered_tools())
    assert caught.value.code == "unsupported_tool"


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"conversation": "c1", "previous_response_id": "resp_1"}, "conversation"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"stream_options": {}}, "stream_options"),
        ({"background": True, "store": False}, "store"),
        ({"top_logprobs": 3}, "top_logprobs"),
    ],
)
def test_unsupported_parameters_are_refused_by_name(parameters: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(**parameters).check()
    assert caught.value.param == param


def test_parameters_without_effect_pass() -> None:
    request(text={"verbosity": "medium"}, reasoning={"context": "auto"}, conversation=None).check()


def test_the_effort_turns_reasoning_on_and_off() -> None:
    assert request(reasoning={"effort": "none"}).template_kwargs() == {"enable_thinking": False}
    assert request(reasoning={"effort": "xhigh"}).template_kwargs() == {
        "enable_thinking": True,
        "reasoning_effort": "high",
    }


def test_the_text_format_is_the_output_format() -> None:
    given = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    assert request(text={"format": given}).output_format() == OutputFormat(
        kind="json_schema", value=SCHEMA, param="text.format"
    )
    assert request(text={"format": {"type": "text"}}).output_format() is None


def test_log_probabilities_are_only_computed_if_they_are_included() -> None:
    assert request().sampling().logprobs is None
    included = ["message.output_text.logprobs"]
    assert request(include=included).sampling().logprobs == 0
    assert request(include=included, top_logprobs=2).sampling().logprobs == 2


@pytest.mark.parametrize(
    ("parameters", "budget"),
    [
        ({}, None),
        ({"reasoning": {"effort": "low"}}, 1024),
        ({"reasoning": {"effort": "high"}}, None),
        ({"reasoning": {"effort": "low"}, "thinking_budget": 7}, 7),
        ({"reasoning": {"effort": "none"}, "enable_thinking": True}, None),
    ],
)
def test_an_effort_limits_the_reasoning(parameters: dict[str, Any], budget: int | None) -> None:
    assert request(**parameters).reasoning_budget() == budget
