import contextlib
import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.server.running import HELLO, RunningServer, running, wait_for


def listed(server: RunningServer) -> dict[str, Any]:
    models = server.client.get("mlx/models").raise_for_status().json()["models"]
    return {model["id"]: model for model in models}


def load(server: RunningServer, model: str) -> None:
    httpx.post(
        f"{server.url}mlx/models/load", headers=server.headers, json={"model": model}, timeout=60
    ).raise_for_status()


def test_all_models_are_listed_the_default_one_first(server: RunningServer) -> None:
    assert server.chat(model="tiny-chat").status_code == 200
    listed = server.client.get("v1/models").json()
    assert listed["object"] == "list"
    models = {model["id"]: model for model in listed["data"]}
    assert set(models) >= {"tiny-chat", "short", "org/other"}
    first = listed["data"][0]
    assert first["id"] == "tiny-chat"
    assert first["default"]
    assert first["source"] == "embedded"
    assert models["short"]["context_window"] == 64
    for model in models.values():
        assert model["object"] == "model"
        assert model["owned_by"] == "local"
        assert model["created"] > 0


def test_a_model_is_found_by_a_name_with_a_slash(server: RunningServer) -> None:
    for path in ("v1/models/org/other", "v1/models/org%2Fother"):
        assert server.client.get(path).json()["id"] == "org/other"


def test_a_model_that_is_not_there_is_told(server: RunningServer) -> None:
    for name in ("nonesuch", "../../etc", "..%2F..%2Fetc", "%2Fetc%2Fpasswd"):
        response = server.client.get(f"v1/models/{name}")
        assert response.status_code == 404
        if name != "../../etc":  # the client itself resolves the dots there
            assert response.json()["error"]["code"] == "model_not_found"


def test_a_model_is_loaded_and_unloaded_on_order(server: RunningServer) -> None:
    def resident() -> list[str]:
        return [model["id"] for model in server.status()["models"]]

    loaded = server.client.post("mlx/models/load", json={"model": "alias"}).json()
    assert loaded["model"] == "org/other"
    assert loaded["bytes"] > 0
    assert loaded["context_length"] == 2048
    again = server.client.post("mlx/models/load", json={"model": "org/other"}).json()
    assert again["seconds"] == 0
    wait_for(lambda: "org/other" in resident(), 5)
    state = server.client.get("v1/models/org/other").json()["state"]
    assert state == "loaded"
    server.wait_until_idle()
    freed = server.client.post("mlx/models/unload", json={"model": "org/other"}).json()
    assert freed["freed"] > 0
    wait_for(lambda: "org/other" not in resident(), 5)
    freed = server.client.post("mlx/models/unload", json={"model": "org/other"}).json()
    assert freed["freed"] == 0


def test_a_model_whose_files_are_gone_can_still_be_unloaded(
    server: RunningServer, models_dir: Path
) -> None:
    shutil.copytree(models_dir / "short", models_dir / "going")
    server.client.post("mlx/models/load", json={"model": "going"}).raise_for_status()
    wait_for(lambda: "going" in [model["id"] for model in server.status()["models"]], 5)
    shutil.rmtree(models_dir / "going")
    assert server.chat(model="going").status_code == 404
    freed = server.client.post("mlx/models/unload", json={"model": "going"}).json()
    assert freed["freed"] > 0
    assert server.client.post("mlx/models/unload", json={"model": "going"}).status_code == 404


def test_an_order_to_load_is_carried_out_though_its_client_left(server: RunningServer) -> None:
    server.wait_until_idle()
    server.client.post("mlx/models/unload", json={"model": "org/other"})
    with contextlib.suppress(httpx.ReadTimeout):
        server.client.post("mlx/models/load", json={"model": "org/other"}, timeout=0.05)
    wait_for(lambda: "org/other" in [model["id"] for model in server.status()["models"]], 20)


def test_an_order_for_a_model_that_is_not_there_is_refused(server: RunningServer) -> None:
    for path in ("mlx/models/load", "mlx/models/unload"):
        assert server.client.post(path, json={"model": "nonesuch"}).status_code == 404
        assert server.client.post(path, json={}).status_code == 400
        assert server.client.post(path, json={"model": ""}).status_code == 400


def test_the_catalog_tells_all_about_each_model(server: RunningServer) -> None:
    server.client.post("mlx/models/load", json={"model": "tiny-chat"}).raise_for_status()
    listed = server.client.get("mlx/models").raise_for_status().json()
    models = {model["id"]: model for model in listed["models"]}
    tiny, other = models["tiny-chat"], models["org/other"]
    assert tiny["state"] == "resident"
    assert tiny["source"] == "embedded"
    assert set(tiny["capabilities"]) >= {"chat", "tools", "reasoning"}
    assert tiny["fits"] is True
    assert tiny["why_not"] is tiny["error"] is tiny["progress"] is None
    assert other["aliases"] == ["alias"]
    assert other["context_length"] == 2048
    assert other["architecture"] == "qwen3"
    assert other["bytes_on_disk"] > 10_000
    assert other["memory_bytes"] > 10_000
    assert listed["budget"]["used"] > 0
    assert listed["budget"]["limit"] > listed["budget"]["used"]


