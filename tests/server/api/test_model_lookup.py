"""Requests that name a model which is not here yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, Repository, hub, tiny_chat
from tests.server.running import HELLO, RunningServer, running

HELD = 2_000_000


@pytest.fixture(scope="module")
def the_hub() -> Iterator[Hub]:
    with hub() as running_hub:
        yield running_hub


@pytest.fixture(scope="module")
def server(the_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"auto_download": True, "keep_alive_seconds": 0.2}
    home = tmp_path_factory.mktemp("hf")
    with running(config={"MlxNotebookApp": settings}, env=the_hub.env(home)) as server:
        yield server


def fresh(the_hub: Hub, name: str) -> str:
    the_hub.models[name] = Repository.of({**tiny_chat(), "README.md": name.encode()})
    return name


def test_it_is_downloaded_for_the_request(the_hub: Hub, server: RunningServer) -> None:
    name = fresh(the_hub, "org/asked")
    response = server.chat(model=name)
    assert response.status_code == 200
    assert response.json()["model"] == name


def test_a_stream_is_kept_alive_by_comments_meanwhile(the_hub: Hub, server: RunningServer) -> None:
    name = fresh(the_hub, "org/streamed")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    body = {"model": name, "messages": HELLO, "max_tokens": 4, "stream": True}
    with server.client.stream("POST", "v1/chat/completions", json=body) as response:
        lines = []
        for line in response.iter_lines():
            lines.append(line)
            if line.startswith(f": downloading {name} "):
                the_hub.released.set()
    the_hub.hold_after = None
    assert the_hub.released.is_set()
    assert lines[-2:] == ["data: [DONE]", ""]


def test_what_fails_in_mid_stream_is_an_event(the_hub: Hub, server: RunningServer) -> None:
    name = fresh(the_hub, "org/cancelled")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    body = {"model": name, "messages": HELLO, "stream": True}
    with server.client.stream("POST", "v1/chat/completions", json=body) as response:
        seen = response.iter_lines()
        while not next(seen).startswith(": downloading"):
            pass
        server.client.post("mlx/models/cancel", json={"model": name}).raise_for_status()
        rest = "\n".join(seen)
    the_hub.hold_after = None
    the_hub.released.set()
    assert response.status_code == 200
    assert rest.count("event: error") == 1
    assert "download_cancelled" in rest


def test_what_is_nowhere_is_not_found(server: RunningServer) -> None:
    for name in ("org/nonesuch", "nonesuch", "../x", "/etc/passwd"):
        response = server.chat(model=name)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_an_embedding_model_comes_too(the_hub: Hub, server: RunningServer) -> None:
    name = fresh(the_hub, "org/embedding")
    body = {"model": name, "input": "hello"}
    assert server.client.post("v1/embeddings", json=body).status_code == 200


def test_without_the_setting_the_error_says_how_to_get_it(the_hub: Hub, tmp_path: Path) -> None:
    name = fresh(the_hub, "org/unwanted")
    with running(env=the_hub.env(tmp_path)) as server:
        error = server.chat(model=name).json()["error"]
    assert error["code"] == "model_not_found"
    assert f"`%mlx load {name}`" in error["message"]
    assert f"/{name}/resolve" not in "".join(the_hub.seen)
