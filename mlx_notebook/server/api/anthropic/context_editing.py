"""Make the edits of `context_management` that a conversation is long enough for."""

from collections.abc import Awaitable, Callable

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.wire.anthropic.context_edits import (
    AppliedEdits,
    ClearedThinking,
    ClearedToolUses,
    ClearThinking,
    ClearToolUses,
    ContextManagement,
    ToolUses,
    count_tool_uses,
    without_old_results,
    without_old_thinking,
)

Count = Callable[[ChatPrompt], Awaitable[int]]
"""Returns the tokens of a prompt."""


async def edited(
    prompt: ChatPrompt, asked: ContextManagement, count: Count
) -> tuple[ChatPrompt, AppliedEdits]:
    """Return the prompt after the edits, and which of them had an effect.

    Tokens are counted only where an edit needs it.
    """
    applied: list[ClearedThinking | ClearedToolUses] = []
    for edit in asked.edits:
        if isinstance(edit, ClearThinking):
            messages, cleared = without_old_thinking(prompt.messages, edit)
        else:
            if not await _is_due(prompt, edit, count):
                continue
            messages, cleared = without_old_results(prompt.messages, edit)
        if not cleared:
            continue
        shorter = msgspec.structs.replace(prompt, messages=messages)
        # The template may leave out old reasoning by itself.
        saved = max(0, await count(prompt) - await count(shorter))
        if isinstance(edit, ClearThinking):
            applied.append(ClearedThinking(cleared, saved))
        elif edit.clear_at_least is not None and saved < edit.clear_at_least.value:
            continue
        else:
            applied.append(ClearedToolUses(cleared, saved))
        prompt = shorter
    return prompt, AppliedEdits(applied)


async def _is_due(prompt: ChatPrompt, edit: ClearToolUses, count: Count) -> bool:
    if isinstance(edit.trigger, ToolUses):
        return count_tool_uses(prompt.messages) > edit.trigger.value
    return await count(prompt) > edit.trigger.value
