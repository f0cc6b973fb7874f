"""The engine's tree of errors."""

from typing import get_args

from mlx_notebook.engine.errors import EngineError, reason
from mlx_notebook.protocol import ErrorCode, Failed


def kinds(base: type[EngineError]) -> list[type[EngineError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


def test_each_code_of_the_protocol_is_that_of_an_error() -> None:
    assert {kind.code for kind in kinds(EngineError)} == set(get_args(ErrorCode))


def test_an_error_becomes_an_event_with_its_parameter() -> None:
    assert EngineError("No.", "model").event("7") == Failed("7", "engine_error", "No.", "model")


def test_a_librarys_error_is_told_in_one_line() -> None:
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(ValueError()) == "ValueError"
