"""The chat panel in a real browser: tools that ask, answers that are stopped, images."""

import re

from playwright.sync_api import expect

from tests.browser.pages import axe, panel, press, run_cell

ADD = """
import mlx_notebook
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
"""
# Draws a red circle into the clipboard, or into what a drag carries.
GIVE_PICTURE = """async (way) => {
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
    browser.picture(page, "chat-typing", of=chat)
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
    lab.notebook("chat.ipynb", f"{ADD}\nmlx_notebook.chat_panel([add], 'tiny-chat', temperature=0)")
    page = browser.open("chat.ipynb")
    run_cell(page)
    chat = panel(page, "Chat")
    message = chat.get_by_role("textbox", name="Message")
    for verdict, outcome in (("Allow", "done"), ("Refuse", "refused")):
        message.fill("What is 17 plus 25?")
        message.press("Enter")
        question = chat.get_by_role("group", name="Tool approval")
        expect(question.get_by_text("add(a=17, b=25)")).to_be_visible()
        browser.picture(page, f"chat-{verdict.lower()}", of=chat)
        press(question, verdict)
        expect(chat.get_by_text(f"add(a=17, b=25) – {outcome}")).to_be_visible()
        expect(chat.get_by_role("button", name="Send")).to_be_visible()
        if verdict == "Allow":
            assert axe(page) == []
            press(chat, "New conversation")
            expect(chat.get_by_text("Say something.")).to_be_visible()
    press(chat, "New conversation")
    message.fill("What is 17 plus 25?")
    press(chat, "Send")
    expect(chat.get_by_role("group", name="Tool approval")).to_be_visible()
    chat.get_by_role("button", name="Stop", exact=True).press("Enter")
    expect(chat.get_by_role("group", name="Tool approval")).to_be_hidden()
    expect(message).to_be_focused()
    expect(chat.get_by_text("stopped")).to_be_visible()
    expect(chat.get_by_role("button", name="Send")).to_be_visible()
    press(chat, "New conversation")
    for is_first in (True, False):
        message.fill("What is 17 plus 25?")
        message.press("Enter")
        if is_first:
            press(question, "Always allow")
        expect(chat.get_by_role("button", name="Send")).to_be_visible()
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_have_count(2)


def test_a_picture_is_pasted_or_dropped_and_seen_by_a_model(browser, lab):
    lab.notebook("seen.ipynb", "import mlx_notebook\nmlx_notebook.chat_panel(temperature=0)")
    page = browser.open("seen.ipynb")
    run_cell(page)
    chat = panel(page, "Chat")
    message = chat.get_by_role("textbox", name="Message")
    chat.get_by_label("Model", exact=True).select_option("tiny-chat")
    for way in ("pasted", "dropped"):
        page.evaluate(GIVE_PICTURE, way)
        if way == "pasted":
            message.press("Control+v")
        else:
            files = page.evaluate_handle("window.dragged")
            message.dispatch_event("drop", {"dataTransfer": files})
        expect(chat.get_by_role("img", name=re.compile(r"\.png$"))).to_be_visible()
        expect(chat.get_by_text("tiny-chat cannot see pictures")).to_be_visible()
        if way == "pasted":
            chat.get_by_role("button", name=re.compile(r"Take .*\.png away")).click()
            expect(chat.get_by_role("img")).to_have_count(0)
    chat.get_by_label("Model", exact=True).select_option("tiny-vision")
    expect(chat.get_by_text("tiny-chat cannot see pictures")).to_be_hidden()
    message.fill("What is in this picture?")
    message.press("Enter")
    expect(chat.get_by_text(re.compile("red circle"))).to_be_visible(timeout=60_000)
    expect(chat.get_by_role("img", name="Picture of this message")).to_be_visible()
    browser.picture(page, "chat-picture", of=chat)
    assert axe(page) == []
