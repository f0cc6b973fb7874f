"""Cells in a real browser: the quickstart, text that streams, a tool that asks in the cell."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mlx_notebook.notebook.tools.approval import MIN_ANSWER_SECONDS
from tests.browser.pages import run_cell

SOONEST = 4
QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_the_quickstart_runs(browser, lab, front):
    name = f"quickstart-{front}.ipynb"
    fresh = json.loads(QUICKSTART.read_text())
    code = [cell for cell in fresh["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        cell.update(outputs=[], execution_count=None)
    (lab.home / name).write_text(json.dumps(fresh))
    count = len(code)
    page = browser.open(name, front=front)
    run_cell(page)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        """count => {
            const told = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
            return told.some((node) => Number(node.textContent.match(/\\d+/)?.[0]) > count);
        }""",
        arg=count,
        timeout=90_000,
    )
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    saved = json.loads((lab.home / name).read_text())
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", [])]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    browser.screenshot(page, f"quickstart-{front}")


def test_text_streams_into_the_cell(browser, lab):
    cell = "%%chat -m tiny-chat --max-tokens 400 --raw\nTell me a long story."
    lab.notebook("stream.ipynb", "%load_ext mlx_notebook", cell.replace(" --raw", ""))
    page = browser.open("stream.ipynb")
    run_cell(page, 0)
    page.evaluate(
        """() => {
            window.seen = new Set();
            const place = document.querySelector(".jp-Notebook");
            new MutationObserver(() => window.seen.add(
                [...place.querySelectorAll(".jp-OutputArea-output")].map(n => n.innerText).join()
            )).observe(place, {subtree: true, childList: true, characterData: true});
        }"""
    )
    run_cell(page, 1)
    assert page.evaluate("window.seen.size") >= 3
    browser.screenshot(page, "stream")


def test_a_tool_is_allowed_and_refused_in_the_cell(browser, lab):
    setup = (
        "import mlx_notebook.notebook.tools.approval\n"
        # Longer than usual: on a busy machine a second may pass before the first key arrives.
        f"mlx_notebook.notebook.tools.approval.MIN_ANSWER_SECONDS = {SOONEST}\n"
        "def add(a: int, b: int) -> int:\n    'Add two numbers.'\n    return a + b\n"
        "def ask():\n"
        "    chat = mlx_notebook.Chat('tiny-chat', tools=[add], approve=True, temperature=0)\n"
        "    chat.ask('What is 17 plus 25?')\n"
        "    return [m['content'] for m in chat.messages if m['role'] == 'tool']"
    )
    lab.notebook("approve.ipynb", setup, "print(ask(), 1)", "print(ask(), 2)")
    page = browser.open("approve.ipynb")
    run_cell(page, 0)
    for at, said, told in ((1, "y", "['42'] 1"), (2, "n", "2")):
        run_cell(page, at, wait=False)
        output = page.locator(".jp-CodeCell").nth(at).locator(".jp-OutputArea").first
        box = output.locator(".jp-Stdin-input").last
        # The keys of somebody who was typing when the box took the focus.
        box.press("Enter")
        expect(output).to_contain_text("Please answer again.")
        page.wait_for_timeout(1000 * SOONEST + 100)
        box.fill(said)
        box.press("Enter")
        expect(output).to_contain_text(told)
    expect(output).not_to_contain_text("['42']")
    browser.screenshot(page, "approve")


LONG = """
import mlx_notebook, json
def shell(command: str):
    'Run a command.'
    return "done"
chat = mlx_notebook.Chat("tiny-chat", tools=[shell], approve=True)
arguments = json.dumps({"command": "ls " + "-" * 400 + "; rm -rf ~ \\u202e"})
call = {"id": "1", "type": "function", "function": {"name": "shell", "arguments": arguments}}
chat.messages = [
    {"role": "user", "content": "List the files."},
    {"role": "assistant", "content": "", "tool_calls": [call]},
]
"""


def test_a_long_call_is_seen_whole_above_its_answer_and_its_outcome(browser, lab):
    lab.notebook("long.ipynb", LONG, "_ = chat.resume(show=True, max_tokens=5)")
    page = browser.open("long.ipynb")
    run_cell(page, 0)
    run_cell(page, 1, wait=False)
    box = page.locator(".jp-Stdin-input").last
    expect(box).to_be_in_viewport()
    for text in ("Allow this call?", "; rm -rf ~ \\u202e", "[y]es, [n]o"):
        expect(page.locator(".jp-Stdin-prompt").get_by_text(text)).to_be_in_viewport()
    browser.screenshot(page, "long-question")
    page.wait_for_timeout(1000 * MIN_ANSWER_SECONDS + 100)
    box.fill("n")
    box.press("Enter")
    output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea").first
    expect(output).to_contain_text("refused: The call was refused.")
    shown = output.inner_text()
    assert shown.index("Allow this call?") < shown.index("refused:")
    browser.screenshot(page, "long-answer")
