"""The head of a request: what of it may be logged, and the length that it declares."""

from types import SimpleNamespace
from typing import Any

import pytest

from mlx_notebook.server.api.http.request_head import declared_length, without_secrets


@pytest.mark.parametrize(
    ("uri", "logged"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models?limit=2", "/v1/models?limit=2"),
        ("/v1/models?token=abc&limit=2", "/v1/models?token=[secret]&limit=2"),
        ("/v1/models?API_KEY=abc", "/v1/models?API_KEY=[secret]"),
        ("/v1/models?%74oken=abc", "/v1/models?%74oken=[secret]"),
        ("/v1/models?token", "/v1/models?token"),
    ],
)
def test_secrets_of_an_address_are_not_logged(uri: str, logged: str) -> None:
    request: Any = SimpleNamespace(uri=uri)
    assert without_secrets(request) == logged


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("0", 0),
        ("12", 12),
        ("12, 12", 12),
        ("12, 13", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("", None),
        ("9" * 19, None),
    ],
)
def test_a_length_is_one_whole_number(header: str, length: int | None) -> None:
    assert declared_length(header) == length
