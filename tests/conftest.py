"""Mark the slow tests, so that `pytest -m "not slow"` takes under two minutes, and run them first.

A test is slow if it starts a process: a server, an engine, a kernel or a browser. Tests that use a
fixture or a name that starts one are marked here; others have `@pytest.mark.slow`.

Each process takes the next file when it is done with one. Those with many slow tests come first and
those without any last, so that no process runs a long file alone at the end. Two folders run in one
process each: to start their JupyterLab and JupyterHub takes long.
"""

import gc
import inspect
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Of the processes that tests start: they share few cores, and OpenBLAS's threads wait in a loop,
# which takes up to a third of an engine's processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

TESTS = Path(__file__).parent
# All tests of these folders are slow, and so are some of their imports.
SLOW_FOLDERS = {TESTS / name for name in ("browser", "conformance", "docs", "jupyterhub")}
SLOW_FIXTURES = {
    *("server", "engine", "kernel", "start_kernel", "lab", "chromium", "downloader"),
    *("seeing", "impatient", "hub", "built", "biome", "class_hub", "service", "notebook"),
}
WHOLE_FOLDERS = ("tests/browser", "tests/jupyterhub")
STARTERS = {"EngineProcess", "JupyterServer", "LabServer", "running", "kernel_alone", "start"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Look for no garbage among what is imported and collected: millions of objects that stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the slow folders if slow tests are excluded."""
    is_unwanted = config.option.markexpr == "not slow" and collection_path in SLOW_FOLDERS
    return True if is_unwanted else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow: Counter[str] = Counter()
    for item in items:
        _name_apart(item)
        if _is_slow(item):
            item.add_marker(pytest.mark.slow)
        slow[unit(item.nodeid)] += item.get_closest_marker("slow") is not None

    def place(item: pytest.Item) -> tuple[bool, int, Path]:
        name = unit(item.nodeid)
        return name not in WHOLE_FOLDERS, -slow[name], item.path

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    """Collect what the tests of a file have left open, in no other test.

    OpenAI's and Anthropic's asynchronous clients close themselves when they are collected, in
    whichever event loop runs then, and fail its test if their own loop has ended.
    """
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            gc.collect()


def _name_apart(item: pytest.Item) -> None:
    """Give a test of Schemathesis an id of its own.

    From pytest 9.2 on, the tests that it makes of one function have the same id, and of tests with
    the same id xdist runs one.
    """
    if hasattr(item, "operation_label") and not item.nodeid.endswith(f"::{item.name}"):
        item._id = type(item._id).parse(f"{item.nodeid.split('::')[0]}::{item.name}")


class FilesAndFolders(LoadFileScheduling):
    """Give a process one file at a time, or one of the whole folders."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def unit(nodeid: str) -> str:
    """Return the file or the folder whose tests run in one process."""
    file = nodeid.split("::", 1)[0]
    return next((name for name in WHOLE_FOLDERS if file.startswith(f"{name}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders | None:
    return FilesAndFolders(config, log) if config.getoption("dist") == "loadfile" else None


def _is_slow(item: pytest.Item) -> bool:
    if SLOW_FOLDERS & set(item.path.parents):
        return True
    if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
        return True
    function = inspect.unwrap(getattr(item, "function", None) or _is_slow)
    return bool(STARTERS & set(function.__code__.co_names))
