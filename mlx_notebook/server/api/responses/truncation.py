"""Implement `truncation: auto`: drop the oldest turns of a conversation that is too long."""

import math
from typing import Any

import msgspec

from mlx_notebook.protocol import ChatPrompt
from mlx_notebook.server.api.generation import GenerationHandler, tokens_not_known
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.wire.content import audio_parts, image_parts

# Tokens that are reserved for the output if the request sets no maximum.
_RESERVED_TOKENS = 1024


async def truncate(
    handler: GenerationHandler, model: str | None, prompt: ChatPrompt, max_tokens: int | None
) -> ChatPrompt:
    """Return the prompt with as many of its last turns as fit into the context with the output.

    Instructions stay. A turn begins with a message of the user, so that each tool result keeps its
    call. The last turn always stays: if it is too long by itself, the engine refuses it.
    """
    services = handler.services
    entry = await services.catalog.find(model, await handler.settings_user(), use="text")
    if entry.upstream is not None:
        raise tokens_not_known(entry, "truncation")
    prompt = await handler.with_images(entry, prompt)
    context = entry.context_window
    if context is None:
        return prompt
    room = context - min(max_tokens or _RESERVED_TOKENS, context // 2)
    room = min(room, handler.services.limits.max_prompt_tokens or room)
    cuts = _cuts(prompt.messages)
    # Binary search for the fewest turns to drop: each one makes the prompt shorter.
    least, most = 0, len(cuts) - 1
    while least < most:
        middle = (least + most) // 2
        if await _tokens(handler, model, _drop_until(prompt, cuts[middle])) <= room:
            most = middle
        else:
            least = middle + 1
    return _drop_until(prompt, cuts[least]) if cuts else prompt


async def _tokens(handler: GenerationHandler, model: str | None, prompt: ChatPrompt) -> float:
    """Return the number of tokens of a prompt, infinity if it is too long to be tokenized."""
    try:
        return len((await handler.tokenized(model, prompt)).tokens)
    except ApiError as error:
        if error.code == "context_length_exceeded":
            return math.inf
        raise


def _cuts(messages: list[dict[str, Any]]) -> list[int]:
    """Return the indexes at which the conversation may begin: its start and each later turn."""
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), 0)
    turns = (at for at, message in enumerate(messages) if message["role"] == "user")
    return [first, *(at for at in turns if at > first)] if messages else []


def _drop_until(prompt: ChatPrompt, cut: int) -> ChatPrompt:
    """Return the prompt without the messages between its instructions and `cut`."""
    instructions = [message for message in prompt.messages[:cut] if message["role"] == "system"]
    images, sounds = (
        sum(1 for _ in parts(prompt.messages[:cut])) for parts in (image_parts, audio_parts)
    )
    return msgspec.structs.replace(
        prompt,
        messages=[*instructions, *prompt.messages[cut:]],
        images=prompt.images[images:],
        sounds=prompt.sounds[sounds:],
    )
