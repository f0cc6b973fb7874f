"""The steps that all loads share."""

import logging
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from mlx_notebook.engine.backends import model_loader
from mlx_notebook.engine.backends.model_loader import loading, read_parts, require_tokenizer
from mlx_notebook.engine.errors import InsufficientMemory, LoadFailed


def test_weights_are_read_in_slices_and_parts_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_loader, "_SLICE_BYTES", 8)
    weights = {name: mx.zeros((4,), mx.float32) for name in "abc"}
    model = SimpleNamespace(parameters=lambda: weights)
    pending: Future[Any] = Future()
    slices = read_parts(model, pending)
    steps = [next(slices) for _ in range(6)]
    assert steps == [0, 16, 32, 48, 48, 48]  # from the fourth on it waits
    pending.set_result("a tokenizer")
    with pytest.raises(StopIteration) as end:
        next(slices)
    assert end.value.value == (48, ["a tokenizer"])


@pytest.mark.parametrize(
    ("error", "shown", "traced"),
    [
        (ValueError("its file is cut off"), "m cannot be loaded: its file is cut off", False),
        (FileNotFoundError("no config"), "m cannot be loaded: no config", False),
        (AttributeError("x"), "m cannot be loaded: x", True),
    ],
)
def test_a_librarys_error_becomes_one_sentence_and_a_fault_of_code_is_logged(
    error: Exception, shown: str, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LoadFailed, match=f"^{shown}$") as failed, loading("m"):
        raise error
    assert failed.value.param == "model"
    assert any(record.exc_info for record in caplog.records) == traced


@pytest.mark.parametrize("error", [MemoryError(), InsufficientMemory("too large", "model")])
def test_the_engines_own_errors_and_missing_memory_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as failed, loading("m"):
        raise error
    assert failed.value is error


def test_the_duration_of_a_load_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), loading("m"):
        pass
    assert [record.message[:11] for record in caplog.records] == ["loaded m in"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no tokenizer in its folder"):
        require_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    require_tokenizer(tmp_path)
