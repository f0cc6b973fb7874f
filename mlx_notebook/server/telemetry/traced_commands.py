"""Describe what a request asked the engine for, as its trace shows it."""

from typing import Any

import msgspec

from mlx_notebook import protocol
from mlx_notebook.server.wire.content import CheckedImage

_DEFAULT_SAMPLING = protocol.Sampling()


def traced_messages(prompt: protocol.ChatPrompt) -> list[dict[str, Any]]:
    """Return the messages with a short description in place of each image and sound."""
    if not (prompt.images or prompt.sounds):
        return prompt.messages
    images, sounds = iter(prompt.images), iter(prompt.sounds)

    def described(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "audio":
            return {"type": "audio", "bytes": len(next(sounds).data)}
        return _describe_image(next(images)) if part["type"] == "image" else part

    return [
        {**message, "content": [described(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in prompt.messages
    ]


def _describe_image(image: protocol.EncodedImage) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "video" if image.times else "image",
        "detail": image.detail,
        "bytes": len(image.data) + sum(map(len, image.frames)),
    }
    if image.times:
        described["times"] = image.times
    if isinstance(image, CheckedImage):
        described |= {"media_type": image.media_type, "sha256": image.digest}
        described |= {"width": image.width, "height": image.height}
    return described


def traced_options(command: protocol.Generate) -> dict[str, Any]:
    """Return the options of a request that differ from the defaults."""
    options: dict[str, Any] = {
        name: value
        for name in protocol.Sampling.__struct_fields__
        if (value := getattr(command.sampling, name)) != getattr(_DEFAULT_SAMPLING, name)
    }
    if isinstance(command.prompt, protocol.ChatPrompt) and command.prompt.template_kwargs:
        options["template_kwargs"] = command.prompt.template_kwargs
    if command.tool_choice != protocol.ToolChoice():
        options["tool_choice"] = msgspec.to_builtins(command.tool_choice)
    if command.output_format is not None:
        options["output_format"] = msgspec.to_builtins(command.output_format)
    if command.reasoning_budget is not None:
        options["thinking_budget"] = command.reasoning_budget
    if command.n > 1:
        options["n"] = command.n
    if command.truncate_prompt is not None:
        options["truncate_prompt_tokens"] = command.truncate_prompt
    if isinstance(command.prompt, protocol.ChatPrompt):
        if not command.prompt.add_generation_prompt:
            options["add_generation_prompt"] = False
        if command.prompt.continues:
            options["continue_final_message"] = True
    return options
