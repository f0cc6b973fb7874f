"""Files that somebody else wrote, or changed: they call no function of the notebook unasked."""

import json
import os
import stat

import pytest

from mlx_notebook.notebook import signing
from mlx_notebook.notebook.chat.chat import Chat
from mlx_notebook.notebook.errors import NotebookError

TOOL = """
from mlx_notebook import AsyncChat, Chat
ran = []
def add(a: int, b: int) -> int:
    "Add two numbers."
    ran.append((a, b))
    return a + b
"""
ASK = (
    "chat = Chat('tiny-chat', tools=[add], temperature=0)\n"
    "answer = chat.ask('What is 17 plus 25?', tool_choice='required')"
)
WHY = "This call comes from a file that you did not write on this machine. "
QUESTION = f"{WHY}Allow add(a=17, b=666)? [y]es, [n]o (and why): "


@pytest.fixture
def own_data(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_text_is_signed_as_long_as_nobody_changes_it(own_data):
    text = signing.signed('{\n "a": "é",\n "b": [1, 2]\n}\n')
    assert json.loads(text)["b"] == [1, 2]
    assert signing.is_signed(text)
    for changed in (
        text.replace("é", "e"), text.replace('"b"', '"signature": "x",\n "b"'), text + " ",
        text.replace("}\n", ', "c": 1}\n'), text[:-5], "", "{}", '{\n "signature": ""\n}\n',
    ):  # fmt: skip
        assert not signing.is_signed(changed)
    key = own_data / "mlx_notebook" / "file_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [file.name for file in key.parent.iterdir()] == ["file_key"]
    key.unlink()
    assert not signing.is_signed(text)


def test_without_a_place_for_the_key_files_are_written_unsigned(own_data):
    own_data.write_text("in the way")
    text = '{\n "a": 1\n}\n'
    with pytest.warns(UserWarning, match="not signed"):
        assert signing.signed(text) == text
    assert not signing.is_signed(text)


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


def waiting(path):
    """Code that saves a chat with a call that waits to be allowed."""
    return (
        "chat = Chat('tiny-chat', tools=[add], approve=True, temperature=0)\n"
        "_ = chat.ask('What is 17 plus 25?', tool_choice='required')\n"
        f"chat.save({str(path)!r})"
    )


@pytest.mark.parametrize(("kind", "wait"), [("Chat", ""), ("AsyncChat", "await ")])
def test_a_call_that_waits_in_a_chat_of_others_is_asked_about(kernel, tmp_path, kind, wait):
    path = tmp_path / "chat.json"
    kernel.run(TOOL)
    kernel.run(waiting(path))
    load = f"chat = {kind}.load({str(path)!r}, tools=[add])"
    resume = f"answer = {wait}chat.resume()"
    assert kernel.run(f"{load}\n{resume}", answers=[]).asked == []
    assert kernel.value("ran") == [[17, 25]]
    path.write_text(path.read_text().replace("25}", "666}"))
    kernel.run(f"ran.clear()\n{load}")
    kernel.run(resume)
    assert kernel.value("[answer.outcome, ran]") == ["paused", []]
    # Saving it does not make it one's own.
    again = tmp_path / "again.json"
    kernel.run(f"chat.save({str(again)!r})\nchat = {kind}.load({str(again)!r}, tools=[add])")
    assert kernel.run(resume, answers=["always", "n"]).asked == [QUESTION] * 2
    assert kernel.value("[answer.outcome, ran]") == ["complete", []]
    kernel.run(load)
    assert kernel.run(resume, answers=["y"]).asked == [QUESTION]
    kernel.run(f"{load[:-1]}, trust=True)\n{resume}")
    assert kernel.value("ran") == [[17, 666]] * 2


def edited(recording):
    """The recording with another argument in its first call."""
    told = json.loads(recording)
    first = next(e for e in told["exchanges"] if e.get("events"))
    function = {"name": "add", "arguments": '{"a": 17, "b": 666}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    chunk = {
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-chat",
        "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}],
    }  # fmt: skip
    first["events"] = [{"t": 0, "data": chunk}, {"t": 0, "text": "data: [DONE]\n\n"}]
    return json.dumps(told)


def test_a_changed_recording_calls_nothing_unasked(kernel, tmp_path):
    path = tmp_path / "run.recorded.json"
    kernel.run(f"{TOOL}\n%mlx record {path}")
    kernel.run(ASK)
    kernel.run("%mlx record stop\nran.clear()")
    said = kernel.run(f"%mlx replay {path} --speed max").stdout
    assert "You did not make this recording" not in said
    kernel.run(ASK)
    assert kernel.value("ran") == [[17, 25]]
    kernel.run("ran.clear()")
    path.write_text(edited(path.read_text()))
    said = kernel.run(f"%mlx replay {path} --speed max").stdout
    assert "You did not make this recording on this machine" in said
    # The edited recording has no answer to the result that follows.
    assert kernel.run(ASK, answers=["y"], check=False).asked == [QUESTION]
    assert kernel.run(ASK, answers=["n"], check=False).asked == [QUESTION]
    assert kernel.value("ran") == [[17, 666]]
    kernel.run(ASK)
    kernel.run("%mlx replay stop")
    kernel.run("answer = chat.resume()")
    assert kernel.value("[answer.outcome, ran]") == ["paused", [[17, 666]]]
    kernel.run(f"%mlx replay {path} --speed max --trust")
    kernel.run(ASK, check=False)
    assert kernel.value("ran") == [[17, 666]] * 2
    kernel.run("%mlx replay stop")


def test_an_answer_of_no_known_form_is_told_in_one_sentence(kernel, tmp_path):
    path = tmp_path / "run.recorded.json"
    kernel.run(f"{TOOL}\n%mlx record {path}")
    kernel.run(ASK)
    kernel.run("%mlx load tiny-chat\n%mlx record stop")
    told = json.loads(path.read_text())
    stream, load = told["exchanges"][0], told["exchanges"][-1]
    for events in (
        [{"t": 0, "data": {"choices": 7}}], [{"t": 0, "data": {"choices": [7]}}],
        [{"t": 0, "data": {"choices": [{"index": 0, "delta": {"tool_calls": [3]}}]}}],
        [{"t": 0, "text": "data: {half\n\n"}],
    ):  # fmt: skip
        stream["events"] = events
        load["body"] = {"model": "\x1b[2Jx"}
        path.write_text(json.dumps(told))
        kernel.run(f"%mlx replay {path} --speed max")
        cell = kernel.run(ASK, check=False)
        assert (cell.ename, len(cell.traceback)) == ("EngineFailed", 1), cell.traceback
    cell = kernel.run("%mlx load tiny-chat", check=False)
    assert (cell.ename, len(cell.traceback)) == ("BadRecording", 1)
    kernel.run("%mlx replay stop")
