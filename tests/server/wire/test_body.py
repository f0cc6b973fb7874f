import json

import pytest

from mlx_notebook.server.wire.body import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_VALUES,
    RequestBody,
)

AWKWARD = json.dumps(
    {
        "text": 'a "quoted" \\ [ { , word \\',
        "a\\": ["\\", '"', "[[[", {"x": [1, 2.5e3, -7]}],
        "ids": [2**63, -(2**63), 2**64 - 1, 0.1234567890123456789],
        "more": ["99999999999999999999999", None, True],
    }
).encode()


def fed(content: bytes, size: int) -> RequestBody:
    body = RequestBody()
    for at in range(0, len(content), size):
        body.take(content[at : at + size])
    return body


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_counts_do_not_depend_on_the_chunks(size: int) -> None:
    body = fed(AWKWARD, size)
    assert body.content == AWKWARD
    assert (body._values, body._containers, body._deepest) == (19, 6, 4)
    assert not body._in_string
    assert body.large_integer is None
    assert body.excess is None


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("number", "is_large"),
    [
        (str(2**64), True),
        (str(-(2**63) - 1), True),
        ("1" * 5000, True),
        (str(2**64 - 1), False),
        ("1" * 30 + ".5", False),
        ("1" * 30 + "e2", False),
        ("0." + "1" * 30, False),
        ("1e" + "1" * 30, False),
        ('"' + "1" * 30 + '"', False),
    ],
)
def test_integers_beyond_64_bits_are_found(number: str, is_large: bool, size: int) -> None:
    body = fed(b'{"a": [1, %b, 2]}' % number.encode(), size)
    assert (body.large_integer is not None) is is_large


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b"[" * (MAX_DEPTH + 1), "nested more than"),
        (b"[" + b"{}," * (MAX_CONTAINERS - 1), None),
        (b"[" + b"{}," * MAX_CONTAINERS, "objects and arrays"),
        (b"{" + b'"a": 1,' * MAX_FIELDS, None),
        (b"{" + b'"a": 1,' * (MAX_FIELDS + 1), "fields of objects"),
        (b"[" + b"1," * (MAX_VALUES - 1), None),
        (b"[" + b"1," * MAX_VALUES, "values"),
        (b'["' + b"[{," * MAX_VALUES + b'"]', None),
    ],
)
def test_a_body_over_a_limit_is_reported(content: bytes, said: str | None) -> None:
    excess = fed(content, 65536).excess
    assert excess is None if said is None else said in (excess or "")
