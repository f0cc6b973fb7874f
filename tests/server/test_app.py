import json
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from tests.server.running import RunningServer, running, wait_for
from tests.server.users.test_hub_identity import JUPYTERS, says_that_there_is_no_route

HEAVY = ("mlx", "mlx_lm", "mlx_vlm", "numpy", "transformers", "torch", "huggingface_hub", "PIL")


def python(code: str, *options: str) -> str:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
def test_help_is_readable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlx_notebook.server", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--model", "--models-dir", "--port", "--token", "--idle-minutes"):
        assert option in done.stdout
    assert "Default: 1234" in done.stdout
    assert "jupyter mlx-notebook --port 8001" in done.stdout
    assert not done.stderr
    assert len(done.stdout.splitlines()) < 120


def test_every_setting_has_a_help_text() -> None:
    from mlx_notebook.server.app import MlxNotebookApp

    own = MlxNotebookApp.class_own_traits(config=True)
    assert {"default_model", "max_batch", "queue_limit", "idle_unload_minutes"} <= set(own)
    for name, trait in own.items():
        assert len(trait.help) > 20, name


@pytest.mark.parametrize(
    "host",
    [
        *("https://example.com", "example.com/pictures", "*", "", "a..b", "x" * 70 + ".com"),
        *("host:99999", "host:0", "host:", "[zz]", "user@host", "two words", "[::1]:"),
    ],
)
def test_hosts_of_pictures_are_names_and_nothing_else(host: str) -> None:
    from traitlets import TraitError

    from mlx_notebook.server.app import MlxNotebookApp

    with pytest.raises(TraitError, match="lists hosts"):
        MlxNotebookApp(allow_image_urls=["example.org", host])


@pytest.mark.parametrize("value", ["on", "8 GB", "-1", ""])
def test_a_wired_limit_that_is_no_limit_is_refused(value: str) -> None:
    from traitlets import TraitError

    from mlx_notebook.server.app import MlxNotebookApp

    with pytest.raises(TraitError, match="'off', 'auto' or a number of bytes"):
        MlxNotebookApp(wired_limit=value)


@pytest.mark.slow
def test_the_command_ends_with_the_reason_if_a_setting_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text('[{"ssh": "other"}, {"ssh": "localhost"}]')
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlx_notebook.server", "--allow-root", "--port=0"),
            *("--hostfile", str(tmp_path / "hosts.json")),
        ],
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "its first host must be this machine" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("value", ["off", "auto", "8000000000"])
def test_the_engine_gets_the_wired_limit(value: str, tmp_path: Path) -> None:
    from mlx_notebook.server.app import MlxNotebookApp

    config = MlxNotebookApp(wired_limit=value).engine_config(tmp_path, debug=False)
    assert config.wired_limit == value


def test_by_itself_it_prints_how_to_use_it() -> None:
    with running(alone=True, base_url="/", token=None) as server:
        assert server.works()
        log = banner(server)
        assert f"http://localhost:{server.port}/v1" in log
        assert len(server.token) > 20
        assert f'api_key="{server.token}"' in log
        assert "from openai import OpenAI" in log
        assert "curl" in log
        assert "opened in a browser" not in log
        # Nothing but this extension, and nobody beyond this machine.
        assert server.client.get("lab").status_code == 404
        own_address = socket.gethostbyname(socket.gethostname())
        if not own_address.startswith("127."):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://{own_address}:{server.port}/health")
        assert examples_run(server) == ["tiny-chat"] * 2


def banner(server: RunningServer) -> str:
    """Wait until the server has printed how to use it; return all that it has printed."""
    wait_for(lambda: "Control-C stops it." in server.log, 60)
    return server.log


def examples_run(server: RunningServer, **env: str) -> list[str]:
    """Run what the server printed as a user who pastes it; return the models that answered."""
    log = banner(server)
    code = textwrap.dedent(log[log.index("    from openai") : log.index("    curl ")])
    code += "print(response.model)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    command = log[log.index("    curl ") : log.index("Control-C stops")].replace("\\\n", "")
    for name, value in env.items():
        command = command.replace(f"${name}", value)
    _, address, *options = shlex.split(command)
    assert options[0::2] == ["-H", "-H", "-d"]
    headers = dict(header.split(": ") for header in options[1:4:2])
    answer = httpx.post(
        address, headers=headers, content=options[5], timeout=120, trust_env=False
    ).raise_for_status()
    return [ran.stdout.split()[-1], answer.json()["model"]]


def test_the_examples_run_with_a_token_that_was_given_and_is_not_printed() -> None:
    with running(alone=True, token="a-secret-of-mine") as server:
        assert "a-secret-of-mine" not in banner(server)
        assert "export OPENAI_API_KEY=..." in server.log
        assert examples_run(server, OPENAI_API_KEY="a-secret-of-mine") == ["tiny-chat"] * 2


def test_by_itself_it_reads_jupyters_configuration() -> None:
    """What that says of models and of the token; the rest, as the port, is Jupyter's own."""
    config = {
        "MlxNotebookApp": {"default_model": "tiny-vision", "max_batch": 3},
        "IdentityProvider": {"token": "from-the-file"},
        "ServerApp": {"port": 1, "base_url": "/elsewhere/"},
    }
    options = ("--MlxNotebookApp.max_batch=5",)
    with running(alone=True, token=None, config=config, options=options) as server:
        assert server.token == "from-the-file"
        assert server.url.endswith("/nb/")
        status = server.status()
        assert status["default_model"] == "tiny-vision"
        assert status["queue"]["batch"] == 5
    with running(alone=True, token="from-the-command-line", config=config) as server:
        assert server.token == "from-the-command-line"
        assert server.status()["queue"]["batch"] == 3


