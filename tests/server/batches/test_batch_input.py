"""The file of a batch: what its lines must be, and how mistakes are told."""

import json
from typing import Any

import pytest

from mlx_notebook.server.batches import batch_input
from mlx_notebook.server.batches.batch_input import read_lines


def line(**changes: Any) -> str:
    good = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Hi"}}
    return json.dumps({**good, **changes})


def errors_of(*lines: str) -> list[tuple[str, int | None]]:
    _, errors = read_lines("\n".join(lines).encode(), "v1/completions")
    return [(error.code, error.line) for error in errors]


def test_lines_are_read_with_their_numbers_and_their_bodies_as_they_are() -> None:
    text = f"{line()}\r\n\n{line(custom_id='b')}\n"
    lines, errors = read_lines(text.encode(), "v1/completions")
    assert not errors
    assert [(each.number, each.custom_id) for each in lines] == [(1, "a"), (3, "b")]
    assert lines[0].request == b'{"prompt": "Hi"}'


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("{", "invalid_json_line"),
        ("[1]", "invalid_line"),
        ('{"custom_id": "b"}', "invalid_line"),
        (line(custom_id=1), "invalid_line"),
        (line(custom_id=""), "invalid_custom_id"),
        (line(custom_id="b", method="GET"), "invalid_method"),
        (line(custom_id="b", url="/v1/embeddings"), "invalid_url"),
        (line(custom_id="b", body=[]), "invalid_line"),
        (line(), "duplicate_custom_id"),
    ],
)
def test_a_mistake_is_told_with_the_number_of_its_line(wrong: str, code: str) -> None:
    assert errors_of(line(), wrong, line(custom_id="z")) == [(code, 2)]


def test_a_file_without_requests_and_one_with_too_many_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert errors_of("", "  ") == [("empty_file", None)]
    monkeypatch.setattr(batch_input, "MAX_LINES", 2)
    assert errors_of(*(line(custom_id=str(n)) for n in range(3))) == [("too_many_lines", 3)]
    assert len(errors_of(*["{"] * 500)) == 100
