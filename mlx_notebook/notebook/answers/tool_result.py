"""What a tool returned, as content for the model: text, JSON and images."""

from typing import Any

from mlx_notebook.notebook.inputs.as_text import as_text, trimmed
from mlx_notebook.notebook.inputs.images import EncodedImage, is_image

Content = str | list[dict[str, Any]]

# The longest text of one result, in characters.
RESULT_CHARACTERS = 16_000


def content_of(value: Any) -> Content:
    """Turn the return value of a function into the content of a tool message.

    Text stays as it is, and `None` becomes "Done.". Images (of PIL, matplotlib, or with a
    `_repr_png_`) become image parts, also in a list or tuple beside text. Tables, arrays and
    objects with a `_repr_markdown_` become text as in a prompt. All other values become JSON, with
    `str` for what JSON cannot hold. The middle of a text longer than `RESULT_CHARACTERS` is left
    out.

    Raises
    ------
    NotAPicture
        If an image cannot be read.
    """
    if is_image(value):
        return [EncodedImage.of(value).part]
    if isinstance(value, list | tuple) and any(is_image(item) for item in value):
        return [
            EncodedImage.of(item).part
            if is_image(item)
            else {"type": "text", "text": trimmed(_text(item), RESULT_CHARACTERS)}
            for item in value
        ]
    return trimmed(_text(value), RESULT_CHARACTERS)


def _text(value: Any) -> str:
    if value is None:
        return "Done."
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    text = as_text(value, RESULT_CHARACTERS)
    return _json(value) if text is None else text


def _json(value: Any) -> str:
    import pydantic_core

    try:
        return pydantic_core.to_json(value, fallback=_fallback, inf_nan_mode="constants").decode()
    except (ValueError, RecursionError):
        return str(value)  # a value that contains itself


def _fallback(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()  # numpy's scalars and small arrays inside other values
    return as_text(value, RESULT_CHARACTERS) or str(value)


def text_of(content: Content) -> str:
    """Return the text of a content, with `[image]` for each image."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "[image]") for part in content)


def image_parts(content: Content) -> list[dict[str, Any]]:
    """Return the image parts of a content."""
    if isinstance(content, str):
        return []
    return [part for part in content if part["type"] == "image_url"]
