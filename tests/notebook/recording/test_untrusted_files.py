"""Files that somebody else wrote, or changed: they call no function of the notebook unasked."""

import json

import pytest

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
