"""A server elsewhere, in a real browser: the hidden question for its token, and the panels."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import panel, run_cell
from tests.notebook.weather import Weather

NAME = "elsewhere.ipynb"


@pytest.fixture
def far(lab):
    with Weather(lab.url, delay=0.05) as weather:
        yield weather


def test_a_token_is_typed_unseen_and_the_panels_tell_how_far_the_server_is(browser, lab, far):
    lab.notebook(
        NAME,
        "%load_ext mlx_notebook\nimport mlx_notebook",
        f"%mlx connect {far.url} --name studio",
        "%%chat -m tiny-chat --max-tokens 5\nHello!",
        "mlx_notebook.dashboard()",
    )
    page = browser.open(NAME)
    run_cell(page, 0)
    run_cell(page, 1, wait=False)
    typed = page.locator(".jp-Stdin-input")
    expect(typed).to_have_attribute("type", "password")
    browser.screenshot(page, "connect-question")
    typed.fill(lab.token)
    typed.press("Enter")
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
    expect(cell).to_contain_text("(studio); model")
    expect(cell).to_contain_text("`%mlx connect studio` is enough")
    run_cell(page, 2)
    expect(page.locator(".jp-Notebook .jp-CodeCell").nth(2)).to_contain_text(" s network, ")
    run_cell(page, 3)
    dashboard = panel(page, "mlx-notebook")
    expect(dashboard).to_contain_text(re.compile(r"studio|127\.0\.0\.1.* away\)"))
    dashboard.get_by_role("tab", name="Activity").click()
    expect(dashboard).to_contain_text("Network round trip")
    dashboard.scroll_into_view_if_needed()
    browser.screenshot(page, "connect-activity")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    assert "is enough" in (lab.home / NAME).read_text()
    assert lab.token not in (lab.home / NAME).read_text()
