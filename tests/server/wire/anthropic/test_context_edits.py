"""What the edits of `context_management` leave out of a conversation."""

import asyncio
from typing import Any

import msgspec
import pytest

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.api.anthropic.context_editing import edited
from mlx_notebook.server.wire.anthropic.context_edits import (
    ClearedReasoning,
    ClearedToolUses,
    ContextManagement,
)

CLEARED = "[The result of this tool call was left out to save context.]"


def call(id: str, name: str = "read") -> dict[str, Any]:
    function = {"name": name, "arguments": {"path": "a long path"}}
    return {"id": id, "type": "function", "function": function}


def turn(number: int, name: str = "read") -> list[dict[str, Any]]:
    """A question, a call after some reasoning, its result, and an answer."""
    thought = {"reasoning_content": f"thought {number}"}
    id = f"c{number}"
    return [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": "", "tool_calls": [call(id, name)], **thought},
        {"role": "tool", "tool_call_id": id, "content": f"result {number}" * 20},
        {"role": "assistant", "content": f"answer {number}", **thought},
    ]


def conversation(turns: int = 4, **names: str) -> ChatPrompt:
    messages = [m for n in range(turns) for m in turn(n, names.get(f"c{n}", "read"))]
    return ChatPrompt(messages=messages, tools=[], template_kwargs={})


def apply(prompt: ChatPrompt, *edits: dict[str, Any]) -> tuple[ChatPrompt, list[Any], int]:
    asked = msgspec.convert({"edits": list(edits)}, ContextManagement)
    counts = 0

    async def count(counted: ChatPrompt) -> int:
        nonlocal counts
        counts += 1
        return len(str(counted.messages))

    after, applied = asyncio.run(edited(prompt, asked, count))
    return after, applied.applied_edits, counts


def test_keeping_all_thinking_changes_and_counts_nothing() -> None:
    prompt = conversation()
    keep = {"type": "clear_thinking_20251015", "keep": "all"}
    assert apply(prompt, keep) == (prompt, [], 0)
    assert apply(prompt, {**keep, "keep": {"type": "all"}}) == (prompt, [], 0)
    assert apply(prompt) == (prompt, [], 0)


def test_old_thinking_is_left_out_by_turns() -> None:
    keep = {"type": "thinking_turns", "value": 2}
    after, applied, _ = apply(conversation(), {"type": "clear_thinking_20251015", "keep": keep})
    thought = [m.get("reasoning_content") for m in after.messages if m["role"] == "assistant"]
    assert thought == [None, None, None, None, "thought 2", "thought 2", "thought 3", "thought 3"]
    [edit] = applied
    assert isinstance(edit, ClearedReasoning)
    assert edit.cleared_thinking_turns == 2
    assert edit.cleared_input_tokens > 0
    after, _, _ = apply(conversation(), {"type": "clear_thinking_20251015"})
    assert sum("reasoning_content" in message for message in after.messages) == 2


def test_old_results_are_left_out_once_there_are_many() -> None:
    trigger = {"type": "tool_uses", "value": 3}
    edit = {"type": "clear_tool_uses_20250919", "trigger": trigger}
    before = conversation()
    after, applied, _ = apply(before, {**edit, "keep": {"type": "tool_uses", "value": 1}})
    results = [m["content"] for m in after.messages if m["role"] == "tool"]
    assert results == [CLEARED] * 3 + ["result 3" * 20]
    assert before.messages[2]["content"] == "result 0" * 20
    [cleared] = applied
    assert isinstance(cleared, ClearedToolUses)
    assert cleared.cleared_tool_uses == 3
    assert apply(conversation(3), edit)[1] == []


def test_results_stay_until_the_prompt_is_long() -> None:
    edit = {"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 0}}
    length = len(str(conversation().messages))
    for limit, is_due in ((length, False), (length - 1, True)):
        trigger = {"type": "input_tokens", "value": limit}
        assert bool(apply(conversation(), {**edit, "trigger": trigger})[1]) is is_due
    # By default from 100,000 tokens on.
    assert apply(conversation(), edit)[1] == []


@pytest.mark.parametrize(("least", "is_made"), [(100, True), (100_000, False)])
def test_an_edit_that_saves_little_is_not_made(least: int, is_made: bool) -> None:
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "tool_uses", "value": 0},
        "clear_at_least": {"type": "input_tokens", "value": least},
    }
    after, applied, _ = apply(conversation(), edit)
    assert bool(applied) is is_made
    assert (after != conversation()) is is_made


def test_some_tools_keep_their_results_and_inputs_go_if_that_is_asked() -> None:
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "tool_uses", "value": 0},
        "keep": {"type": "tool_uses", "value": 1},
        "exclude_tools": ["note"],
        "clear_tool_inputs": ["write"],
    }
    after, _, _ = apply(conversation(c0="note", c1="write"), edit)
    results = [m["content"] == CLEARED for m in after.messages if m["role"] == "tool"]
    assert results == [False, True, True, False]
    calls = [m["tool_calls"][0]["function"] for m in after.messages if m.get("tool_calls")]
    assert [bool(function["arguments"]) for function in calls] == [True, False, True, True]
    after, _, _ = apply(conversation(), {**edit, "clear_tool_inputs": True})
    calls = [m["tool_calls"][0]["function"] for m in after.messages if m.get("tool_calls")]
    assert [bool(function["arguments"]) for function in calls] == [False, False, False, True]
