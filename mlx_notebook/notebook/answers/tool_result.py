"""What a tool returned, as the model is told it: text, JSON, images."""

from typing import Any

from mlx_notebook.notebook.inputs.as_text import as_text, trimmed
from mlx_notebook.notebook.inputs.images import Picture, looks_like_picture

Content = str | list[dict[str, Any]]

# The most that a model is told of one result, in characters of text.
RESULT_CHARACTERS = 16_000


def content_of(value: Any) -> Content:
    """Write what a function returned as the content of a tool message.

    Text stays as it is; `None` is told as done; images (of PIL, matplotlib, or with a
    `_repr_png_`) become image parts, also in a list or tuple beside text; tables, arrays and what
    has a `_repr_markdown_` become text as in a prompt; everything else becomes JSON, with what
    JSON cannot hold as its `str`. Text beyond `RESULT_CHARACTERS` is left out from its middle.

    Raises `NotebookError` for an image that cannot be read.
    """
    if looks_like_picture(value):
        return [Picture.of(value).part]
    if isinstance(value, list | tuple) and any(looks_like_picture(item) for item in value):
        return [
            Picture.of(item).part
            if looks_like_picture(item)
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
        return str(value)  # refers to itself


def _fallback(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()  # numpy's scalars and small arrays inside other values
    return as_text(value, RESULT_CHARACTERS) or str(value)


def text_of(content: Content) -> str:
    """Give the text of a content, with a word for each image."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "[image]") for part in content)


def pictures_of(content: Content) -> list[dict[str, Any]]:
    """Give the image parts of a content."""
    if isinstance(content, str):
        return []
    return [part for part in content if part["type"] == "image_url"]
