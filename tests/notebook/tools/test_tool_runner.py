"""Calls are checked, allowed, run in order or together, and their results told."""

import asyncio
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from mlx_notebook.notebook.answers.tool_call import ToolCall, pending
from mlx_notebook.notebook.errors import Pause
from mlx_notebook.notebook.tools import approval
from mlx_notebook.notebook.tools.tool import tool, tools_by_name
from mlx_notebook.notebook.tools.tool_runner import ToolRunner


def add(a: int, b: int = 1) -> int:
    return a + b


@tool
async def later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"after {seconds}"


def boom() -> None:
    raise ValueError("no luck")


def wish(name, arguments="{}", number=0):
    call = ToolCall(f"call_{number}", name, arguments)
    call.decode()
    call.state = "waiting"
    return call


def run(caller, calls):
    return [(delta.kind, delta.call.name) for delta in caller.run(calls)]


async def arun(caller, calls):
    return [(delta.kind, delta.call.name) async for delta in caller.arun(calls)]


@pytest.fixture(params=["sync", "async"])
def carry_out(request):
    if request.param == "sync":
        return run
    return lambda caller, calls: asyncio.run(arun(caller, calls))


def caller(*tools, **options):
    return ToolRunner(tools_by_name(tools), **options)


def test_a_call_is_made_with_real_arguments_and_its_result_told(carry_out):
    call = wish("add", '{"a": "2"}')
    assert carry_out(caller(add), [call]) == [("call", "add"), ("result", "add")]
    assert (call.state, call.value, call.content) == ("done", 3, "3")
    assert call.result == {"role": "tool", "tool_call_id": "call_0", "content": "3"}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (wish("add", '{"a": "x"}'), "Error: a: Input should be a valid integer"),
        (wish("add", '{"a": '), "Error: The arguments are not valid JSON"),
        (wish("subtract"), "Error: There is no tool 'subtract'. The tools are: add, boom."),
        (wish("boom"), "Error: ValueError: no luck"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(carry_out, call, told):
    carry_out(caller(add, boom), [call])
    assert call.state == "failed"
    assert call.content.startswith(told)
    assert (call.traceback is not None) == (call.name == "boom")


def test_a_traceback_begins_in_the_function():
    call = wish("boom")
    run(caller(boom), [call])
    assert "in boom" in call.traceback
    assert "in _run" not in call.traceback


def test_async_calls_run_together_and_the_others_in_order(carry_out):
    seen = []

    async def meet(n: int) -> int:
        seen.append(n)
        while len(seen) < 3:  # ends only if all three are there at once
            await asyncio.sleep(0.001)
        return n

    def note(n: int) -> None:
        seen.append(f"note {n}")

    calls = [wish("note", '{"n": 1}'), wish("note", '{"n": 2}')]
    calls += [wish("meet", f'{{"n": {n}}}') for n in range(3)]
    carry_out(caller(meet, note), calls)
    assert [call.state for call in calls] == ["done"] * 5
    notes = [x for x in seen if isinstance(x, str)]
    assert notes == ["note 1", "note 2"]


def test_an_async_tool_sees_the_context_of_the_caller():
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    async def look() -> str:
        return variable.get()

    call = wish("look")
    run(caller(look), [call])
    assert call.value == "mine"


async def _async(verdict):
    await asyncio.sleep(0)
    return verdict


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("verdict", "state", "content"),
    [
        (None, "done", "3"),
        (True, "done", "3"),
        ({"a": 5, "b": 5}, "done", "10"),
        (False, "refused", "The call was refused."),
        ("It is late.", "refused", "The call was refused. It is late."),
    ],
)
def test_before_call_allows_changes_or_refuses(carry_out, is_async, verdict, state, content):
    def before(call):
        assert call.arguments == {"a": 2}
        return _async(verdict) if is_async else verdict

    call = wish("add", '{"a": 2}')
    carry_out(caller(add, before_call=before), [call])
    assert (call.state, call.content) == (state, content)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(True, "done"), ("always", "done"), (None, "refused"), (False, "refused"), ("no", "refused")],
)
def test_only_a_clear_yes_approves(carry_out, verdict, state):
    call = wish("add", '{"a": 2}')
    carry_out(caller(add, approve=lambda call: _async(verdict)), [call])
    assert call.state == state


@pytest.fixture
def person(monkeypatch):
    """Somebody at a terminal, who reads each question and then gives the next of `answers`."""
    person = SimpleNamespace(answers=[], asked=[], now=0.0, reads=approval.MIN_ANSWER_SECONDS)

    def answer(prompt):
        person.asked.append(prompt)
        person.now += person.reads
        return person.answers.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(approval, "_drop_what_was_typed", lambda call: None)
    monkeypatch.setattr(approval, "time", SimpleNamespace(monotonic=lambda: person.now))
    return person


def say(text: str) -> None:
    """Say something."""


def asked_about(person, text):
    """The question about a call with this argument."""
    person.answers = ["n"]
    run(caller(say, approve=True), [wish("say", json.dumps({"text": text}))])
    return person.asked.pop()


def test_always_is_asked_once_and_names_choose_what_is_asked(person):
    person.answers = ["always"]
    these = caller(add, boom, approve=["boom"])
    run(these, [wish("add", '{"a": 1}'), wish("boom"), wish("boom")])
    run(these, [wish("boom")])
    assert person.asked == ["Allow boom()? [y]es, [n]o (and why), [a]lways: "]


