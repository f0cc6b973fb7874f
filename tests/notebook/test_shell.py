"""What a frontend shows is told by its request."""

from types import SimpleNamespace

import pytest

from mlx_notebook.notebook import shell
from mlx_notebook.notebook.shell import shows_rich_output

TERMINAL = {"msg_id": "0123abcd_4711_3"}
BROWSER = {"msg_id": "0123abcd-0000-4000-8000-000000000000"}


def frontend(*, kernel=True, stdin=True, metadata=None, header=TERMINAL):
    request = {"content": {"allow_stdin": stdin}, "metadata": metadata or {}, "header": header}
    return SimpleNamespace(kernel=object() if kernel else None, parent_header=request)


@pytest.mark.parametrize(
    ("running", "rich"),
    [
        (None, False),
        (frontend(kernel=False), False),
        (frontend(), False),
        (frontend(header=BROWSER), True),
        (frontend(metadata={"cellId": "1"}), True),
        (frontend(stdin=False), True),
    ],
    ids=["script", "ipython", "console", "browser", "named cell", "nbclient"],
)
def test_notebooks_show_rich_output_and_terminals_do_not(monkeypatch, running, rich):
    monkeypatch.setattr(shell, "shell", lambda: running)
    assert shows_rich_output() is rich


def test_there_is_no_shell_in_a_plain_script(monkeypatch):
    monkeypatch.setattr(shell.sys, "modules", {})
    assert shell.shell() is None
    assert shell.cell_number() is None
    assert not shell.in_kernel()
