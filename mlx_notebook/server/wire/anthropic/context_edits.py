"""`context_management` of `v1/messages`: what is left out of a long conversation.

The client keeps its conversation whole. The edits change only what the model gets.

Format: https://docs.anthropic.com/en/docs/build-with-claude/context-editing.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]

Message = dict[str, Any]
"""A message as chat templates expect it."""

_CLEARED = "[The result of this tool call was left out to save context.]"


class InputTokenCount(Struct, frozen=True, tag_field="type", tag="input_tokens"):
    """A number of tokens of the prompt."""

    value: _Count


class ToolUseCount(Struct, frozen=True, tag_field="type", tag="tool_uses"):
    """A number of tool calls."""

    value: _Count


class ReasoningTurnCount(Struct, frozen=True, tag_field="type", tag="thinking_turns"):
    """A number of the assistant's turns with reasoning."""

    value: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class AllReasoning(Struct, tag_field="type", tag="all"):
    """All turns."""


class ClearReasoning(Struct, tag_field="type", tag="clear_thinking_20251015"):
    """Leave out the reasoning of all but the last turns."""

    keep: Literal["all"] | ReasoningTurnCount | AllReasoning = ReasoningTurnCount(1)


class ClearToolUses(Struct, tag_field="type", tag="clear_tool_uses_20250919"):
    """Leave out the results of old tool calls once a conversation is long.

    Attributes
    ----------
    trigger
        How long it must be.
    keep
        How many of the last calls keep their results.
    clear_at_least
        Do nothing if that would save fewer tokens.
    exclude_tools
        Tools whose results stay.
    clear_tool_inputs
        Whether the arguments of these calls are left out too; or the tools of which.
    """

    trigger: InputTokenCount | ToolUseCount = InputTokenCount(100_000)
    keep: ToolUseCount = ToolUseCount(3)
    clear_at_least: InputTokenCount | None = None
    exclude_tools: list[str] | None = None
    clear_tool_inputs: bool | list[str] | None = None


class ContextManagement(Struct):
    """The edits, in the order in which they are made."""

    edits: list[ClearReasoning | ClearToolUses] = []


class ClearedReasoning(Struct, tag_field="type", tag="clear_thinking_20251015"):
    """What an edit has left out."""

    cleared_thinking_turns: int
    cleared_input_tokens: int


class ClearedToolUses(Struct, tag_field="type", tag="clear_tool_uses_20250919"):
    """What an edit has left out."""

    cleared_tool_uses: int
    cleared_input_tokens: int


class AppliedEdits(Struct):
    """The edits that had an effect."""

    applied_edits: list[ClearedReasoning | ClearedToolUses]


class CountedEdits(Struct):
    """How long the conversation is without edits."""

    original_input_tokens: int


def without_old_reasoning(
    messages: Sequence[Message], edit: ClearReasoning
) -> tuple[list[Message], int]:
    """Return the messages without old reasoning, and from how many turns it was taken.

    A turn is all that the assistant says and calls between two messages of the user.
    """
    kept = [*messages]
    if not isinstance(edit.keep, ReasoningTurnCount):
        return kept, 0
    turns: list[list[int]] = [[]]
    for at, message in enumerate(messages):
        if message["role"] == "user":
            turns.append([])
        elif message.get("reasoning_content"):
            turns[-1].append(at)
    old = [turn for turn in turns if turn][: -edit.keep.value]
    for at in (at for turn in old for at in turn):
        kept[at] = {key: value for key, value in kept[at].items() if key != "reasoning_content"}
    return kept, len(old)


def without_old_results(
    messages: Sequence[Message], edit: ClearToolUses
) -> tuple[list[Message], int]:
    """Return the messages without old results of tools, and how many were left out."""
    kept = [*messages]
    names = {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or ()
    }
    results = [at for at, message in enumerate(messages) if message["role"] == "tool"]
    old = results[: max(0, len(results) - edit.keep.value)]
    cleared: set[str] = set()
    for at in old:
        id = kept[at]["tool_call_id"]
        if names.get(id) in (edit.exclude_tools or ()) or kept[at]["content"] == _CLEARED:
            continue
        kept[at] = {**kept[at], "content": _CLEARED}
        cleared.add(id)
    inputs = edit.clear_tool_inputs
    if inputs:
        chosen = {id for id in cleared if inputs is True or names.get(id) in inputs}
        for at, message in enumerate(kept):
            if message.get("tool_calls"):
                calls = [_without_arguments(call, chosen) for call in message["tool_calls"]]
                kept[at] = {**message, "tool_calls": calls}
    return kept, len(cleared)


def count_tool_uses(messages: Sequence[Message]) -> int:
    """Return the number of tool calls of a conversation."""
    return sum(len(message.get("tool_calls") or ()) for message in messages)


def _without_arguments(call: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    if call["id"] not in ids:
        return call
    function = call["function"]
    empty: Any = {} if isinstance(function["arguments"], dict) else "{}"
    return {**call, "function": {**function, "arguments": empty}}
