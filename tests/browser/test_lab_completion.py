"""Grey text behind the cursor, from a real model."""

from playwright.sync_api import expect

from tests.browser.pages import run_cell
from tests.notebook.jupyter import wait_for

OTHER = "random/a-model-with-a-rather-long-name-4bit"
GREY = ".jp-GhostText"


def completions(lab):
    """The requests for completions, newest first."""
    traces = lab.request("mlx/traces")["data"]
    return [trace for trace in traces if trace["endpoint"] == "mlx/completions/inline"]


def test_grey_text_comes_while_typing_and_tab_takes_it(browser, lab):
    lab.settings(completionModel="tiny-chat", variables="values")
    lab.notebook("complete.ipynb", "numbers = [1, 2, 3]\nlimit = 41", "")
    page = browser.open("complete.ipynb")
    run_cell(page)
    editor = page.locator(".jp-CodeCell .cm-content").nth(1)
    editor.click()
    page.keyboard.type("def mean(values):\nreturn ")
    grey = page.locator(GREY)
    expect(grey).to_contain_text("sum(numbers) / len(numbers)")
    browser.screenshot(page, "lab-completion")
    # The model has seen the cell before, and the kernel's variables.
    prompt = lab.request(f"mlx/traces/{completions(lab)[0]['id']}")["prompt"]
    assert "limit = 41\n" in prompt
    assert "# limit: int 41\n# numbers: list 3 items\n" in prompt
    page.keyboard.press("Tab")
    expect(grey).to_have_count(0)
    expect(editor).to_contain_text("return sum(numbers) / len(numbers)")


def test_the_next_key_ends_a_completion(browser, lab):
    lab.settings(completionModel=OTHER)
    lab.notebook("cancelled.ipynb", "")
    page = browser.open("cancelled.ipynb")
    page.locator(".jp-CodeCell .cm-content").click()

    def is_running():
        return any(request["id"].startswith("inline-") for request in lab.status()["requests"])

    # One that has ended before the key was pressed proves nothing.
    for _ in range(30):
        begun = len(completions(lab)) + 1
        page.keyboard.type("x")
        wait_for(lambda least=begun: len(completions(lab)) >= least, what="a completion")
        page.keyboard.type("y")
        wait_for(lambda: not is_running(), what="its end")
        if any(trace["status"] == "cancelled" for trace in completions(lab)):
            break
    else:
        raise AssertionError([trace["status"] for trace in completions(lab)])


def test_completions_are_off_with_a_model_that_is_too_small_and_say_so_when_asked(browser, lab):
    lab.notebook("off.ipynb", "print")
    page = browser.open("off.ipynb")
    before = len(completions(lab))
    page.locator(".jp-CodeCell .cm-content").click()
    page.keyboard.press("End")
    page.keyboard.press("Alt+\\")
    expect(page.get_by_text("is too small for code").first).to_be_visible()
    browser.screenshot(page, "lab-completion-off")
    assert len(completions(lab)) == before