def test_a_file_that_the_command_line_names_stands_in_place_of_jupyters(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("c.MlxNotebookApp.max_batch = 7")
    config = {"MlxNotebookApp": {"max_batch": 3, "default_model": "tiny-vision"}}
    with running(alone=True, config=config, options=(f"--config={file}",)) as server:
        status = server.status()
        assert status["queue"]["batch"] == 7
        assert status["default_model"] == "tiny-chat"


def test_the_examples_name_a_model_that_is_here(tmp_path: Path) -> None:
    (tmp_path / "mlx_notebook").mkdir()
    (tmp_path / "mlx_notebook" / "last_model").write_text("org/elsewhere")
    env = {"JUPYTER_DATA_DIR": str(tmp_path)}
    with running(alone=True, token=None, env=env) as server:
        assert examples_run(server) == ["tiny-chat"] * 2
        assert "org/elsewhere" not in server.log
    options = ("--model=org/missing",)
    with running(alone=True, token=None, options=options) as server:
        assert "The default model 'org/missing' is not on this machine" in banner(server)
        assert examples_run(server) == ["tiny-chat"] * 2


def test_the_root_page_says_what_this_is(server: RunningServer) -> None:
    with running(alone=True, base_url="/") as alone:
        page = httpx.get(alone.url, trust_env=False)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f"Base URL: <code>{alone.url}v1</code>" in page.text
        assert alone.token not in page.text
        for link in re.findall('href="([^"]+)"', page.text):
            assert alone.client.get(link).status_code == 200
    assert "<h1>mlx-notebook</h1>" not in server.client.get("", follow_redirects=True).text


def test_the_token_of_a_server_of_models_opens_no_files_and_starts_no_kernels() -> None:
    with running(alone=True) as server:
        for route in JUPYTERS:
            method, path = route.split()
            if path not in ("api", "api/shutdown", "login", "metrics", "static/style/a"):
                answer = server.client.request(method, path, json={})
                assert answer.status_code == 404, (route, answer.text)
                assert says_that_there_is_no_route(answer)
        above = httpx.get(f"http://127.0.0.1:{server.port}/api/kernels", headers=server.headers)
        assert above.status_code == 404
        assert server.client.get("api/status").status_code == 200
        login = httpx.get(f"{server.url}login", trust_env=False)
        assert login.status_code == 200
        for style in re.findall('href="([^"]+\\.css[^"]*)"', login.text):
            assert httpx.get(f"http://127.0.0.1:{server.port}{style}").status_code == 200
        # `jupyter server stop` does this.
        assert server.client.post("api/shutdown").status_code == 200
        assert server.process.wait(60) == 0


def test_a_port_in_use_is_told_and_another_one_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(alone=True, port=port) as server:
            assert server.port != port
            assert f"Port {port} is in use" in banner(server)
            assert f":{server.port}/" in server.log


def test_the_engine_starts_with_the_first_request_in_an_environment_of_its_own() -> None:
    import psutil

    settings = {"engine_env": {"MY_SETTING": "1"}}
    with running(
        config={"MlxNotebookApp": settings}, token=None, env={"JUPYTER_TOKEN": "from-environment"}
    ) as server:
        assert server.token == "from-environment"
        assert server.status()["engine"]["state"] == "stopped"
        assert server.client.get("health").status_code == 200
        assert server.status()["engine"]["state"] == "stopped"
        # A module in the working directory does not become the engine's.
        (server.folder / "numpy.py").write_text("raise SystemExit('not this one')")
        assert server.works()
        assert server.status()["engine"]["state"] == "running"
        environment = psutil.Process(server.engine_pid()).environ()
        assert environment["MY_SETTING"] == "1"
        assert "from-environment" not in json.dumps(environment)


@pytest.mark.slow
def test_it_works_in_a_server_that_runs_inside_another_program() -> None:
    case = Path(__file__).with_name("embedded.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", str(case)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_neither_the_extension_nor_its_process_imports_the_heavy_libraries(
    server: RunningServer,
) -> None:
    code = f"""
import sys, jupyter_server.serverapp
before = set(sys.modules)
import mlx_notebook
mlx_notebook._jupyter_server_extension_points()
print([name for name in {HEAVY!r} if name in sys.modules and name not in before])
"""
    assert python(code).strip() == "[]"
    assert server.works()
    maps = f"/proc/{server.process.pid}/maps"
    if os.path.exists(maps):
        with open(maps) as file:
            libraries = file.read()
        assert "/mlx/" not in libraries
        assert "/numpy/" not in libraries


def test_loading_the_extension_imports_few_modules() -> None:
    code = """
import sys
from jupyter_server.extension.application import ExtensionApp
import jupyter_server.base.handlers
before = set(sys.modules)
import mlx_notebook
mlx_notebook._jupyter_server_extension_points()
print(*sorted(set(sys.modules) - before))
"""
    loaded = python(code).split()
    assert "mlx_notebook.server.app" in loaded
    # Each costs half a millisecond of Jupyter's start; the routes load their parts when asked.
    assert len(loaded) < 160, loaded
