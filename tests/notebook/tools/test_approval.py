"""The user is asked before a tool call, and only a clear yes allows it."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from mlx_notebook.notebook import shell
from mlx_notebook.notebook.errors import Pause
from mlx_notebook.notebook.tools import approval
from mlx_notebook.notebook.tools.tool import tools_by_name
from mlx_notebook.notebook.tools.tool_runner import ToolRunner
from tests.notebook.example_answers import tool_call


def add(a: int, b: int = 1) -> int:
    return a + b


def boom() -> None:
    raise ValueError("no luck")


def run(runner, calls):
    return [(delta.kind, delta.call.name) for delta in runner.run(calls)]


def runner(*tools, **options):
    return ToolRunner(tools_by_name(tools), **options)


@pytest.fixture
def person(monkeypatch):
    """Somebody at a terminal, who reads each question and then gives the next of `answers`."""
    person = SimpleNamespace(answers=[], asked=[], now=0.0, reads=approval.MIN_ANSWER_SECONDS)

    def answer(prompt):
        person.asked.append(prompt)
        person.now += person.reads
        return person.answers.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(approval, "_discard_typed_input", lambda call: None)
    monkeypatch.setattr(approval, "time", SimpleNamespace(monotonic=lambda: person.now))
    return person


def say(text: str) -> None:
    """Say something."""


def asked_about(person, text):
    """The question about a call with this argument."""
    person.answers = ["n"]
    run(runner(say, approve=True), [tool_call("say", json.dumps({"text": text}))])
    return person.asked.pop()


def test_always_is_asked_once_and_names_choose_what_is_asked(person):
    person.answers = ["always"]
    runner_of_both = runner(add, boom, approve=["boom"])
    run(runner_of_both, [tool_call("add", '{"a": 1}'), tool_call("boom"), tool_call("boom")])
    run(runner_of_both, [tool_call("boom")])
    assert person.asked == ["Allow boom()? [y]es, [n]o (and why), [a]lways: "]


def test_a_no_may_have_a_reason_and_nonsense_is_asked_again(person):
    person.answers = ["", "what?", "n too dear"]
    call = tool_call("add", '{"a": 1}')
    run(runner(add, approve=True), [call])
    assert call.content == "The call was refused. too dear"


@pytest.mark.parametrize("said", ["", " ", "a dog", "yes, later", "y n", "allow", "ok", "\ty\tn"])
def test_only_a_whole_word_allows_a_call(person, said):
    person.answers = [said, "n"]
    call = tool_call("add", '{"a": 1}')
    run(runner(add, approve=True), [call])
    assert call.state == "refused"


@pytest.mark.parametrize("said", ["y", "a", "n", ""])
def test_what_comes_before_the_question_can_be_read_is_no_answer(person, capsys, said):
    person.answers, person.reads = [said] * 10, approval.MIN_ANSWER_SECONDS - 0.1
    call = tool_call("add", '{"a": 1}')
    with pytest.raises(Pause, match="was not answered with yes or no"):
        run(runner(add, approve=True), [call])
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
    run(runner(say, approve=True), [tool_call("say", json.dumps({"text": command}))])
    shown = len(f'say(text="{command}")')
    asked = person.asked[0].replace("\n    ", "")
    assert f"[… {shown - 2 * 666 - 667:,} characters are hidden here …]" in asked
    assert person.asked[0].endswith("[y]es, [n]o (and why), [a]lways, [s]how all: ")
    assert command in capsys.readouterr().out


def test_a_file_and_a_thread_are_nobody(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\ny\n"))
    with pytest.raises(Pause, match="nobody is there to allow add"):
        run(runner(add, approve=True), [tool_call("add", '{"a": 1}')])
    monkeypatch.setattr(shell, "in_kernel", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    with ThreadPoolExecutor() as pool, pytest.raises(Pause, match="nobody is there"):
        pool.submit(run, runner(add, approve=True), [tool_call("add", '{"a": 1}')]).result()


def test_where_nobody_can_be_asked_the_chat_pauses(monkeypatch):
    def nobody(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    monkeypatch.setattr(shell, "in_kernel", lambda: True)
    call = tool_call("add", '{"a": 1}')
    with pytest.raises(Pause, match="nobody is there to allow add"):
        run(runner(add, approve=True), [call])
    assert call.state == "waiting"
