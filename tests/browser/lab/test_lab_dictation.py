"""The microphone of the chat, with a model that transcribes."""

import shutil

import pytest
from playwright.sync_api import expect

from tests.browser.lab.test_lab_chat import PATIENCE, chat_of
from tests.browser.pages import axe
from tests.tiny_models.audio_models import whisper


@pytest.fixture
def transcriber(lab):
    folder = whisper(lab.models / "random" / "listener")
    yield "random/listener"
    if any(model["id"] == "random/listener" for model in lab.status()["models"]):
        lab.request("mlx/models/unload", {"model": "random/listener"})
    shutil.rmtree(folder)


def test_what_is_said_is_written_into_the_message(browser, lab, transcriber):
    page = browser.open(lab.notebook("dictation.ipynb", "1"))
    chat, message = chat_of(page)
    message.fill("They said:")
    speak = chat.get_by_role("button", name="Speak", exact=True)
    expect(speak).to_be_visible(timeout=PATIENCE)
    speak.focus()
    page.keyboard.press("Enter")
    stop = chat.get_by_role("button", name="Stop recording")
    expect(stop).to_contain_text("(1 s)", timeout=PATIENCE)
    assert axe(page, ".mlx-lab-chat") == []
    browser.screenshot(page, "lab-dictation", of=chat)
    stop.click()
    expect(message).to_have_value("They said: Hello world. Goodbye", timeout=PATIENCE)
    expect(message).to_be_focused()
    expect(speak).to_be_visible()
