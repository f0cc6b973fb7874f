"""One conversation of the sidebar in two places: nothing is lost, and what is deleted stays so."""

import json
import re

from playwright.sync_api import expect

from tests.browser.lab.test_lab_chat import PATIENCE, chat_of, reload
from tests.browser.pages import press
from tests.notebook.jupyter import wait_for

COME_BACK = "window.dispatchEvent(new Event('focus'))"


def test_two_tabs_keep_what_each_has_asked(browser, lab):
    lab.settings(model="tiny-chat", maxTokens=3)
    lab.notebook("tabs.ipynb", "x = 1")
    # The server refuses to replace what the other tab has saved.
    browser.expected.append("status of 409")
    # Lab, of widgets that the kernel of both tabs knows and one tab does not.
    browser.expected.append("Comm not found")
    first = browser.open("tabs.ipynb")
    chat, message = chat_of(first)
    message.fill("Hello!")
    message.press("Enter")
    expect(chat.get_by_text("3 tokens")).to_have_count(1, timeout=PATIENCE)
    second = browser.open("tabs.ipynb")
    other, other_message = chat_of(second)
    expect(other.get_by_text("3 tokens")).to_have_count(1)
    message.fill("What is a cat?")
    message.press("Enter")
    expect(chat.get_by_text("3 tokens")).to_have_count(2, timeout=PATIENCE)
    other_message.fill("What is a dog?")
    other_message.press("Enter")
    expect(other.get_by_text("3 tokens")).to_have_count(3, timeout=PATIENCE)
    questions = other.locator(".mlx-user .mlx-text")
    expect(questions).to_have_text(["Hello!", "What is a cat?", "What is a dog?", ""])
    expect(other.get_by_text("come from another tab")).to_be_visible()
    browser.screenshot(second, "lab-chat-two-tabs")
    first.evaluate(COME_BACK)
    expect(chat.get_by_text("3 tokens")).to_have_count(3)
    expect(chat.locator(".mlx-user .mlx-text")).to_have_text(
        ["Hello!", "What is a cat?", "What is a dog?", ""]
    )
    [saved] = [
        lab.request(f"mlx/conversations/{one['id']}")
        for one in lab.request("mlx/conversations?notebook=tabs.ipynb")["data"]
    ]
    roles = [entry["role"] for entry in saved["content"]["entries"].values()]
    assert roles == ["user", "assistant", "user", "assistant", "notice", "user", "assistant"]


def test_a_conversation_deleted_during_its_answer_does_not_come_back(browser, lab):
    lab.settings(model="tiny-chat")
    lab.notebook("deleted.ipynb", "x = 1")
    # The server says that what the page saves was deleted.
    browser.expected += ["status of 409", "status of 404", "ERR_FAILED"]
    page = browser.open("deleted.ipynb")
    page.route(
        re.compile("/v1/chat/completions"),
        lambda route: route.continue_(
            post_data=json.dumps(
                route.request.post_data_json | {"ignore_eos": True, "max_tokens": 4000}
            )
        ),
    )
    chat, message = chat_of(page)

    def saved():
        return lab.request("mlx/conversations?notebook=deleted.ipynb")["data"]

    def ask(text):
        message.fill(text)
        message.press("Enter")
        answer = chat.locator(".mlx-markdown").last
        expect(answer).to_have_text(re.compile(r"\S+ \S+ \S+"), timeout=PATIENCE)
        wait_for(saved)
        [conversation] = saved()
        return conversation["id"]

    def delete(id):
        lab.request(f"mlx/conversations/{id}", method="DELETE")

    delete(ask("Tell me a story"))
    expect(chat.get_by_text("was deleted elsewhere")).to_be_visible(timeout=PATIENCE)
    expect(chat.get_by_text("Interrupted")).to_be_visible()
    assert saved() == []
    browser.screenshot(page, "lab-chat-deleted-elsewhere")
    # A page that is reloaded before it has heard of it does not write it back either.
    press(chat, "New conversation")
    id = ask("Tell me another story")
    page.route(
        re.compile("/mlx/conversations/"),
        lambda route: route.abort() if route.request.method == "PUT" else route.continue_(),
    )
    delete(id)
    chat, message = reload(page)
    expect(page.get_by_text("“Tell me another story” was deleted elsewhere")).to_be_visible()
    page.unroute(re.compile("/mlx/conversations/"))
    expect(chat.locator(".mlx-user:not([hidden])")).to_have_count(0)
    message.fill("Hello!")
    message.press("Enter")
    wait_for(saved)
    assert [one["title"] for one in saved()] == ["Hello!"]
