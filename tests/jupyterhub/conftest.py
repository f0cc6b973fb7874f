"""One JupyterHub for all tests of this folder. It needs a proxy, which npm installs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import FLAGS, PROGRAMS, SCREENS
from tests.browser.conftest import REQUIRED as BROWSER_REQUIRED
from tests.jupyterhub.running_hub import RunningHub

FOLDER = Path(__file__).parent
REQUIRED = "MLX_NOTEBOOK_REQUIRE_NODE"
PROXY = Path("node_modules", ".bin", "configurable-http-proxy")


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program of the proxy, or install it where it must run."""
    if (FOLDER / PROXY).exists():
        return FOLDER / PROXY
    if not os.environ.get(REQUIRED):
        pytest.skip(f"no proxy: run `npm ci` in tests/jupyterhub, or set {REQUIRED}=1")
    assert shutil.which("npm"), "no npm is installed, and these tests must run"
    folder = tmp_path_factory.mktemp("proxy")
    for name in ("package.json", "package-lock.json"):
        shutil.copy2(FOLDER / name, folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=240)
    return folder / PROXY


@pytest.fixture(scope="session")
def class_hub(proxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    hub = RunningHub(tmp_path_factory.mktemp("hub"), proxy)
    yield hub
    hub.stop()


# For one test only: as long as Playwright runs, it holds the event loop that kernels' clients need.
@pytest.fixture
def chromium() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        if os.environ.get(BROWSER_REQUIRED):
            pytest.fail("no Chromium is installed, and these tests must run")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    SCREENS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
