"""`%mlx connect`: real kernels with no Jupyter server above them, and a server elsewhere."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.notebook.jupyter import JupyterServer
from tests.notebook.weather import Weather


@pytest.fixture
def quiet(start_kernel, server):
    """Start kernels that load the extension without a server of their own."""

    def start(**extra):
        kernel = start_kernel(**extra)
        # The server must not be found by itself: it is to be on another machine.
        kernel.run("from mlx_notebook.notebook.connection import connection as _c")
        kernel.run("def _refuse(): raise _c.NoServer('nothing found')\n_c._start = _refuse")
        kernel.loaded = kernel.run("%load_ext mlx_notebook").stdout
        return kernel

    return start


def error_of(kernel, code, **how):
    cell = kernel.run(code, check=False, **{"reading": 0.1, **how})
    assert cell.status == "error", cell
    assert cell.traceback == [f"{cell.ename}: {cell.evalue}"]
    return cell.ename, cell.evalue


def everything_written(env, token):
    """The files in which the token stands."""
    home = Path(env["JUPYTER_DATA_DIR"]).parent
    return [
        file.relative_to(home).as_posix()
        for file in home.rglob("*")
        if file.is_file() and token.encode() in file.read_bytes()
    ]


def test_a_token_is_asked_for_once_and_new_notebooks_need_none(quiet, server, env):
    first = quiet()
    assert first.loaded == "mlx_notebook: nothing found\n"
    page = server.url + "lab/tree/Untitled.ipynb"
    cell = first.run(f"%mlx connect {page} --name studio", answers=[server.token], reading=0.1)
    assert (len(cell.asked), cell.hidden) == (1, [True])
    assert cell.asked[0].startswith("Token of 127.0.0.1:")
    connected, note = cell.stdout.splitlines()
    assert f"connected to {server.url} (studio); model tiny-chat" in connected
    assert "which only you can read" in note
    assert "`%mlx connect studio` is enough" in note
    assert server.token not in cell.stdout
    first.run("%%chat -t 0 --max-tokens 5\nHello!")
    assert server.token not in first.value("[*In, *map(str, Out.values())]")

    file = Path(env["JUPYTER_DATA_DIR"]) / "mlx_notebook" / "servers.json"
    assert everything_written(env, server.token) == ["data/mlx_notebook/servers.json"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    second = quiet()
    assert second.loaded == "mlx_notebook: nothing found\n"
    assert "(studio)" in second.run("%mlx connect studio --default").stdout
    assert "connect" in second.complete("%mlx con")
    assert "studio" in second.complete("%mlx connect st")
    assert "--forget" in second.complete("%mlx connect --f")
    third = quiet()
    assert f"connected to {server.url} (studio, your default)" in third.loaded
    (table,) = third.run("%mlx connect").outputs
    assert table["text/plain"].splitlines()[1].split() == [
        "studio", server.url, "in", "use,", "answers,", "default", "in", "a", "file",
    ]  # fmt: skip
    assert error_of(third, "%mlx connect --local")[1] == "nothing found"
    assert "forgotten" in third.run("%mlx connect --forget studio").stdout
    assert everything_written(env, server.token) == []


def test_a_refused_token_is_asked_for_again_and_an_interrupt_stores_nothing(quiet, server, env):
    kernel = quiet()
    cell = kernel.run(f"%mlx connect {server.url}v1", answers=["wrong", server.token], reading=0.1)
    assert cell.hidden == [True, True]
    assert f"{server.url} refused this token.\n" in cell.stdout
    assert "connected to" in cell.stdout

    # The token was changed on the server since it was stored.
    file = Path(env["JUPYTER_DATA_DIR"]) / "mlx_notebook" / "servers.json"
    kept = json.loads(file.read_text())
    kept["servers"][0]["token"] = "old"
    file.write_text(json.dumps(kept))
    cell = kernel.run(f"%mlx connect {server.url}", answers=[server.token], reading=0.1)
    assert f"{server.url} refused the stored token." in cell.stdout
    assert json.loads(file.read_text())["servers"][0]["token"] == server.token

    kernel.run("%mlx connect --forget 127.0.0.1")
    ename, _ = error_of(kernel, f"%mlx connect {server.url}", answers=["1", "2", "3"])
    assert ename == "NotAuthorized"
    ename, said = error_of(kernel, f"%mlx connect {server.url}")
    assert (ename, said.endswith("nobody can be asked here: set MLX_NOTEBOOK_TOKEN.")) == (
        "NotAuthorized", True,
    )  # fmt: skip
    ename, said = error_of(
        kernel, f"%mlx connect {server.url}", answers=["x"], reading=4, interrupt_after=2
    )
    assert ename == "Interrupted"
    assert json.loads(file.read_text())["servers"] == []


def test_the_variables_come_first_and_another_server_does_not_get_their_token(quiet, server, env):
    kernel = quiet(MLX_NOTEBOOK_TOKEN=server.token)
    cell = kernel.run(f"%mlx connect {server.url} --default")
    assert "Nothing is stored, because the token comes from MLX_NOTEBOOK_TOKEN." in cell.stdout
    assert everything_written(env, server.token) == []

    with Weather(server.url) as other:
        kernel = quiet(MLX_NOTEBOOK_TOKEN=server.token, MLX_NOTEBOOK_URL=other.url)
        assert "(named by MLX_NOTEBOOK_URL)" in kernel.loaded
        cell = kernel.run(f"%mlx connect {server.url}", answers=[server.token], reading=0.1)
        assert len(cell.asked) == 1


def test_what_cannot_be_connected_is_one_sentence(quiet, server):
    kernel = quiet()
    for code, said in (
        ("%mlx connect studio", "There is no server called 'studio'"),
        ("%mlx connect --name x", "name a server"),
        ("%mlx connect --local x", "--local takes no server"),
        ("%mlx connect --forget x", "There is no known server 'x'"),
        ("%mlx connect localhost:8888", "is not an http:// or https:// address"),
        ("%mlx connect http://127.0.0.1:9", "is 9 its port"),
        ("%mlx connect http://no-such-host.invalid", "'no-such-host.invalid' can be found"),
        (f"%mlx connect {server.url} --name a/b", "is not a name"),
        (f"%mlx connect {server.url.replace('://', '://me:pw@')}", "leave them out"),
        (f"%mlx connect {server.url.partition('/a%40b')[0]}", "is not an mlx-notebook server"),
    ):
        assert said in error_of(kernel, code)[1]
    cell = kernel.run(f"%mlx connect {server.url}?token={server.token}")
    assert "The token stands in this cell" in cell.stdout
    assert os.linesep.join(cell.asked) == ""


def test_without_encryption_a_token_is_sent_only_when_the_user_says_so(
    quiet, server, tmp_path_factory
):
    kernel = quiet()
    # It leads here, and does not look like an address of this machine.
    elsewhere = server.url.replace("127.0.0.1", "0.0.0.0")
    ename, said = error_of(kernel, f"%mlx connect {elsewhere}")
    assert (ename, "does not accept the host name" in said) == ("NotAuthorized", True)
    remote = JupyterServer(
        tmp_path_factory.mktemp("elsewhere"), "--ServerApp.allow_remote_access=True"
    )
    url = remote.url.replace("127.0.0.1", "0.0.0.0")
    try:
        ename, said = error_of(kernel, f"%mlx connect {url}", answers=[remote.token], reading=0.1)
        assert ename == "BadMagic"
        assert "has no encryption" in said
        assert "run `ssh -N -L " in said
        cell = kernel.run(f"%mlx connect {url} --allow-http", answers=[remote.token], reading=0.1)
        assert "(0.0.0.0), without encryption; model tiny-chat" in cell.stdout
        kernel.run("%%chat --max-tokens 3\nHello!")
        (table,) = kernel.run("%mlx connect").outputs
        assert "sent in the clear" in table["text/plain"]
        assert "connected to" in kernel.run("%mlx connect 0.0.0.0").stdout
    finally:
        remote.stop()


def test_what_another_program_needs_is_printed_and_the_token_only_when_asked_for(kernel, server):
    shown = kernel.run("%mlx connect --print jupyter-ai").stdout
    assert shown.startswith("Into jupyter_ai/config.json in Jupyter's data directory")
    assert "YOUR_TOKEN" in shown
    assert server.token not in shown
    written = json.loads(shown[shown.index("{") :])
    assert written["fields"]["openai/tiny-chat"]["api_base"] == server.url + "v1"
    shown = kernel.run("%mlx connect --print openai --with-token").stdout
    assert shown.splitlines()[-1] == f"export OPENAI_API_KEY={server.token}"
    for code, said in (
        ("%mlx connect --print vim", "does not know 'vim'. It knows: jupyter-ai, "),
        ("%mlx connect --with-token", "--with-token belongs to --print"),
        ("%mlx connect studio --print openai", "--print is about the server that this notebook"),
    ):
        assert said in error_of(kernel, code)[1]
