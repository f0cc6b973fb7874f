"""Models of an upstream in the panels: listed apart, without buttons, and inspected."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import LabServer, axe, panel, press, run_cell
from tests.hub import hub
from tests.server.running import HELLO
from tests.server.upstreams.stand_in import stand_in


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    upstreams = {"models": ["good", "calls"], "extra": ["top_a"]}
    with hub() as the_hub, stand_in() as odd:
        home = tmp_path_factory.mktemp("lab")
        settings = {"upstreams": {"odd": {"url": odd.url, **upstreams}}}
        server = LabServer(home, home / "models", the_hub, **settings)
        yield server
        server.stop()


def test_models_of_an_upstream_have_no_buttons(browser, lab):
    lab.notebook("models.ipynb", "import mlx_notebook\nmlx_notebook.models_panel()")
    page = browser.open("models.ipynb")
    run_cell(page)
    models = panel(page, "Models")
    row = models.locator("[data-model='odd:good']")
    expect(models.get_by_role("heading", name="At upstreams")).to_be_visible()
    expect(row.get_by_text("odd:good")).to_be_visible()
    expect(row.get_by_text("at 127.0.0.1:")).to_be_visible()
    expect(row.get_by_role("button")).to_have_count(0)
    browser.screenshot(page, "upstream-models", of=models)
    assert axe(page) == []


def test_a_request_to_an_upstream_is_inspected_and_sent_again(browser, lab):
    request = {"model": "odd:good", "messages": HELLO, "max_tokens": 9, "top_a": 0.5}
    lab.request("v1/chat/completions", request)
    lab.notebook("inspect.ipynb", "import mlx_notebook\nmlx_notebook.inspector()")
    page = browser.open("inspect.ipynb")
    run_cell(page)
    inspector = panel(page, "Inspector")
    inspector.get_by_role("button", name=re.compile("Hello!")).first.click()
    told = re.compile(
        r"Answered by good of the upstream odd at 127\.0\.0\.1:\d+, which calls this request "
        r"req-at-upstream\."
    )
    expect(inspector.get_by_text(told)).to_be_visible()
    expect(inspector.get_by_text("Only the upstream knows it.")).to_be_visible()
    expect(inspector.get_by_text("Hello there").first).to_be_visible()
    browser.screenshot(page, "upstream-inspector", of=inspector)
    press(inspector, "Replay …")
    press(inspector, "Run")
    expect(inspector.get_by_role("heading", name="Replay on odd:good")).to_be_visible()
    assert axe(page) == []
