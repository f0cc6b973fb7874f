"""Help with errors and cells in JupyterLab: nothing is written without a click."""

import json
import re

from playwright.sync_api import expect

from tests.browser.pages import axe, execute, press, run_cell, set_theme
from tests.notebook.jupyter import wait_for

OTHER = "random/a-model-with-a-rather-long-name-4bit"
ACTIVE = "(window.jupyterapp ?? window.jupyterlab).shell.currentWidget.content"


def source(page, at=0):
    return page.evaluate(f"at => {ACTIVE}.widgets[at].model.sharedModel.getSource()", at)


def test_an_error_is_explained_and_fixed_in_a_diff_that_only_a_click_writes(browser, lab):
    lab.settings(model="tiny-chat", maxTokens=60)
    code = "values = [1, 2]\nprint(sum(values) / 0)"
    lab.notebook("error.ipynb", code, "1")
    page = browser.open("error.ipynb")
    run_cell(page)
    bar = page.get_by_role("group", name="Help with the error ZeroDivisionError")
    press(bar, "Explain")
    answer = page.get_by_role("region", name="Explain the Error")
    expect(answer.get_by_role("button", name="Close")).to_be_visible()
    expect(answer.locator(".mlx-lab-markdown")).to_have_text(re.compile(r"\w"))
    browser.screenshot(page, "lab-error-explained")
    assert axe(page, ".mlx-lab-card") == []
    answer.get_by_role("button", name="Close").press("Escape")
    expect(answer).to_have_count(0)
    press(bar, "Fix")
    card = page.get_by_role("region", name="Fix the Error")
    expect(card.get_by_role("button", name="Keep")).to_be_focused()
    proposed = card.locator(".cm-mergeViewEditor").nth(1).locator(".cm-content")
    expect(card.get_by_text(re.compile("Nothing is written yet"))).to_be_visible()
    browser.screenshot(page, "lab-error-fix")
    assert axe(page, ".mlx-lab-card") == []
    set_theme(page, "dark")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    browser.screenshot(page, "lab-error-fix-dark")
    new = proposed.evaluate("node => node.cmTile.view.state.doc.toString()")
    assert source(page) == code != new
    page.keyboard.press("Enter")
    expect(card).to_have_count(0)
    assert source(page) == new
    # It is an edit like any other.
    execute(page, "notebook:enter-edit-mode")
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+z")
    page.wait_for_function(
        f"code => {ACTIVE}.widgets[0].model.sharedModel.getSource() === code", arg=code
    )


def answer_with(page, text):
    """Have the page get this answer, whatever a model would write."""
    chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    page.route(
        re.compile("/v1/chat/completions"),
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )


def test_selected_lines_are_changed_within_their_indentation_and_run(browser, lab):
    code = "def f(a, b):\n    return a\nprint(f(2, 3))"
    lab.notebook("selection.ipynb", code)
    page = browser.open("selection.ipynb")
    answer_with(page, "Here it is:\n\n```python\nreturn a * b\n```\nDone.")
    cell = page.locator(".jp-CodeCell").first
    cell.locator(".cm-line").nth(1).click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    cell.locator(".cm-line").nth(1).click(button="right")
    page.get_by_text("Ask the Model", exact=True).click()
    browser.screenshot(page, "lab-context-menu")
    page.get_by_text("Improve", exact=True).click()
    card = page.get_by_role("region", name="Improve")
    expect(card.get_by_text("1 change. Nothing is written yet.")).to_be_visible()
    assert source(page) == code
    press(card, "Run")
    expect(cell.locator(".jp-OutputArea-output")).to_have_text("6")
    assert source(page) == code.replace("return a\n", "return a * b\n")


def is_writing(lab):
    return any(request["phase"] == "decode" for request in lab.status()["requests"])


def answer_to_the_limit(route):
    """Send the request on, with an answer that the model does not end."""
    body = {**route.request.post_data_json, "ignore_eos": True}
    route.continue_(post_data=json.dumps(body))


def test_keys_ask_about_a_cell_and_stop_ends_the_answer_in_the_engine(browser, lab):
    lab.request("mlx/models/load", {"model": OTHER})
    lab.settings(model=OTHER, maxTokens=3000)
    lab.notebook("keys.ipynb", "def add(a, b):\n    return a + b")
    page = browser.open("keys.ipynb")
    page.route(re.compile("/v1/chat/completions"), answer_to_the_limit)
    page.locator(".jp-CodeCell .cm-content").first.click()
    before = lab.status()["totals"]["cancelled"]
    page.keyboard.press("Control+Alt+f")
    expect(page.get_by_text("This cell shows no error.").first).to_be_visible()
    for asked, key in enumerate("xvdti", 1):
        page.keyboard.press(f"Control+Alt+{key}")
        if key == "i":
            page.get_by_role("dialog").get_by_role("textbox").fill("Multiply")
            page.keyboard.press("Enter")
        stop = page.locator(".mlx-lab-card").get_by_role("button", name="Stop")
        expect(stop).to_be_focused()
        wait_for(lambda: is_writing(lab), what="the answer")
        page.keyboard.press("Enter")
        card = page.locator(".mlx-lab-card").first
        expect(card.get_by_role("status")).to_have_text("Stopped.")
        cancelled = before + asked
        wait_for(
            lambda wanted=cancelled: lab.status()["totals"]["cancelled"] == wanted,
            what="its end in the engine",
        )
        page.keyboard.press("Escape")
        expect(page.locator(".mlx-lab-card")).to_have_count(0)
    assert source(page) == "def add(a, b):\n    return a + b"
