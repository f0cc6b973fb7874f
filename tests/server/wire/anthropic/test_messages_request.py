import json
from typing import Any

import pytest

from mlx_notebook.protocol import OutputFormat, ToolChoice
from mlx_notebook.server.errors import InvalidRequest
from mlx_notebook.server.wire.anthropic.messages_request import DECODER, MessagesRequest
from mlx_notebook.server.wire.decode import decode

TOOL = {"name": "a", "input_schema": {"type": "object"}}
HELLO = {"role": "user", "content": "Hi"}


def request(**parameters: Any) -> MessagesRequest:
    body = {"messages": [HELLO], "max_tokens": 9, **parameters}
    return decode(DECODER, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ({"type": "none"}, ToolChoice(mode="none")),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(mode="required")),
        (
            {"type": "tool", "name": "a"},
            ToolChoice(mode="required", names=["a"], parallel=False),
        ),
        (
            {"type": "tool", "name": "a", "disable_parallel_tool_use": False},
            ToolChoice(mode="required", names=["a"]),
        ),
    ],
)
def test_a_tool_choice_is_accepted_in_every_form(choice: Any, expected: ToolChoice) -> None:
    assert request(tools=[TOOL], tool_choice=choice).choice() == expected


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([], {"type": "any"}, "tool_choice"),
        ([TOOL], {"type": "tool", "name": "zz"}, "tool_choice.name"),
        ([{"type": "bash_20250124", "name": "bash"}], {"type": "any"}, "tool_choice"),
        (
            [TOOL, {"type": "bash_20250124", "name": "bash"}],
            {"type": "tool", "name": "bash"},
            "tool_choice.name",
        ),
        ([TOOL, TOOL], None, "tools[1].name"),
        ([{"name": "a"}], None, "tools[0].input_schema"),
        ([{**TOOL, "defer_loading": True}], None, "tools[0].defer_loading"),
        ([{**TOOL, "allowed_callers": ["code"]}], None, "tools[0].allowed_callers"),
    ],
)
def test_an_invalid_tool_or_choice_is_named(tools: list[Any], choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(tools=tools, tool_choice=choice).choice()
    assert caught.value.param == param


def test_tools_that_anthropic_defines_are_left_out_and_named() -> None:
    asked = request(tools=[{"type": "bash_20250124", "name": "bash"}, TOOL])
    assert [tool.name for tool in asked.typed_tools()] == ["a"]
    assert asked.left_out == ["tools[0]:bash_20250124"]
    assert asked.choice() == ToolChoice()


def test_a_block_for_anthropics_bills_is_left_out_and_named() -> None:
    bill = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.d55;"}
    rules = {"type": "text", "text": "Be brief."}
    asked = request(system=[bill, rules])
    assert asked.prompt().messages[0] == {"role": "system", "content": "Be brief."}
    assert asked.left_out == ["system[0]:x-anthropic-billing-header"]
    assert [message["role"] for message in request(system=[bill]).prompt().messages] == ["user"]


def test_examples_are_part_of_the_tools_schema() -> None:
    [tool] = (
        request(tools=[{**TOOL, "description": "A", "input_examples": [{"x": 1}]}]).prompt().tools
    )
    assert tool["function"] == {
        "name": "a",
        "description": "A",
        "parameters": {"type": "object", "examples": [{"x": 1}]},
    }


def test_the_reasoning_budget_is_less_than_the_tokens_of_the_answer() -> None:
    assert request(thinking={"type": "enabled", "budget_tokens": 8}).reasoning_budget == 8
    assert request(thinking={"type": "adaptive"}).reasoning_budget is None
    with pytest.raises(InvalidRequest) as caught:
        _ = request(thinking={"type": "enabled", "budget_tokens": 9}).reasoning_budget
    assert caught.value.param == "thinking.budget_tokens"


def test_reasoning_can_be_hidden() -> None:
    assert request(thinking={"type": "adaptive", "display": "omitted"}).hides_reasoning
    assert not request(thinking={"type": "adaptive"}).hides_reasoning
    assert not request().hides_reasoning


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"container": "c1"}, "container"),
        ({"thread": {}}, "thread"),
        ({"speed": "fast"}, "speed"),
        ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "Hel "}]},
            "messages[1].content",
        ),
    ],
)
def test_what_a_prompt_cannot_have_is_refused_by_name(
    parameters: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(**parameters).prompt()
    assert caught.value.param == param


@pytest.mark.parametrize("older", [False, True])
def test_both_names_of_the_output_format_are_accepted(older: bool) -> None:
    format = {"type": "json_schema", "schema": {"type": "object"}}
    asked = {"output_format": format} if older else {"output_config": {"format": format}}
    assert request(**asked).output_format() == OutputFormat(
        kind="json_schema",
        value={"type": "object"},
        param="output_format" if older else "output_config.format",
    )


@pytest.mark.parametrize(
    ("thinking", "effort", "budget"),
    [
        ({"type": "adaptive"}, "low", 1024),
        ({"type": "adaptive"}, "high", None),
        ({"type": "enabled", "budget_tokens": 5}, "low", 5),
        (None, "low", None),
    ],
)
def test_an_effort_limits_adaptive_reasoning(thinking: Any, effort: str, budget: Any) -> None:
    asked = request(thinking=thinking, output_config={"effort": effort})
    assert asked.reasoning_budget == budget
