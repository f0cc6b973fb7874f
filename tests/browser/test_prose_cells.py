"""`%%chat` cells in JupyterLab and Notebook 7: prose, with long lines wrapped."""

import pytest
from playwright.sync_api import expect

LONG = (
    "Please explain for me, if not None, in words that a class of ten understands: " + "why " * 60
)
PROSE = f"%%chat --max-tokens 1\n{LONG}"
PYTHON = "if x is not None: print('for')  # " + "long " * 60


def look(editor):
    """How a cell's editor shows its text: the language's marks, and whether lines wrap."""
    return editor.evaluate(
        """node => {
            const content = node.querySelector(".cm-content");
            return {
                language: content.dataset.language,
                wraps: getComputedStyle(content).whiteSpaceCollapse === "break-spaces"
                    || content.classList.contains("cm-lineWrapping"),
                scrolls: node.querySelector(".cm-scroller").scrollWidth
                    > node.querySelector(".cm-scroller").clientWidth,
            };
        }"""
    )


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_a_chat_cell_is_prose_and_a_code_cell_is_code(browser, lab, front):
    lab.notebook(f"prose-{front}.ipynb", PROSE, PYTHON)
    page = browser.open(f"prose-{front}.ipynb", front=front)
    editors = page.locator(".jp-CodeCell .cm-editor")
    expect(editors).to_have_count(2)
    page.wait_for_function(
        """() => document.querySelector(".jp-CodeCell .cm-content").dataset.language === "chat" """
    )
    prose, code = look(editors.nth(0)), look(editors.nth(1))
    assert prose["wraps"]
    assert not prose["scrolls"]
    assert prose["language"] == "chat"
    assert code["language"] == "python"
    assert not code["wraps"]
    browser.screenshot(page, f"prose-{front}")


def test_a_cell_becomes_prose_when_the_magic_is_typed_and_code_when_it_is_deleted(browser, lab):
    lab.notebook("becoming.ipynb", "for x in y: pass")
    page = browser.open("becoming.ipynb")
    editor = page.locator(".jp-CodeCell .cm-editor").first
    expect(editor.locator(".cm-content[data-language=python]")).to_be_visible()
    editor.locator(".cm-content").click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("%%chat\n")
    expect(editor.locator(".cm-content.cm-lineWrapping")).to_be_visible()
    expect(editor.locator(".cm-content[data-language=python]")).to_have_count(0)
    page.keyboard.press("Control+Home")
    page.keyboard.press("Shift+End")
    page.keyboard.press("Delete")
    expect(editor.locator(".cm-content[data-language=python]")).to_be_visible()
    expect(editor.locator(".cm-content.cm-lineWrapping")).to_have_count(0)
