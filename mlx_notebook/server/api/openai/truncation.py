"""`truncation: auto`: a conversation too long for the model loses its oldest turns."""

import math
from typing import Any

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.api.generation import GenerationHandler
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.content import image_parts

# What is left to the answer where the request does not say how long it may become.
_LEAST_ANSWER = 1024


async def truncated(
    handler: GenerationHandler, model: str | None, prompt: ChatPrompt, max_tokens: int | None
) -> ChatPrompt:
    """Return the prompt with as many of its latest turns as leave room for the answer.

    Instructions stay. A turn begins with a message of the user's, so that no tool result loses
    its call. The last turn stays too: where it alone is too long, the engine says so.
    """
    entry = await handler.services.catalog.find(model)
    prompt = await handler.shown_to(entry, prompt)
    context = entry.context_window
    if context is None:
        return prompt
    room = context - min(max_tokens or _LEAST_ANSWER, context // 2)
    room = min(room, handler.services.limits.max_prompt_tokens or room)
    cuts = _cuts(prompt.messages)
    # The fewest turns to lose: prompts only get shorter with each.
    least, most = 0, len(cuts) - 1
    while least < most:
        middle = (least + most) // 2
        if await _tokens(handler, model, _without(prompt, cuts[middle])) <= room:
            most = middle
        else:
            least = middle + 1
    return _without(prompt, cuts[least]) if cuts else prompt


async def _tokens(handler: GenerationHandler, model: str | None, prompt: ChatPrompt) -> float:
    """Return how many tokens a prompt has; infinity where it is too long to be tokenized."""
    try:
        return len((await handler.tokenized(model, prompt)).tokens)
    except ApiError as error:
        if error.code == "context_length_exceeded":
            return math.inf
        raise


def _cuts(messages: list[dict[str, Any]]) -> list[int]:
    """Return where a conversation may begin: at its start, and at each later turn."""
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), 0)
    turns = (at for at, message in enumerate(messages) if message["role"] == "user")
    return [first, *(at for at in turns if at > first)] if messages else []


def _without(prompt: ChatPrompt, cut: int) -> ChatPrompt:
    """Return the prompt without what comes between its instructions and `cut`."""
    instructions = [message for message in prompt.messages[:cut] if message["role"] == "system"]
    lost = sum(1 for _ in image_parts(prompt.messages[:cut]))
    return msgspec.structs.replace(
        prompt,
        messages=[*instructions, *prompt.messages[cut:]],
        images=prompt.images[lost:],
    )
