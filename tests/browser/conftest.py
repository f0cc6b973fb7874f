"""One Jupyter server with JupyterLab and Notebook 7, one Chromium, for all tests of this folder."""

import os
import shutil
from pathlib import Path

import pytest

from tests.browser.pages import Browser, LabServer
from tests.hub import hub
from tests.tiny_models.models import qwen3

REQUIRED = "MLX_NOTEBOOK_REQUIRE_BROWSER"
SCREENS = Path(__file__).parents[2] / "test-output" / "screens"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    # A microphone that beeps, and leave to use it.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)


# Playwright holds the thread's event loop as long as it runs: no longer than these tests.
@pytest.fixture(scope="package")
def chromium():
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        if os.environ.get(REQUIRED):
            pytest.fail("no Chromium is installed, and these tests must run")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def lab(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    qwen3(models / "random" / "a-model-with-a-rather-long-name-4bit", context=4096)
    with hub() as stand_in:
        server = LabServer(tmp_path_factory.mktemp("lab"), models, stand_in)
        yield server
        server.stop()


@pytest.fixture
def browser(chromium, lab, request):
    """Open notebooks, and find at the end that no page has complained."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    opened = Browser(chromium, lab, SCREENS)
    yield opened
    lab.settings()
    opened.close(request.node.name)
