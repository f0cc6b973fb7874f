"""Marks the slow tests, so that `pytest -m "not slow"` takes under two minutes.

Slow is what starts a process: a server, an engine, a kernel, a browser. A test that asks for one by
a fixture, or names what starts one, is marked here; others say `@pytest.mark.slow`.
"""

import inspect
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Each of their tests is slow, and so are some of their imports.
SLOW_FOLDERS = {TESTS / name for name in ("browser", "conformance", "docs")}
SLOW_FIXTURES = {
    *("server", "engine", "kernel", "start_kernel", "lab", "chromium", "downloader"),
    *("seeing", "impatient", "hub", "built", "biome"),
}
STARTERS = {"EngineProcess", "JupyterServer", "LabServer", "running", "kernel_alone", "start"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the slow folders where no slow test is wanted."""
    is_unwanted = config.option.markexpr == "not slow" and collection_path in SLOW_FOLDERS
    return True if is_unwanted else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_slow(item):
            item.add_marker(pytest.mark.slow)


def _is_slow(item: pytest.Item) -> bool:
    if SLOW_FOLDERS & set(item.path.parents):
        return True
    if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
        return True
    function = inspect.unwrap(getattr(item, "function", None) or _is_slow)
    return bool(STARTERS & set(function.__code__.co_names))