def test_a_load_is_streamed(server: RunningServer) -> None:
    order = {"model": "alias", "stream": True}
    with server.client.stream("POST", "mlx/models/load", json=order) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in response.iter_lines() if line[:6] == "data: "]
    first, last = events[0], events[-1]
    assert first.pop("total") > 10_000
    assert first == {"model": "org/other", "phase": "loading", "done": 0, "seconds_left": None}
    assert last["phase"] == "done"
    assert last["model"] == "org/other"
    assert last["bytes"] > 0


def test_a_model_is_pinned_and_let_go_again(server: RunningServer) -> None:
    def pinned() -> list[str]:
        return [model["id"] for model in server.status()["models"] if model["pinned"]]

    server.client.post("mlx/models/load", json={"model": "alias", "pin": True}).raise_for_status()
    wait_for(lambda: pinned() == ["org/other"], 5)
    models = {model["id"]: model for model in server.client.get("mlx/models").json()["models"]}
    assert models["org/other"]["pinned"]
    order = {"model": "org/other", "pinned": False}
    answer = server.client.post("mlx/models/pin", json=order).json()
    assert answer == {"model": "org/other", "pinned": False}
    wait_for(lambda: pinned() == [], 5)
    server.client.post("mlx/models/unload", json={"model": "short"}).raise_for_status()
    error = server.client.post("mlx/models/pin", json={"model": "short"}).json()["error"]
    assert "load it first" in error["message"]


def test_a_load_that_a_request_caused_can_be_cancelled(models_dir: Path) -> None:
    config = {"MlxNotebookApp": {"models_dirs": [str(models_dir)], "max_resident": 1}}
    talk = {"messages": HELLO, "model": "long", "max_tokens": 30000, "ignore_eos": True}
    with running(config=config) as server:
        client = server.client
        cancel = {"model": "short"}
        with (
            client.stream("POST", "v1/chat/completions", json={**talk, "stream": True}) as busy,
            ThreadPoolExecutor() as pool,
        ):
            chunks = busy.iter_raw()  # let go of, it would close the connection
            # A server that is slow to load the model sends comments first.
            assert any(b"data: " in chunk for chunk in chunks)
            waiting = pool.submit(server.chat, model="short")
            counted = pool.submit(
                client.post, "tokenize", json={"model": "short", "content": "Hello!"}
            )
            wait_for(lambda: "short" in server.status()["loading"], 10)
            wait_for(lambda: len(server.status()["requests"]) == 2, 10)
            # A model that answers is not being loaded.
            assert client.post("mlx/models/cancel", json={"model": "long"}).status_code == 404
            answer = client.post("mlx/models/cancel", json=cancel).json()
            assert answer == {"model": "short", "cancelled": "loading"}
            for response in (waiting.result(10), counted.result(10)):
                assert response.status_code == 499
                error = response.json()["error"]
                assert (error["code"], error["param"]) == ("request_cancelled", "model")
                assert "Loading the model 'short' was cancelled." in error["message"]
            # The engine tells what it loads some time later.
            wait_for(lambda: client.post("mlx/models/cancel", json=cancel).status_code == 404, 10)
            assert server.status()["loading"] == []
        assert server.chat(model="short").status_code == 200


def test_an_order_to_load_that_waits_for_memory_can_be_cancelled(models_dir: Path) -> None:
    config = {"MlxNotebookApp": {"models_dirs": [str(models_dir)], "max_resident": 1}}
    talk = {"messages": HELLO, "model": "long", "max_tokens": 30000, "ignore_eos": True}
    order = {"model": "short", "stream": True}
    with running(config=config) as server:
        client = server.client
        with client.stream("POST", "v1/chat/completions", json={**talk, "stream": True}) as busy:
            chunks = busy.iter_raw()  # let go of, it would close the connection
            # A server that is slow to load the model sends comments first.
            assert any(b"data: " in chunk for chunk in chunks)
            with client.stream("POST", "mlx/models/load", json=order) as response:
                lines = response.iter_lines()
                assert json.loads(next(lines)[6:])["phase"] == "loading"
                wait_for(lambda: "short" in server.status()["loading"], 5)
                short = listed(server)["short"]
                assert short["state"] == "loading"
                assert short["progress"]["done"] == 0
                assert short["progress"]["total"] > 10_000
                answer = client.post("mlx/models/cancel", json={"model": "short"}).json()
                assert answer == {"model": "short", "cancelled": "loading"}
                *_, last, _ = lines
        assert json.loads(last[6:])["error"]["code"] == "request_cancelled"
        wait_for(lambda: server.status()["loading"] == [], 5)
        # An engine that is not there yet, or does not answer, tells of no loading.
        engine = server.engine_pid()
        os.kill(engine, signal.SIGSTOP)
        asked = threading.Thread(target=lambda: load(server, "short"))
        asked.start()
        try:
            short = wait_for(lambda: (m := listed(server)["short"])["progress"] and m, 20)
            assert (short["state"], short["progress"]["done"]) == ("loading", 0)
            assert short["progress"]["total"] > 10_000
            assert server.status()["loading"] == ["short"]
            # An order is no request: the chart of them says so too.
            ordered = time.time()
            wait_for(lambda: server.status()["history"][-1]["time"] > ordered + 1, 20)
            assert server.status()["history"][-1]["active"] == 0
        finally:
            os.kill(engine, signal.SIGCONT)
        asked.join()
        assert listed(server)["short"]["state"] == "resident"
