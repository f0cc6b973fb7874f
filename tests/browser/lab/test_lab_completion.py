"""Grey text behind the cursor, from a real model."""

import re

from playwright.sync_api import expect

from tests.browser.pages import run_cell
from tests.notebook.jupyter import wait_for

OTHER = "random/a-model-with-a-rather-long-name-4bit"
GREY = ".jp-GhostText"


def asked_of(page):
    """The bodies of the page's requests for completions, as they are sent."""
    bodies = []
    page.on(
        "request",
        lambda request: (
            bodies.append(request.post_data_json)
            if request.method == "POST" and "/mlx/completions/inline" in request.url
            else None
        ),
    )
    return bodies


def test_grey_text_comes_while_typing_and_tab_takes_it(browser, lab):
    lab.settings(completionModel="tiny-chat", variables="values")
    lab.notebook("complete.ipynb", "numbers = [1, 2, 3]\nlimit = 41", "")
    page = browser.open("complete.ipynb")
    asked = asked_of(page)
    run_cell(page)
    editor = page.locator(".jp-CodeCell .cm-content").nth(1)
    editor.click()
    page.keyboard.type("def largest(values):\nreturn ")
    grey = page.locator(GREY)
    expect(grey).to_contain_text("max(numbers)")
    browser.screenshot(page, "lab-completion")
    assert asked[-1]["context"] == [
        {"kind": "cell", "text": "numbers = [1, 2, 3]\nlimit = 41", "cell_type": "code"},
        {"kind": "variable", "name": "limit", "type": "int", "note": "41"},
        {"kind": "variable", "name": "numbers", "type": "list", "note": "3 items"},
    ]
    page.keyboard.press("Tab")
    expect(grey).to_have_count(0)
    expect(editor).to_contain_text("return max(numbers)")


def test_asked_for_there_are_other_proposals_and_alt_bracket_shows_them(browser, lab):
    lab.settings(completionModel=OTHER)
    lab.notebook("others.ipynb", "values = ")
    page = browser.open("others.ipynb")
    asked = asked_of(page)
    page.locator(".jp-CodeCell .cm-content").click()
    page.keyboard.press("End")
    page.keyboard.press("Alt+\\")
    grey = page.locator(GREY)
    counter = page.locator(".jp-InlineCompleter-progressBar, .jp-InlineCompleter").get_by_text(
        "1/3"
    )
    expect(counter).to_be_attached()
    assert sorted(body.get("temperature", 0) for body in asked) == [0, 0.8, 0.8]
    first = grey.inner_text()
    page.keyboard.press("Alt+]")
    expect(grey).not_to_have_text(first)
    browser.screenshot(page, "lab-completion-second")
    page.keyboard.press("Alt+[")
    expect(grey).to_have_text(first)
    page.keyboard.press("Tab")
    expect(grey).to_have_count(0)
    expect(page.locator(".jp-CodeCell .cm-content")).not_to_have_text(re.compile("^values = $"))


def test_the_next_key_ends_a_completion(browser, lab):
    lab.settings(completionModel=OTHER)
    lab.notebook("cancelled.ipynb", "")
    page = browser.open("cancelled.ipynb")
    page.locator(".jp-CodeCell .cm-content").click()

    def totals():
        return lab.status()["totals"]

    def is_running():
        return any(request["id"].startswith("inline-") for request in lab.status()["requests"])

    # One that has ended before the key was pressed proves nothing.
    before = totals()["cancelled"]
    for _ in range(30):
        begun = totals()["requests"] + 1
        page.keyboard.type("x")
        wait_for(lambda least=begun: is_running() or totals()["requests"] >= least)
        page.keyboard.type("y")
        wait_for(lambda: not is_running(), what="its end")
        if totals()["cancelled"] > before:
            break
    else:
        raise AssertionError(totals())


def test_completions_are_off_with_a_model_that_is_too_small_and_say_so_when_asked(browser, lab):
    lab.notebook("off.ipynb", "print")
    page = browser.open("off.ipynb")
    asked = asked_of(page)
    page.locator(".jp-CodeCell .cm-content").click()
    page.keyboard.press("End")
    page.keyboard.press("Alt+\\")
    expect(page.get_by_text("is too small for code").first).to_be_visible()
    browser.screenshot(page, "lab-completion-off")
    assert asked == []
