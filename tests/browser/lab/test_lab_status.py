"""JupyterLab's status bar, and the dashboard as a tab without a cell."""

import re
import threading

import pytest
from playwright.sync_api import expect

from tests.browser.pages import axe, execute, panel, press, run_cell, set_theme

OTHER = "random/a-model-with-a-rather-long-name-4bit"


def status_of(page):
    return page.get_by_role("button", name=re.compile("^mlx-notebook: "))


def test_the_status_bar_shows_the_state_and_its_menu_loads_and_unloads(browser, lab):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    elsewhere = (
        "from mlx_notebook.notebook.connection import connection\n"
        "from mlx_notebook.notebook.server.server import Server\n"
        "connection._current = Server('http://gpu.example:1234/', 'x', 'given')"
    )
    lab.notebook("status.ipynb", elsewhere)
    page = browser.open("status.ipynb")
    status = status_of(page)
    expect(status).to_have_text(re.compile(r"tiny-chat.*: ready · [\d.]+ MB"))
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": "tiny-chat"}
    body |= {"max_tokens": 3000, "ignore_eos": True}
    asked = threading.Thread(target=lambda: lab.answers_or_not("v1/chat/completions", body))
    asked.start()
    expect(status).to_have_text(re.compile(r"tiny-chat.*: \d+ tokens/s · [\d.]+ MB"))
    browser.screenshot(page, "lab-status-busy")
    # By keyboard alone.
    status.focus()
    page.keyboard.press("Enter")
    menu = page.get_by_role("menu").last
    expect(menu.get_by_text(re.compile("in memory on .*running"))).to_be_visible()
    browser.screenshot(page, "lab-status-menu")
    page.keyboard.press("Escape")
    expect(status).to_be_focused()
    wide = page.viewport_size
    page.set_viewport_size({"width": 400, "height": 800})
    expect(status).to_be_in_viewport()
    page.set_viewport_size(wide)
    asked.join()
    # What the page shows is not what this notebook uses.
    run_cell(page)
    expect(status).to_have_text(re.compile("other server$"))
    status.press("Enter")
    said = "The kernel of this notebook uses another server, http://gpu.example:1234/."
    expect(page.get_by_role("menu").last.get_by_text(said)).to_be_visible()


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_the_dashboard_opens_without_a_cell(browser, lab, front):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    if OTHER in [model["id"] for model in lab.status()["models"]]:
        lab.request("mlx/models/unload", {"model": OTHER})
    lab.notebook(f"dashboard-{front}.ipynb", "1")
    page = browser.open(f"dashboard-{front}.ipynb", front=front)
    execute(page, "mlx-notebook:open-dashboard")
    shown = panel(page, "mlx-notebook")
    models = panel(shown, "Models")
    expect(models.get_by_role("button", name="Unload tiny-chat", exact=True)).to_be_visible()
    press(models, f"Load {OTHER}")
    expect(models.get_by_text(f"{OTHER} is loaded.")).to_be_visible()
    press(models, f"Unload {OTHER}")
    expect(models.get_by_role("button", name=f"Load {OTHER}", exact=True)).to_be_visible()
    browser.screenshot(page, f"lab-dashboard-{front}")
    shown.get_by_role("tab", name="Activity").click()
    expect(panel(shown, "Activity").get_by_text("No request is running.")).to_be_visible()
    expect(panel(shown, "Activity").get_by_text(re.compile("Engine process: "))).to_be_visible()
    assert axe(page) == []
    asked = f"A question in {front}"
    body = {"messages": [{"role": "user", "content": asked}], "max_tokens": 3}
    answer = lab.request("v1/chat/completions", {**body, "model": "tiny-chat"})
    shown.get_by_role("tab", name="Inspector").click()
    inspector = panel(shown, "Inspector")
    inspector.get_by_role("button", name=asked).click()
    expect(inspector.get_by_text(answer["id"])).to_be_visible()
    press(inspector, "Copy as curl")
    expect(
        inspector.get_by_text(re.compile("Copied .* Your token is not included"))
    ).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl '{lab.url}v1/chat/completions'")
    assert axe(page) == []
    browser.screenshot(page, f"lab-dashboard-inspector-{front}")
    if front == "lab":
        set_theme(page, "dark")
        expect(page.locator(".jp-Spinner, #jupyterlab-splash")).to_have_count(0)
        page.set_viewport_size({"width": 400, "height": 800})
        execute(page, "application:toggle-left-area")
        expect(page.locator("#jp-left-stack")).to_be_hidden()
        browser.screenshot(page, "lab-dashboard-dark-narrow")


def test_a_server_without_the_extension_is_said_in_the_status_bar(browser, lab):
    lab.notebook("without.ipynb", "1")
    browser.context.route(
        re.compile("/(mlx|v1)/"),
        lambda route: route.fulfill(status=404, content_type="text/html", body="<p>Not found"),
    )
    page = browser.open("without.ipynb")
    status = status_of(page)
    expect(status).to_have_text("mlx-notebook: not available")
    status.press("Enter")
    menu = page.get_by_role("menu").last
    expect(menu.get_by_text("jupyter server extension enable mlx_notebook")).to_be_visible()
    browser.screenshot(page, "lab-status-off")
    assert axe(page, "#jp-bottom-panel") == []
