"""Mark the slow tests, so that `pytest -m "not slow"` takes under two minutes.

A test is slow if it starts a process: a server, an engine, a kernel or a browser. Tests that use a
fixture or a name that starts one are marked here; others have `@pytest.mark.slow`.
"""

import inspect
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# All tests of these folders are slow, and so are some of their imports.
SLOW_FOLDERS = {TESTS / name for name in ("browser", "conformance", "docs", "jupyterhub")}
SLOW_FIXTURES = {
    *("server", "engine", "kernel", "start_kernel", "lab", "chromium", "downloader"),
    *("seeing", "impatient", "hub", "built", "biome", "class_hub", "service", "notebook"),
}
STARTERS = {"EngineProcess", "JupyterServer", "LabServer", "running", "kernel_alone", "start"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the slow folders if slow tests are excluded."""
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
