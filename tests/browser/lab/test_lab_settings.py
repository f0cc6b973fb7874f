"""The server's own settings in JupyterLab's settings editor."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import axe, execute, set_theme
from tests.notebook.jupyter import wait_for


@pytest.fixture(autouse=True)
def _as_before(lab):
    yield
    lab.request("mlx/settings", {"idle_unload_minutes": None, "default_model": None}, "PATCH")


def value_of(lab, wanted):
    settings = lab.request("mlx/settings")["settings"]
    return next(setting["value"] for setting in settings if setting["name"] == wanted)


def test_settings_of_the_server_are_changed_where_the_user_may_change_them(browser, lab):
    lab.notebook("settings.ipynb", "1")
    page = browser.open("settings.ipynb")
    execute(page, "mlx-notebook:open-settings")
    form = page.get_by_role("region", name="Settings of the server")
    said = form.get_by_role("status")
    idle = form.get_by_role("spinbutton", name="Idle time in minutes")
    expect(idle).to_have_value("15")
    browser.screenshot(page, "lab-settings")
    # By keyboard alone.
    idle.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("7.5")
    page.keyboard.press("Tab")
    expect(said).to_have_text("Idle time in minutes: saved.")
    assert value_of(lab, "idle_unload_minutes") == 7.5
    browser.expected.append("status of 400")
    idle.fill("-1")
    idle.press("Tab")
    expect(said).to_have_text(re.compile("Idle time in minutes: .*0"))
    expect(idle).to_have_attribute("aria-invalid", "true")
    idle.fill("")
    idle.press("Tab")
    expect(idle).to_have_value("15")
    model = form.get_by_role("combobox", name="Default model")
    model.select_option("tiny-chat")
    wait_for(lambda: value_of(lab, "default_model") == "tiny-chat")
    # The configuration of this server sets them.
    folders = form.get_by_role("textbox", name="Folders of models")
    expect(folders).to_be_disabled()
    expect(form.get_by_text("MlxNotebookApp.models_dirs")).to_be_visible()
    assert axe(page, ".mlx-lab-settings") == []
    set_theme(page, "dark")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    assert axe(page, ".mlx-lab-settings") == []
    page.set_viewport_size({"width": 400, "height": 800})
    execute(page, "application:toggle-left-area")
    form.scroll_into_view_if_needed()
    browser.screenshot(page, "lab-settings-dark-narrow")
