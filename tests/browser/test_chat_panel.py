"""The chat panel in a real browser: tools that ask, answers that are stopped, images."""

import re

import pytest
from playwright.sync_api import expect

from mlx_notebook.panels.chat.chat_panel import ChatPanel
from tests.browser.pages import axe, panel, press, run_cell, set_theme
from tests.notebook.jupyter import wait_for

ADD = """
import mlx_notebook
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
"""
# Draws a red circle into the clipboard, or into what a drag carries.
GIVE_IMAGE = """async (way) => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 96, height: 96});
    const ink = canvas.getContext("2d");
    ink.fillStyle = "white";
    ink.fillRect(0, 0, 96, 96);
    ink.fillStyle = "red";
    ink.arc(48, 48, 26, 0, 7);
    ink.fill();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    if (way === "pasted") {
        await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
    } else {
        window.dragged = new DataTransfer();
        window.dragged.items.add(new File([blob], "dropped.png", {type: "image/png"}));
    }
}"""


def opened(browser, lab, name, code, **options):
    """Open a notebook whose first cell shows the chat panel."""
    lab.notebook(name, code)
    page = browser.open(name, **options)
    run_cell(page)
    chat = panel(page, "Chat")
    return page, chat, chat.get_by_role("textbox", name="Message")


def test_keys_that_were_pressed_before_a_tool_asks_never_answer_it(browser, lab):
    code = f"{ADD}\nmlx_notebook.chat_panel([add], 'tiny-chat', temperature=0)"
    page, chat, message = opened(browser, lab, "typing.ipynb", code)
    question = chat.get_by_role("group", name="Tool approval")
    message.fill("What is 17 plus 25?")
    message.press("Enter")
    typed = ""
    while not question.is_visible():
        page.keyboard.type("a b ")
        typed += "a b "
    for key in ("c", " ", "Enter", " "):
        page.keyboard.press(key)
    expect(message).to_be_focused()
    expect(message).to_have_value(typed + "c  ")
    expect(chat.get_by_role("alert").filter(has_text="add(a=17, b=25)")).to_be_attached()
    # A key that is held down is none that answers, wherever the focus goes meanwhile.
    for name in ("Refuse", "Allow", "Always allow"):
        expect(question.get_by_role("button", name=name, exact=True)).not_to_be_disabled()
    page.keyboard.down("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(question.get_by_role("button", name="Allow", exact=True)).to_be_focused()
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(question).to_be_visible()
    browser.screenshot(page, "chat-typing", of=chat)
    page.keyboard.press(" ")
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_be_visible()
    expect(message).to_be_focused()
    expect(message).to_have_value(typed + "c  ")


def test_a_question_takes_no_answer_in_its_first_second(browser, lab):
    code = f"{ADD}\nmlx_notebook.chat_panel([add], 'tiny-chat', temperature=0)"
    page, chat, message = opened(browser, lab, "early.ipynb", code)
    # Presses Allow as soon as it is there, and notes when one answered.
    page.evaluate(
        """() => {
            const box = document.querySelector("[aria-label='Tool approval']");
            window.moments = {};
            new MutationObserver(() => {
                if (!box.hidden && !window.moments.asked) {
                    window.moments.asked = performance.now();
                    const allow = box.querySelectorAll(".mlx-button")[1];
                    window.pressing = setInterval(() => allow.click(), 20);
                }
                if (box.hidden && window.moments.asked) {
                    window.moments.answered ??= performance.now();
                    clearInterval(window.pressing);
                }
            }).observe(box, {attributes: true});
        }"""
    )
    message.fill("What is 17 plus 25?")
    message.press("Enter")
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_be_visible()
    moments = page.evaluate("window.moments")
    assert moments["answered"] - moments["asked"] >= 1000


def test_a_tool_is_allowed_and_refused_and_an_answer_is_stopped(browser, lab):
    code = f"{ADD}\nmlx_notebook.chat_panel([add], 'tiny-chat', temperature=0)"
    page, chat, message = opened(browser, lab, "chat.ipynb", code)
    question = chat.get_by_role("group", name="Tool approval")
    for verdict, outcome in (("Allow", "done"), ("Refuse", "refused")):
        message.fill("What is 17 plus 25?")
        message.press("Enter")
        expect(question.get_by_text("add(a=17, b=25)")).to_be_visible()
        browser.screenshot(page, f"chat-{verdict.lower()}", of=chat)
        press(question, verdict)
        expect(chat.get_by_text(f"add(a=17, b=25) – {outcome}")).to_be_visible()
        expect(chat.get_by_role("button", name="Send")).to_be_visible()
        if verdict == "Allow":
            assert axe(page) == []
            press(chat, "New conversation")
            expect(chat.get_by_text("Ask anything.")).to_be_visible()
    press(chat, "New conversation")
    message.fill("What is 17 plus 25?")
    press(chat, "Send")
    expect(chat.get_by_role("group", name="Tool approval")).to_be_visible()
    chat.get_by_role("button", name="Stop", exact=True).press("Enter")
    expect(chat.get_by_role("group", name="Tool approval")).to_be_hidden()
    expect(message).to_be_focused()
    expect(chat.get_by_text("Interrupted", exact=True)).to_be_visible()
    expect(chat.get_by_role("button", name="Send")).to_be_visible()
    press(chat, "New conversation")
    for is_first in (True, False):
        message.fill("What is 17 plus 25?")
        message.press("Enter")
        if is_first:
            press(question, "Always allow")
        expect(chat.get_by_role("button", name="Send")).to_be_visible()
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_have_count(2)


def test_images_are_pasted_dropped_refused_and_seen(browser, lab):
    code = "import mlx_notebook\nmlx_notebook.chat_panel(temperature=0)"
    page, chat, message = opened(browser, lab, "seen.ipynb", code)
    models = chat.get_by_label("Model", exact=True)
    models.select_option("tiny-chat")
    for way in ("pasted", "dropped"):
        page.evaluate(GIVE_IMAGE, way)
        if way == "pasted":
            message.press("Control+v")
        else:
            files = page.evaluate_handle("window.dragged")
            message.dispatch_event("drop", {"dataTransfer": files})
        expect(chat.get_by_role("img", name=re.compile(r"\.png$"))).to_be_visible()
        expect(chat.get_by_text("tiny-chat does not accept images")).to_be_visible()
        if way == "pasted":
            chat.get_by_role("button", name=re.compile(r"Remove .*\.png")).click()
            expect(chat.get_by_role("img")).to_have_count(0)
    # A refused message comes back into its box, image and all.
    message.fill("What is in this picture?")
    message.press("Enter")
    expect(chat.get_by_role("log").get_by_role("img")).to_have_count(0)
    expect(chat.get_by_text(re.compile("cannot see|no images|vision"))).not_to_have_count(0)
    expect(message).to_have_value("What is in this picture?")
    expect(chat.get_by_role("img", name="image 1")).to_be_visible()
    browser.screenshot(page, "chat-refused", of=chat)
    models.select_option("tiny-vision")
    expect(chat.get_by_text("tiny-chat does not accept images")).to_be_hidden()
    message.press("Enter")
    expect(chat.get_by_text(re.compile("red circle"))).to_be_visible(timeout=60_000)
    expect(chat.get_by_role("img", name="Image of this message")).to_be_visible()
    expect(message).to_have_value("")
    browser.screenshot(page, "chat-image", of=chat)
    assert axe(page) == []


HELLO = [{"role": "user", "content": "Hello"}]
MARKDOWN = """# Sums

Add **two** numbers with `add`, and see $a^2 + b^2$:

```python
def add(a, b):
    return a + b  # the sum
```

$$\\frac{a}{b}$$

| a | b |
|---|---|
| 1 | 2 |

<img src=x onerror="window.hurt = 1"> ![far](http://127.0.0.1:9/far.png)
"""


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_an_answer_is_rendered_as_in_cells_and_its_code_copied_and_inserted(browser, lab, front):
    # The model is made to write just this text.
    code = f"""
import mlx_notebook
written = {MARKDOWN!r}
mlx_notebook.chat_panel(
    model='tiny-chat', max_tokens=900, extra_body={{'guided_choice': [written]}}
)"""
    name = f"markdown-{front}.ipynb"
    page, chat, message = opened(browser, lab, name, code, front=front)
    message.fill("Tell me.")
    message.press("Enter")
    copy = chat.get_by_role("button", name="Copy code", exact=True)
    expect(copy).to_be_visible(timeout=60_000)
    answer = chat.get_by_role("log")
    expect(answer.get_by_role("heading", name="Sums")).to_be_visible()
    expect(answer.locator("strong", has_text="two")).to_be_visible()
    expect(answer.locator("mjx-container")).to_have_count(2)
    expect(answer.locator("td", has_text="2")).to_be_visible()
    # Highlighted: the key word has an element of its own.
    expect(answer.locator("pre span", has_text=re.compile("^def$"))).to_be_visible()
    # What could do harm is text, and no image is fetched.
    expect(answer.get_by_text('<img src=x onerror="window.hurt = 1">')).to_be_visible()
    assert page.evaluate("window.hurt") is None
    expect(answer.locator("img")).to_have_count(0)
    copy.click()
    expect(chat.get_by_text("Copied.")).to_be_visible()
    source = "def add(a, b):\n    return a + b  # the sum"
    assert page.evaluate("navigator.clipboard.readText()") == source
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    press(chat, "Insert below this cell")
    expect(cells).to_have_count(3)  # with the one below that running a cell adds
    expect(cells.nth(1).locator(".cm-content")).to_contain_text("return a + b")
    press(chat, "Copy answer")
    page.wait_for_function(
        "async (text) => (await navigator.clipboard.readText()) === text", arg=MARKDOWN
    )
    for theme in ("light", "dark"):
        set_theme(page, theme)
        browser.screenshot(page, f"chat-markdown-{front}-{theme}", of=chat)
        assert axe(page) == []


def says(chat, message, text, *, answers):
    """Send a message and wait until it is answered; `answers` is how many there are then."""
    message.fill(text)
    message.press("Enter")
    expect(chat.get_by_role("log").get_by_text("Model", exact=True)).to_have_count(answers)
    expect(chat.get_by_role("button", name="Regenerate", exact=True)).to_be_visible(timeout=60_000)


def regenerate(page, chat):
    """Ask for the last answer again without moving the log, and wait until it is there."""
    chat.get_by_role("log").evaluate(
        "node => { window.changes = 0;"
        " new ResizeObserver(() => window.changes++).observe(node.firstElementChild); }"
    )
    again = chat.get_by_role("button", name="Regenerate", exact=True)
    again.evaluate("node => node.click()")
    page.wait_for_function("window.changes > 2")  # the first tells of the size as it was
    expect(again).to_be_visible(timeout=60_000)


def pixels_below(log):
    """How much of a log lies below what it shows."""
    return log.evaluate("node => node.scrollHeight - node.scrollTop - node.clientHeight")


def reload(page, lab, name):
    """Save the notebook, so that its outputs are there again, and reload the page."""
    page.keyboard.press("Control+s")
    wait_for(lambda: "widget-view" in (lab.home / name).read_text(), 20)
    page.reload()


def test_the_chat_follows_the_model_that_its_user_chose_and_no_other(browser, lab):
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    lab.request("v1/chat/completions", {"model": "tiny-chat", "messages": HELLO, "max_tokens": 2})
    code = "%load_ext mlx_notebook\nimport mlx_notebook\nmlx_notebook.chat_panel(max_tokens=5)"
    lab.notebook("follow.ipynb", code, "%mlx load tiny-vision")
    page = browser.open("follow.ipynb")
    run_cell(page, 0)
    chat = panel(page, "Chat")
    message = chat.get_by_role("textbox", name="Message")
    models = chat.get_by_label("Model", exact=True)
    expect(models.locator("option:checked")).to_have_text("tiny-chat (this notebook's model)")
    # Another user of the server changes nothing here.
    lab.request("v1/chat/completions", {"model": "tiny-vision", "messages": HELLO})
    says(chat, message, "Hello", answers=1)
    expect(chat.get_by_text(re.compile(r"^tiny-chat · "))).to_have_count(1)
    # This notebook's own change is followed, and told.
    run_cell(page, 1)
    expect(chat.get_by_text("tiny-vision answers from now on.")).to_be_visible()
    says(chat, message, "Hello", answers=2)
    expect(chat.get_by_text(re.compile(r"^tiny-vision · "))).to_have_count(1)
    # A choice in the panel stays through what others do, and through a reload.
    models.select_option("tiny-chat")
    expect(chat.get_by_text("tiny-chat answers from now on.")).to_be_visible()
    lab.request("v1/chat/completions", {"model": "tiny-vision", "messages": HELLO})
    reload(page, lab, "follow.ipynb")
    expect(message).to_be_visible(timeout=60_000)
    expect(models).to_have_value("tiny-chat")
    says(chat, message, "Hello", answers=3)
    expect(chat.get_by_text(re.compile(r"^tiny-chat · "))).to_have_count(2)
    # The log shows its end, whatever moved it, until its user scrolls up.
    log = chat.get_by_role("log")
    wait_for(lambda: pixels_below(log) < 40, 20)
    log.evaluate("node => { node.scrollTop = 0; return new Promise(requestAnimationFrame); }")
    regenerate(page, chat)
    wait_for(lambda: pixels_below(log) < 40, 20)
    browser.screenshot(page, "chat-follow", of=chat)
    log.hover()
    page.mouse.wheel(0, -2000)
    wait_for(lambda: log.evaluate("node => node.scrollTop") == 0, 20)
    regenerate(page, chat)
    assert log.evaluate("node => node.scrollTop") == 0


def test_a_message_is_edited_an_answer_regenerated_and_settings_are_used(browser, lab):
    code = "import mlx_notebook\np = mlx_notebook.chat_panel(model='tiny-chat', max_tokens=20)\np"
    shown = "print([m['content'] for m in p.chat.messages if m['role'] == 'user'], p.chat.system, "
    lab.notebook("edit.ipynb", code, shown + "p.chat.settings['temperature'])")
    page = browser.open("edit.ipynb")
    page.set_viewport_size({"width": 760, "height": 1000})
    run_cell(page, 0)
    chat = panel(page, "Chat")
    message = chat.get_by_role("textbox", name="Message")
    chat.get_by_text("Settings", exact=True).click()
    system = chat.get_by_role("textbox", name="System prompt")
    temperature = chat.get_by_role("spinbutton", name="Temperature")
    system.fill("Be brief.")
    temperature.fill("9")
    press(chat, "Apply")
    expect(chat.get_by_text("temperature must be between 0 and 2; you gave 9.")).to_be_visible()
    temperature.fill("0")
    press(chat, "Apply")
    expect(chat.get_by_text("The next message is sent with these settings.")).to_be_visible()
    says(chat, message, "My name is Ada.", answers=1)
    says(chat, message, "Hello", answers=2)
    message.fill("a draft")
    chat.get_by_role("button", name="Edit this message").first.click()
    expect(message).to_have_value("My name is Ada.")
    expect(message).to_be_focused()
    press(chat, "Cancel editing")
    expect(message).to_have_value("a draft")
    chat.get_by_role("button", name="Edit this message").first.click()
    browser.screenshot(page, "chat-edit", of=chat)
    assert axe(page) == []
    says(chat, message, "My name is Bo.", answers=1)
    expect(message).to_have_value("a draft")
    expect(chat.get_by_text("Hello", exact=True)).to_have_count(0)
    expect(chat.get_by_text("My name is Ada.", exact=True)).to_have_count(0)
    answer = chat.locator(".mlx-entry", has=page.get_by_text("Model", exact=True)).element_handle()
    press(chat, "Regenerate")
    page.wait_for_function("answer => !answer.isConnected", arg=answer)
    expect(chat.get_by_role("button", name="Regenerate", exact=True)).to_be_visible()
    run_cell(page, 1)
    told = "['My name is Bo.'] Be brief. 0"
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")).to_contain_text(told)
    assert chat.evaluate("node => node.scrollWidth <= node.clientWidth")


@pytest.fixture
def one_shell(lab):
    """JupyterLab sends what a panel says to the thread of the cells, not to one beside it."""
    plugin = lab.home / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings = plugin / "kernels-settings.jupyterlab-settings"
    settings.write_text('{"commsOverSubshells": "disabled"}')
    yield
    settings.unlink()


@pytest.mark.usefixtures("one_shell")
def test_a_message_that_waits_for_a_busy_kernel_stays_visible(browser, lab):
    code = "import mlx_notebook\nmlx_notebook.chat_panel(model='tiny-chat', max_tokens=5)"
    wait = """import pathlib, time
pathlib.Path('waiting').touch()
while not pathlib.Path('go-on').exists():
    time.sleep(0.05)"""
    lab.notebook("busy.ipynb", code, wait)
    page = browser.open("busy.ipynb")
    run_cell(page, 0)
    chat = panel(page, "Chat")
    message = chat.get_by_role("textbox", name="Message")
    run_cell(page, 1, wait=False)
    wait_for((lab.home / "waiting").exists)
    message.fill("Are you there?")
    message.press("Enter")
    late = chat.get_by_text("The kernel is busy; this will be sent when the cell finishes.")
    expect(late).to_be_visible()
    expect(chat.get_by_text("Are you there?", exact=True)).to_be_visible()
    browser.screenshot(page, "chat-busy", of=chat)
    assert axe(page) == []
    (lab.home / "go-on").touch()
    expect(chat.get_by_role("button", name="Regenerate", exact=True)).to_be_visible(timeout=60_000)
    expect(late).to_be_hidden()
    expect(chat.get_by_text("Are you there?", exact=True)).to_have_count(1)


def test_a_reload_of_the_page_does_not_stop_an_answer(browser, lab):
    code = """import mlx_notebook
mlx_notebook.chat_panel(
    model='tiny-chat', temperature=0, max_tokens=2500, extra_body={'ignore_eos': True}
)"""
    page, chat, message = opened(browser, lab, "reload.ipynb", code)
    message.fill("Tell me a long story.")
    message.press("Enter")
    expect(chat.locator(".mlx-markdown")).not_to_be_empty()
    expect(chat.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    reload(page, lab, "reload.ipynb")
    expect(chat.get_by_text(re.compile("2500 tokens .* token limit"))).to_be_visible(timeout=90_000)


def test_a_question_outlives_a_reload_of_the_page(browser, lab):
    code = f"{ADD}\nmlx_notebook.chat_panel([add], 'tiny-chat', temperature=0)"
    page, chat, message = opened(browser, lab, "asked.ipynb", code)
    message.fill("What is 17 plus 25?")
    message.press("Enter")
    question = chat.get_by_role("group", name="Tool approval")
    expect(question).to_be_visible()
    reload(page, lab, "asked.ipynb")
    expect(question.get_by_text("add(a=17, b=25)")).to_be_visible(timeout=60_000)
    press(question, "Allow")
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_be_visible()
    expect(chat.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_without_a_renderer_text_is_as_written_and_without_a_kernel_a_message_stays(chromium):
    """As Colab and editors may be: no widget manager of Jupyter's, no notebook, no clipboard."""
    answer = {"kind": "text", "text": MARKDOWN, "whole": "not shown here"}
    asked = {"role": "user", "text": "Tell me.", "images": [], "at": 0}
    told = {"role": "assistant", "blocks": {"1": answer}, "note": "tiny-chat"}
    page = chromium.new_page()
    page.evaluate(
        """async ([source, state]) => {
            const file = new Blob([source], {type: "text/javascript"});
            const panel = await import(URL.createObjectURL(file));
            const send = ({call}) => { if (call) throw new Error("closed"); };
            const model = {get: () => state, set() {}, on() {}, off() {}, send};
            panel.default.render({model, el: document.body});
        }""",
        [ChatPanel._esm, {"entries": {"1": asked, "2": told}, "models": ["tiny-chat"]}],
    )
    chat = panel(page, "Chat")
    shown = chat.locator(".mlx-entry", has_text="Model").locator(".mlx-text")
    assert shown.evaluate("node => node.textContent") == MARKDOWN
    assert page.evaluate("window.hurt") is None
    expect(chat.get_by_role("button", name=re.compile("Insert below"))).to_have_count(0)
    press(chat, "Copy answer")
    expect(chat.get_by_text("The text is selected: copy it with the keyboard.")).to_be_visible()
    assert "two" in page.evaluate("String(getSelection())")
    # What a kernel that has ended never took stays in the box.
    message = chat.get_by_role("textbox", name="Message")
    message.fill("Are you there?")
    message.press("Enter")
    expect(chat.get_by_text(re.compile("kernel of this panel has stopped"))).to_be_visible()
    expect(message).to_have_value("Are you there?")
    page.close()
