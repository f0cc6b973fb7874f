"""Make the edits of `context_management` that a conversation is long enough for."""

from collections.abc import Awaitable, Callable

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.wire.anthropic.context_edits import (
    AppliedEdits,
    ClearedReasoning,
    ClearedToolUses,
    ClearReasoning,
    ClearToolUses,
    ContextManagement,
    ToolUseCount,
    count_tool_uses,
    without_old_reasoning,
    without_old_results,
)

Count = Callable[[ChatPrompt], Awaitable[int]]
"""Returns the tokens of a prompt."""


async def edited(
    prompt: ChatPrompt, asked: ContextManagement, count: Count
) -> tuple[ChatPrompt, AppliedEdits]:
    """Return the prompt after the edits, and which of them had an effect.

    Tokens are counted only where an edit needs it.
    """
    applied: list[ClearedReasoning | ClearedToolUses] = []
    for edit in asked.edits:
        if isinstance(edit, ClearReasoning):
            messages, cleared = without_old_reasoning(prompt.messages, edit)
        else:
            if not await _is_due(prompt, edit, count):
                continue
            messages, cleared = without_old_results(prompt.messages, edit)
        if not cleared:
            continue
        shorter = msgspec.structs.replace(prompt, messages=messages)
        # The template may leave out old reasoning by itself.
        saved = max(0, await count(prompt) - await count(shorter))
        if isinstance(edit, ClearReasoning):
            applied.append(ClearedReasoning(cleared, saved))
        elif edit.clear_at_least is not None and saved < edit.clear_at_least.value:
            continue
        else:
            applied.append(ClearedToolUses(cleared, saved))
        prompt = shorter
    return prompt, AppliedEdits(applied)


async def _is_due(prompt: ChatPrompt, edit: ClearToolUses, count: Count) -> bool:
    if isinstance(edit.trigger, ToolUseCount):
        return count_tool_uses(prompt.messages) > edit.trigger.value
    return await count(prompt) > edit.trigger.value
