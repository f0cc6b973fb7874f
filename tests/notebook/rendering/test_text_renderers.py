"""`ipython` in a terminal: plain text, and Ctrl-C stops the model."""

import re
import sys
import time

import pexpect
import pytest

from mlx_notebook.notebook.answers.answer import Delta
from mlx_notebook.notebook.rendering.text_renderers import RawRenderer, TerminalRenderer
from mlx_notebook.notebook.tools.approval import MIN_ANSWER_SECONDS
from tests.notebook.example_answers import answer_of
from tests.notebook.jupyter import PATIENCE, wait_for


@pytest.fixture
def terminal(server, env, tmp_path):
    env = {**env, "MLX_NOTEBOOK_URL": server.url, "MLX_NOTEBOOK_TOKEN": server.token}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        env={**env, "TERM": "dumb"}, cwd=str(tmp_path), encoding="utf-8", timeout=PATIENCE,
        dimensions=(40, 200),
    )  # fmt: skip
    child.expect_exact("In [1]:")
    yield child
    child.close(force=True)


def test_a_terminal_shows_plain_text(terminal, server):
    terminal.sendline("%load_ext mlx_notebook")
    terminal.expect(r"mlx_notebook: connected to \S+ \(named by MLX_NOTEBOOK_URL\); model")
    terminal.expect_exact("In [2]:")
    terminal.sendline("%chat -t 0 --max-tokens 20 Hello!")
    terminal.expect(r"\[tiny-chat · [^\n]* tokens.*?\]")
    assert not re.search(r"<small>|Markdown object|\{'text", terminal.before)
    terminal.expect_exact("In [3]:")
    assert server.token not in terminal.before


def test_ctrl_c_stops_the_model_and_not_the_shell(terminal, server):
    terminal.sendline("from mlx_notebook import Chat; chat = Chat(max_tokens=3500)")
    terminal.expect_exact("In [2]:")
    terminal.sendline("_ = chat.ask('Talk!', show=True, extra_body={'ignore_eos': True})")
    wait_for(lambda: server.status()["totals"]["generated_tokens"] > 0, what="an answer")
    wait_for(lambda: server.status()["requests"], what="a running request")
    terminal.expect_exact("'ignore_eos': True})")
    terminal.expect(r"\w{3}")
    terminal.sendintr()
    terminal.expect(r"\[tiny-chat · [^\n]*interrupted\]")
    terminal.expect("Interrupted: the model was stopped(; the answer so far is kept| before its)")
    terminal.expect_exact("In [3]:")
    wait_for(lambda: not server.status()["requests"], 2, "the server to stop generating")
    # IPython leaves the event loop on Ctrl-C; the task must not stay behind.
    terminal.sendline("from mlx_notebook import AsyncChat; chat = AsyncChat(max_tokens=3500)")
    terminal.expect_exact("In [4]:")
    terminal.sendline("_ = await chat.ask('Talk!', extra_body={'ignore_eos': True})")
    wait_for(lambda: server.status()["requests"], what="a running request")
    terminal.sendintr()
    terminal.expect(r"CancelledError: the model was stopped")
    terminal.expect_exact("In [5]:")
    wait_for(lambda: not server.status()["requests"], 5, "the server to stop generating")


TOOL = """
import sys
def send(text: str):
    'Send a text.'
    sent.append(text)
sent = []
chat = Chat(tools=[send], approve=True)
chat.messages = [
    {"role": "user", "content": "Send it."},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"text": "x"}'}}
    ]},
]
"""


