"""One conversation of the sidebar in two tabs: nothing is lost, and each shows all of it."""

from playwright.sync_api import expect

from tests.browser.lab.test_lab_chat import PATIENCE, chat_of

COME_BACK = "window.dispatchEvent(new Event('focus'))"


def test_two_tabs_keep_what_each_has_asked(browser, lab):
    lab.settings(model="tiny-chat", maxTokens=8)
    lab.notebook("tabs.ipynb", "x = 1")
    # The server refuses to replace what the other tab has saved.
    browser.expected.append("status of 409")
    # Lab, of widgets that the kernel of both tabs knows and one tab does not.
    browser.expected.append("Comm not found")
    first = browser.open("tabs.ipynb")
    chat, message = chat_of(first)
    message.fill("Hello!")
    message.press("Enter")
    expect(chat.get_by_text("8 tokens")).to_have_count(1, timeout=PATIENCE)
    second = browser.open("tabs.ipynb")
    other, other_message = chat_of(second)
    expect(other.get_by_text("8 tokens")).to_have_count(1)
    message.fill("What is a cat?")
    message.press("Enter")
    expect(chat.get_by_text("8 tokens")).to_have_count(2, timeout=PATIENCE)
    other_message.fill("What is a dog?")
    other_message.press("Enter")
    expect(other.get_by_text("8 tokens")).to_have_count(3, timeout=PATIENCE)
    questions = other.locator(".mlx-user .mlx-text")
    expect(questions).to_have_text(["Hello!", "What is a cat?", "What is a dog?", ""])
    expect(other.get_by_text("come from another tab")).to_be_visible()
    browser.screenshot(second, "lab-chat-two-tabs")
    first.evaluate(COME_BACK)
    expect(chat.get_by_text("8 tokens")).to_have_count(3)
    expect(chat.locator(".mlx-user .mlx-text")).to_have_text(
        ["Hello!", "What is a cat?", "What is a dog?", ""]
    )
    [saved] = [
        lab.request(f"mlx/conversations/{one['id']}")
        for one in lab.request("mlx/conversations?notebook=tabs.ipynb")["data"]
    ]
    roles = [entry["role"] for entry in saved["content"]["entries"].values()]
    assert roles == ["user", "assistant", "user", "assistant", "notice", "user", "assistant"]
