"""A saved chat is checked before anything in it is used."""

import json
import os

import pytest

from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.errors import NotebookError


@pytest.fixture
def own_data(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"format": "chat 9"}, "is not a chat that `save` wrote"),
        ({"model": 1}, "is damaged: Expected `str | null`"),
        ({"settings": []}, "is damaged"),
        ({"usage": {"requests": "many"}}, "is damaged"),
        ({"usage": {"tokens": 1}}, "is damaged: unknown token counts"),
        ({"messages": {}}, "is damaged"),
        ({"messages": [{"role": "user"}]}, "is damaged: Object missing required field `content`"),
        (
            {"messages": [{"role": "tool", "content": ""}]},
            "is damaged: a tool result names no call",
        ),
        ({"messages": [{"role": "user", "content": [{}]}]}, "is damaged"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
            "is damaged",
        ),
    ],
)
def test_a_damaged_chat_is_told_in_one_sentence(own_data, tmp_path, wrong, said):
    path = tmp_path / "chat.json"
    Chat("m").save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    with pytest.raises(NotebookError) as caught:
        Chat.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_chat_at_all_is_told_in_one_sentence(own_data, tmp_path):
    path = tmp_path / "chat.json"
    for text in (
        "",
        "{",
        "[" * 100_000,
        "\x00",
        '{"format": "mlx-notebook chat 1", "a": ' + "9" * 9999,
    ):
        path.write_text(text)
        with pytest.raises(NotebookError, match=r"^[^\n]*chat\.json is damaged: [^\n]*\.$"):
            Chat.load(path)
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "not a regular file"), ("none", "cannot be read")):
        with pytest.raises(NotebookError, match=said):
            Chat.load(tmp_path / name)


def test_settings_of_a_file_cannot_take_approval_away(own_data, tmp_path):
    path = tmp_path / "chat.json"
    Chat("m", temperature=0).save(path)
    settings = {"approve": False, "tools": [], "max_steps": 10**9, "temperature": 1}
    path.write_text(json.dumps({**json.loads(path.read_text()), "settings": settings}))
    chat = Chat.load(path, approve=True, temperature=0)
    assert (chat.approve, chat.max_steps, chat.settings["temperature"]) == (True, 20, 0)
