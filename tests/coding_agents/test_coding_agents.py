"""Each coding agent works on a task for two turns, with the settings that a notebook prints.

The programs are large, so this runs where `MLX_NOTEBOOK_REQUIRE_AGENTS=1` is set.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_notebook.notebook.connection.client_configurations import CLIENT_CONFIGURATIONS
from mlx_notebook.notebook.connection.configured_model import ConfiguredModel
from tests.coding_agents.demands import DemandingProxy
from tests.coding_agents.programs import AGENTS, LONGEST_SECONDS, Agent
from tests.hub import TINY_CHAT
from tests.server.running import RunningServer, running

pytestmark = [
    pytest.mark.slow,
    # A program is fetched first, and answers twice.
    pytest.mark.timeout(3 * LONGEST_SECONDS),
    pytest.mark.skipif(
        os.environ.get("MLX_NOTEBOOK_REQUIRE_AGENTS") != "1",
        reason="it fetches 2 GB of packages: set MLX_NOTEBOOK_REQUIRE_AGENTS=1 to have it run",
    ),
]
MODEL = "tiny-agent"
CONTEXT = 131_072
# A second turn computes what was added: a call, its result, an answer and a question.
MOST_NEW_TOKENS = 400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Start a server with the first layer of tiny-chat, which is quick at 40,000 tokens."""
    import mlx.core as mx

    folder = tmp_path_factory.mktemp("models")
    model = folder / MODEL
    shutil.copytree(TINY_CHAT, model)
    weights = mx.load(str(model / "model.safetensors"))
    first = {k: v for k, v in weights.items() if "layers." not in k or "layers.0." in k}
    mx.save_safetensors(str(model / "model.safetensors"), first)
    config = json.loads((model / "config.json").read_text())
    config |= {"num_hidden_layers": 1, "max_position_embeddings": CONTEXT}
    (model / "config.json").write_text(json.dumps(config))
    settings = {"models_dirs": [str(folder)], "default_model": MODEL}
    with running(alone=True, base_url="/", config={"MlxNotebookApp": settings}) as server:
        yield server


def configured(
    agent: Agent, server: RunningServer, proxy: DemandingProxy, home: Path
) -> dict[str, str]:
    (home / "work").mkdir()
    model = ConfiguredModel(proxy.url, f"{proxy.url}/v1", server.token, MODEL, CONTEXT)
    variables = agent.configure(home, model)
    if agent.configuration == "cline":
        command = CLIENT_CONFIGURATIONS["cline"].write(model)
        path = f"{agent.install()}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(home)}
        subprocess.run(command, shell=True, check=True, env=environment, cwd=home)
    return variables


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_calls_a_tool_in_each_turn(
    name: str, server: RunningServer, tmp_path: Path
) -> None:
    agent = AGENTS[name]
    with DemandingProxy(server.url, agent.calls) as proxy:
        variables = configured(agent, server, proxy, tmp_path)
        turns = [(), *([agent.again] if agent.again is not None else [])]
        for at, more in enumerate(turns):
            ended = agent.run(more, "Make a file with the shell.", tmp_path, variables)
            said = f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}\n{proxy.statuses}"
            # One layer may write nothing but blanks, which qwen-code calls an error.
            assert ended.returncode == 0 or "empty response text" in said, said
            assert [status for _, status in proxy.statuses if status >= 400] == [], said
            if agent.calls:
                assert (tmp_path / "work" / "made.txt").read_text() == "made\n", said
                assert len(proxy.results) > at, said
                assert "made" in proxy.results[-1], said
            else:
                assert any(path.endswith("/chat/completions") for path, _ in proxy.statuses), said
    if agent.calls:
        traces = server.client.get("mlx/traces").json()["data"]
        last = next(trace for trace in traces if trace["usage"]["cached_tokens"])
        new = last["usage"]["prompt_tokens"] - last["usage"]["cached_tokens"]
        assert new < MOST_NEW_TOKENS
