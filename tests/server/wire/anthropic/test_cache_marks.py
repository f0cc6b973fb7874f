"""Which requests mark what should be cached."""

import json
from typing import Any

import pytest

from mlx_notebook.server.wire.anthropic.cache_marks import has_cache_marks

MARK = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "cache_control"}


@pytest.mark.parametrize(
    ("more", "is_marked"),
    [
        ({}, False),
        ({"system": "Be short.", "tools": None}, False),
        ({"cache_control": None, "system": [TEXT]}, False),
        (MARK, True),
        ({"system": [TEXT | MARK]}, True),
        ({"tools": [{"name": "add", "input_schema": MARK}]}, False),
        ({"tools": [{"name": "add", "input_schema": {}, **MARK}]}, True),
        ({"messages": [{"role": "user", "content": [TEXT, TEXT | MARK]}]}, True),
    ],
)
def test_marks_are_found_where_the_api_has_them(more: dict[str, Any], is_marked: bool) -> None:
    body = {"model": "tiny-chat", "messages": [{"role": "user", "content": [TEXT]}], **more}
    assert has_cache_marks(json.dumps(body).encode()) is is_marked
