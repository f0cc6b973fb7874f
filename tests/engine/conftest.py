"""One engine process and one random model for the tests that need nothing of their own."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from tests.engine.process import EngineProcess, running
from tests.tiny_models.models import qwen3


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineProcess]:
    with running(max_resident=3) as process:
        yield process


@pytest.fixture(scope="module")
def without_compiling() -> Iterator[None]:
    """Compute as a job's process does on a CPU: compiling takes longer than short jobs."""
    mx.disable_compile()
    yield
    mx.enable_compile()