def test_what_was_typed_before_the_question_does_not_answer_it(terminal, tmp_path):
    (tmp_path / "tool.py").write_text(TOOL)
    terminal.sendline("import time; from mlx_notebook import Chat")
    terminal.expect_exact("In [2]:")
    terminal.sendline("%run -i tool.py")
    terminal.expect_exact("In [3]:")
    terminal.sendline("print('be' + 'gun'); time.sleep(2); chat.resume(show=True).outcome")
    terminal.expect_exact("begun")
    terminal.send("y\ny\nalways\n\n")
    terminal.expect_exact('Allow send(text="x")? [y]es, [n]o (and why), [a]lways: ')
    terminal.send("y\n")
    terminal.expect_exact("Please answer again.")
    terminal.expect_exact("[a]lways: ")
    time.sleep(MIN_ANSWER_SECONDS + 0.1)
    terminal.sendline("")
    terminal.expect_exact("[a]lways: ")
    time.sleep(MIN_ANSWER_SECONDS + 0.1)
    terminal.sendline("n not now")
    terminal.expect_exact("refused: not now")
    terminal.expect_exact("In [4]:")
    terminal.sendline("sent")
    terminal.expect_exact("Out[4]: []")


@pytest.fixture
def console(server, env, tmp_path):
    """`jupyter console`: a terminal in front of a kernel, which shows plain text only."""
    env = {**env, "MLX_NOTEBOOK_URL": server.url, "MLX_NOTEBOOK_TOKEN": server.token}
    child = pexpect.spawn(
        sys.executable,
        ["-m", "jupyter_console", "--simple-prompt", "--JupyterConsoleApp.kernel_name=python3"],
        env={**env, "TERM": "dumb"}, cwd=str(tmp_path), encoding="utf-8", timeout=PATIENCE,
        dimensions=(40, 200),
    )  # fmt: skip
    child.expect_exact("In [1]:")
    yield child
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()


def test_jupyter_console_prints_answers_and_progress(console, server):
    console.sendline("%load_ext mlx_notebook")
    console.expect_exact("In [2]:")
    console.sendline("%chat -t 0 --max-tokens 20 Hello!")
    console.expect(r"\[tiny-chat · [^\n]* tokens.*?\]")
    assert re.search(r"[A-Z][a-z]+", console.before.split("Hello!")[-1])
    assert not re.search(r"<small>|Markdown object|\{'text", console.before)
    console.expect_exact("In [3]:")
    console.sendline("import mlx_notebook; _ = mlx_notebook.Chat().ask('Hello!', show=True)")
    console.expect(r"\[tiny-chat · [^\n]* tokens.*?\]")
    console.expect_exact("In [4]:")
    # The same model as before: the server is shared, and remembers the one that was used last.
    console.sendline("%mlx unload tiny-chat")
    console.expect_exact("In [5]:")
    console.sendline("%mlx load tiny-chat")
    console.expect(r"tiny-chat[^\n]*loaded|tiny-chat: in memory|tiny-chat is")
    console.expect_exact("In [6]:")


def test_a_terminal_gets_plain_text_and_nothing_that_it_would_obey(capsys):
    view = TerminalRenderer()
    view.begin("m")
    view.add(Delta("reasoning", "hm"))
    view.add(Delta("content", "red \x1b[31m and \x07 bell\nnext"))
    view.end(answer_of("x"))
    assert capsys.readouterr().out == "[reasoning] hm\n\nred  and  bell\nnext\n[m]\n"


HOSTILE = (
    "a\x1b[2J\x1b[31mb\x1b]0;title\x07c\x1b]8;;http://e.com\x1b\\d\x9b1me\x1bPq\x1b\\f"
    "\x1b(Bg\x08\r\x7fh\n\ti"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_raw_output_has_no_control_sequences_wherever_they_are_cut(capsys, size):
    view = RawRenderer()
    for at in range(0, len(HOSTILE), size):
        view.add(Delta("content", HOSTILE[at : at + size]))
    view.end(answer_of("x"))
    assert capsys.readouterr().out == "abcdefgh\n\ti\n"


def test_raw_output_keeps_control_sequences_that_are_wanted(capsys):
    view = RawRenderer(keep_control=True)
    view.add(Delta("content", HOSTILE))
    view.end(answer_of("x"))
    assert capsys.readouterr().out == HOSTILE + "\n"
