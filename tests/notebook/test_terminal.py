"""`ipython` in a terminal: plain text, and Ctrl-C stops the model."""

import re
import sys

import pexpect
import pytest

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
    terminal.sendintr()
    terminal.expect(r"\[tiny-chat · [^\n]*interrupted\]")
    terminal.expect_exact("Interrupted: the model was stopped; what it said so far is kept.")
    terminal.expect_exact("In [3]:")
    wait_for(lambda: not server.status()["requests"], 2, "the server to stop generating")
