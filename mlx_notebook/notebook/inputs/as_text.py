"""The notebook's objects as text for a model: tables, arrays and exceptions, with a limited length.

It imports no library: an object of pandas or numpy has already imported its own.
"""

import re
import traceback
from typing import Any

# The most characters that the value of a `{{ expression }}` other than a string may have.
INPUT_CHARACTERS = 8_000

# The file name of a cell contains the kernel's process id, which means nothing to the reader.
_CELL_FILE = re.compile(r'File ".*?ipykernel_\d+/\d+\.py"')


def from_library(value: Any, *libraries: str) -> bool:
    """Return whether an object's class, or one of its bases, is from one of these libraries."""
    return any(kind.__module__.split(".")[0] in libraries for kind in type(value).__mro__)


def as_text(value: Any, budget: int = INPUT_CHARACTERS) -> str | None:
    """Describe an object to a model; return `None` if `str` or JSON describes it well.

    A table becomes its shape and its first rows as CSV. An array becomes its shape, type and a
    summary. An exception becomes its traceback. An object with a `_repr_markdown_` becomes that
    Markdown.

    Parameters
    ----------
    value
        The object.
    budget
        The most characters of the text.
    """
    if isinstance(value, BaseException):
        return trimmed(traceback_of(value), budget)
    if from_library(value, "pandas", "polars") and hasattr(value, "shape"):
        return _table(value, budget)
    if from_library(value, "numpy", "mlx", "torch", "jax") and getattr(value, "shape", None):
        return trimmed(f"array of shape {value.shape}, {value.dtype}:\n{value}", budget)
    if callable(markdown := getattr(value, "_repr_markdown_", None)) and not isinstance(
        value, type
    ):
        text = markdown()
        text = text[0] if isinstance(text, tuple) else text
        return trimmed(text, budget) if isinstance(text, str) else None
    return None


def trimmed(text: str, budget: int) -> str:
    """Leave out the middle of a text with more than `budget` characters, with a note."""
    if len(text) <= budget:
        return text
    note = f"\n[… {len(text) - budget} characters left out …]\n"
    head = budget * 2 // 3
    return text[:head] + note + text[len(text) - (budget - head) :]


def traceback_of(error: BaseException) -> str:
    """Format an exception's traceback without the frames of this package above it."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_globals.get("__name__", "")):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return _CELL_FILE.sub('File "<cell>"', "".join(lines)).strip()


def _is_ours(module: str) -> bool:
    return module.startswith(("mlx_notebook.notebook", "IPython.core"))


def _table(value: Any, budget: int) -> str:
    shape = " x ".join(str(size) for size in value.shape)
    rows = f"{shape} (rows x columns)" if len(value.shape) > 1 else f"{shape} values"
    head = value
    while True:
        csv = head.to_csv() if hasattr(head, "to_csv") else _polars_csv(head)
        left_out = len(value) - len(head)
        note = f"\n[… {left_out} more rows …]" if left_out else ""
        if len(csv) <= budget or len(head) <= 1:
            return trimmed(f"table of {rows}:\n{csv.strip()}{note}", budget + 100)
        head = value.head(max(1, min(len(head) // 2, len(head) * budget // len(csv))))


def _polars_csv(value: Any) -> str:
    frame = value.to_frame() if not hasattr(value, "write_csv") else value
    return str(frame.write_csv())