def test_a_no_may_have_a_reason_and_nonsense_is_asked_again(person):
    person.answers = ["", "what?", "n too dear"]
    call = wish("add", '{"a": 1}')
    run(caller(add, approve=True), [call])
    assert call.content == "The call was refused. too dear"


@pytest.mark.parametrize("said", ["", " ", "a dog", "yes, later", "y n", "allow", "ok", "\ty\tn"])
def test_only_a_whole_word_allows_a_call(person, said):
    person.answers = [said, "n"]
    call = wish("add", '{"a": 1}')
    run(caller(add, approve=True), [call])
    assert call.state == "refused"


@pytest.mark.parametrize("said", ["y", "a", "n", ""])
def test_what_comes_before_the_question_can_be_read_is_no_answer(person, capsys, said):
    person.answers, person.reads = [said] * 10, approval.MIN_ANSWER_SECONDS - 0.1
    call = wish("add", '{"a": 1}')
    with pytest.raises(Pause, match="was not answered with yes or no"):
        run(caller(add, approve=True), [call])
    assert call.state == "waiting"
    assert "Please answer again." in capsys.readouterr().out


def test_a_question_hides_nothing(person):
    hidden = "".join(map(chr, [0x1B, 0x0A, 0x0D, 0x85, 0xA0, 0xAD, 0x61C, 0x200B, 0x200F, 0x2028]))
    hidden += "".join(map(chr, [0x2029, 0x202E, 0x2066, 0x3164, 0xFEFF, 0xE0041, 0xFE0F, 0x2800]))
    question = asked_about(person, f"a{hidden}b")
    first, *call, last = question.split("\n")
    assert (first, last) == ("Allow this call?", "[y]es, [n]o (and why), [a]lways: ")
    assert all(line.isprintable() for line in call)
    assert not set(hidden) & set("".join(call))
    assert "".join(line.removeprefix("    ") for line in call).startswith(
        'say(text="a\\u001b\\n\\r\\u0085\\u00a0\\u00ad\\u061c\\u200b\\u200f\\u2028\\u2029\\u202e'
    )
    assert "größer 日本" in asked_about(person, "größer 日本")


def test_all_of_a_call_stands_in_the_question_or_is_offered(person, capsys):
    command = "ls " + "-" * 1000 + "; rm -rf ~; " + "-" * 900
    question = asked_about(person, command)
    assert max(map(len, question.splitlines())) < 100
    assert command in question.replace("\n    ", "")
    command = "ls " + "-" * 5000 + "; rm -rf ~; " + "-" * 5000
    person.answers = ["s", "n"]
    run(caller(say, approve=True), [wish("say", json.dumps({"text": command}))])
    shown = len(f'say(text="{command}")')
    asked = person.asked[0].replace("\n    ", "")
    assert f"[… {shown - 2 * 666 - 667:,} characters are hidden here …]" in asked
    assert person.asked[0].endswith("[y]es, [n]o (and why), [a]lways, [s]how all: ")
    assert command in capsys.readouterr().out


def test_a_file_and_a_thread_are_nobody(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\ny\n"))
    with pytest.raises(Pause, match="nobody is there to allow add"):
        run(caller(add, approve=True), [wish("add", '{"a": 1}')])
    monkeypatch.setattr(approval, "in_kernel", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    with ThreadPoolExecutor() as pool, pytest.raises(Pause, match="nobody is there"):
        pool.submit(run, caller(add, approve=True), [wish("add", '{"a": 1}')]).result()


def test_where_nobody_can_be_asked_the_chat_pauses(monkeypatch):
    def nobody(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    monkeypatch.setattr(approval, "in_kernel", lambda: True)
    call = wish("add", '{"a": 1}')
    with pytest.raises(Pause, match="nobody is there to allow add"):
        run(caller(add, approve=True), [call])
    assert call.state == "waiting"


def test_an_interrupt_stops_sync_and_async_calls():
    def stop() -> None:
        raise KeyboardInterrupt

    calls = [wish("later", '{"seconds": 60}'), wish("stop"), wish("stop")]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(caller(later, stop), calls)
    assert time.monotonic() - began < 30
    assert [call.state for call in calls] == ["interrupted", "interrupted", "waiting"]


def test_cancelling_stops_async_calls():
    async def main():
        call = wish("later", '{"seconds": 60}')
        task = asyncio.create_task(arun(caller(later), [call]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return call.state

    assert asyncio.run(main()) == "interrupted"


def test_calls_without_a_result_are_pending():
    calls = [wish("add", '{"a": 1}', number) for number in range(2)]
    user = {"role": "user", "content": "go"}
    assistant = {"role": "assistant", "content": "", "tool_calls": [c.openai_call for c in calls]}
    result = {"role": "tool", "tool_call_id": "call_0", "content": "2"}
    assert pending([]) == pending([user]) == []
    assert [c.id for c in pending([user, assistant])] == ["call_0", "call_1"]
    assert [c.id for c in pending([user, assistant, result])] == ["call_1"]
    assert pending([user, assistant, result])[0].arguments == {"a": 1}
    assert pending([user, assistant, result, user]) == []
