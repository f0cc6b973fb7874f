"""The file of an evaluation: one JSON object a line, to which other sessions add."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mlx_notebook.notebook.errors import NotebookError

_HEAD = {"file": "mlx_notebook evaluation", "version": 1}


@dataclass
class EvaluatedRow:
    """An answer to a row of the data, and its scores.

    Attributes
    ----------
    label, model, settings
        Who answered.
    row
        The place of the row in the data, from 0.
    prompt, expected
        What was asked, and the expected answer, None if there is none.
    key
        Says which request this is the answer to.
    answer, error
        The text; or why there is none.
    tokens, answer_tokens
        Tokens of prompt and answer, and of the answer alone.
    seconds
        How long the request took, while others ran at the same time.
    scores
        By metric; None where a metric has no figure for this answer.
    """

    label: str
    model: str
    settings: dict[str, Any]
    row: int
    prompt: str
    expected: Any
    key: str
    answer: str | None = None
    error: str | None = None
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    scores: dict[str, float | None] = field(default_factory=dict)


_NAMES = {one.name for one in fields(EvaluatedRow)}


def read_rows(path: Path) -> list[EvaluatedRow]:
    """Return the rows of a file. Of several answers to one row, the last one counts.

    Raises
    ------
    NotebookError
        If it cannot be read, or is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{path} cannot be read: {error}.") from None
    lines.pop()  # what follows the last line end was not written to its end
    found: dict[tuple[str, int], EvaluatedRow] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if number == 1 and record == _HEAD:
                continue
            row = EvaluatedRow(**{name: record[name] for name in _NAMES})
        except (ValueError, TypeError, KeyError):
            what = "has a damaged line" if number > 1 else "is not an evaluation"
            raise NotebookError(f"{path} {what} ({number}): name another file.") from None
        if number == 1:
            raise NotebookError(f"{path} is not an evaluation: name another file.")
        found[row.label, row.row] = row
    return list(found.values())


def add_rows(path: Path, rows: Iterable[EvaluatedRow]) -> None:
    """Add rows at the end of a file, which is made if there is none.

    Raises
    ------
    NotebookError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)  # without a line that was not written to its end
            if not file.tell() or not data.strip():
                file.write(_line(_HEAD))
            file.writelines(_line(asdict(row)) for row in rows)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotebookError(f"{path} cannot be written: {error}. Name another file.") from None


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"
