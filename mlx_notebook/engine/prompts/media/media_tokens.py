"""The tokens that stand for an image or a sound in a prompt, and the marks of templates for one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.prompts.chat_template import apply_template

_LAST = 2**31 - 1
_NOT_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
_NAMES = {"image": ("images", "pixels"), "audio": ("sounds", "tokens")}


@dataclass(frozen=True)
class Placeholder:
    """What a chat template writes for an image or a sound.

    Attributes
    ----------
    mark
        Its text.
    token
        The model's token for a patch.
    in_text
        Whether the text of messages must contain it, since the template knows no such parts.
    """

    mark: str
    token: int
    in_text: bool


def find_placeholder(
    tokenizer: Any, kind: str, token: int, named: Iterable[Any], usual: Iterable[str]
) -> Placeholder:
    """Return the placeholder of a chat template for a kind of parts.

    Parameters
    ----------
    tokenizer
        The model's tokenizer, with the template.
    kind
        `image` or `audio`.
    token
        The model's token for a patch.
    named, usual
        Marks that the model's processor names (None is skipped), and those of other models.

    Raises
    ------
    InvalidRequest
        If the template has no place for such parts.
    """
    marks = [str(mark) for mark in named if mark]
    single = [
        mark
        for mark in dict.fromkeys([*marks, tokenizer.decode([token]), *usual])
        if len(tokenizer.encode(mark, add_special_tokens=False)) == 1
    ]
    parts = [{"type": kind}, {"type": "text", "text": "?"}]
    try:
        text = apply_template(tokenizer, [{"role": "user", "content": parts}], [], {}, True)
    except InvalidRequest:
        text = ""
    for mark in single:
        if text.count(mark) == 1:
            return Placeholder(mark, token, in_text=False)
    for mark in single:
        message = {"role": "user", "content": f"{mark}?"}
        if apply_template(tokenizer, [message], [], {}, True).count(mark) == 1:
            return Placeholder(mark, token, in_text=True)
    raise InvalidRequest(
        f"the model's chat template has no place for {_NAMES[kind][0]}", "messages"
    )


def with_placeholders(
    message: dict[str, Any], placeholders: dict[str, Placeholder]
) -> dict[str, Any]:
    """Return a message with marks in its text in place of parts that the template does not know.

    `placeholders` are by the kind of part.
    """
    content = message.get("content")
    in_text = any(place.in_text for place in placeholders.values())
    if not in_text or not isinstance(content, list):
        return message
    parts: list[dict[str, Any]] = []
    for part in content:
        place = placeholders.get(part["type"])
        if place is not None and place.in_text:
            part = {"type": "text", "text": place.mark}
        if part["type"] == "text" and parts and parts[-1]["type"] == "text":
            part = {"type": "text", "text": parts.pop()["text"] + part["text"]}
        parts.append(part)
    if len(parts) == 1 and parts[0]["type"] == "text":
        return {**message, "content": parts[0]["text"]}
    return {**message, "content": parts}


def split_tokens(
    tokenizer: Any, tokens: list[int], token: int, kind: str = "image"
) -> tuple[str, list[int], str]:
    """Return the text before an image or sound, its tokens from first to last, the text after it.

    Tokens that begin and end a whole prompt are left out. `token` stands for a patch.

    Raises
    ------
    ValueError
        If there is no such token.
    """
    if tokens and tokens[0] == tokenizer.bos_token_id:
        tokens = tokens[1:]
    if tokens and tokens[-1] == tokenizer.eos_token_id:
        tokens = tokens[:-1]
    patches = [place for place, found in enumerate(tokens) if found == token]
    if not patches:
        raise ValueError(f"its processor makes no {_NAMES[kind][1]} of it")
    first, end = patches[0], patches[-1] + 1
    before, after = tokenizer.decode(tokens[:first]), tokenizer.decode(tokens[end:])
    return before, tokens[first:end], after


def model_inputs(given: Any) -> dict[str, Any]:
    """Return what a processor has made for the model, without the tokens and their masks."""
    return {
        name: value if isinstance(value, list) else np.array(value)
        for name, value in given.items()
        if name not in _NOT_INPUTS and value is not None
    }


def content_keys(inputs: dict[str, Any], tokens: list[int], token: int, base: int) -> list[int]:
    """Return tokens with each `token` replaced by a number from `base` on, made from the content.

    `inputs` is the content, as the model takes it.
    """
    content = hashlib.sha256()
    for name in sorted(inputs):
        value = inputs[name]
        content.update(f"{name} {getattr(value, 'shape', '')} ".encode())
        array = isinstance(value, np.ndarray)
        content.update(value.tobytes() if array else repr(value).encode())
    stream = hashlib.shake_256(content.digest()).digest(4 * len(tokens))
    numbers = np.frombuffer(stream, "<u4")
    span = _LAST - base
    return [
        base + int(number) % span if found == token else found
        for found, number in zip(tokens, numbers, strict=True)
    ]
