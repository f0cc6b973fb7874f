import json
import threading
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from mlx_notebook.server.telemetry.engine_telemetry import EngineTelemetry
from tests.server.running import HELLO, RunningServer, running, wait_for


def test_health_is_ok(server: RunningServer) -> None:
    response = server.client.get("health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


def test_the_status_tells_of_engine_models_and_totals(server: RunningServer) -> None:
    assert server.works()
    time.sleep(1.2)
    status = server.status()
    engine = status["engine"]
    assert engine["state"] == "running"
    assert engine["pid"] > 0
    assert engine["uptime"] > 0
    assert set(engine["versions"]) == {"mlx", "mlx-lm", "mlx-vlm"}
    [model] = [m for m in status["models"] if m["id"] == server.chat().json()["model"]]
    assert model["bytes"] > 0
    assert model["context_length"] > 0
    assert status["totals"]["generated_tokens"] >= 4
    assert status["totals"]["prompt_tokens"] > 0
    assert status["memory"]["active"] > 0
    assert status["memory"]["wired_limit"] == 0
    assert status["prefix_disk"]["limit"] == 4 * 2**30
    assert status["prefix_disk"]["written"] >= 0
    assert status["queue"]["batch"] == 8
    assert status["queue"]["limit"] == 8


def test_the_history_has_a_point_a_second(server: RunningServer) -> None:
    points = wait_for(lambda: (found := server.status()["history"])[3:] and found, 10)
    assert len(points) <= 120
    gaps = [b["time"] - a["time"] for a, b in pairwise(points)]
    assert sum(gaps) / len(gaps) == pytest.approx(1, abs=0.3)


def test_the_history_is_sent_until_it_is_at_rest(server: RunningServer) -> None:
    server.works()
    ended = time.time()
    with server.client.stream("GET", "mlx/events") as response:
        for line in response.iter_lines():
            assert time.time() - ended < 30, "the last history that was sent is an old one"
            if line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))["history"][-1]
                if last["time"] > ended + 5:
                    break
    assert (last["active"], last["decode"], last["prefill"]) == (0, 0, 0)


def test_a_history_of_equal_points_is_not_sent_again() -> None:
    telemetry = EngineTelemetry()
    for _ in range(3):
        telemetry.sample(0)
    assert not telemetry.is_moving
    telemetry.sample(1)
    assert telemetry.is_moving
    for _ in range(120):
        telemetry.sample(0)
    assert not telemetry.is_moving


def test_a_live_request_is_seen_and_can_be_cancelled(server: RunningServer) -> None:
    body = {
        "messages": HELLO,
        "max_tokens": 30000,
        "ignore_eos": True,
        "model": "long",
        "stream": True,
    }
    with server.client.stream("POST", "v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        # A server that is slow to load the model sends comments first.
        data = next(line for line in lines if line.startswith("data: "))
        first = json.loads(data.removeprefix("data: "))

        def live() -> Any:
            found = [r for r in server.status()["requests"] if r["id"] == first["id"]]
            # A speed is told once there is a twentieth of a second to tell it of.
            return found[0] if found and found[0]["tokens_per_second"] > 0 else None

        request = wait_for(live, 10)
        assert request["phase"] == "decode"
        assert request["model"] == "long"
        assert request["prompt_tokens"] > 0
        assert request["generated_tokens"] > 0
        cancelled = server.client.post(f"mlx/cancel/{first['id']}")
        assert cancelled.json() == {"id": first["id"], "cancelled": True}
        rest = [line for line in lines if line]
    assert rest[-2] == "event: error"
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "request_cancelled"
    assert not any('finish_reason":"stop' in line for line in rest)
    assert server.client.post(f"mlx/cancel/{first['id']}").status_code == 404
    server.wait_until_idle()


def test_a_whole_answer_that_is_cancelled_is_no_answer(server: RunningServer) -> None:
    def cancel() -> None:
        [request] = wait_for(lambda: server.status()["requests"], 10)
        httpx.post(f"{server.url}mlx/cancel/{request['id']}", headers=server.headers)

    server.wait_until_idle()
    thread = threading.Thread(target=cancel)
    thread.start()
    response = server.chat(max_tokens=30000, ignore_eos=True, model="long")
    thread.join()
    assert response.status_code == 499
    assert response.json()["error"]["code"] == "request_cancelled"


def test_events_come_when_something_changes_and_at_most_four_a_second(
    server: RunningServer,
) -> None:
    server.wait_until_idle()
    time.sleep(2.5)
    seen: list[tuple[float, dict[str, Any]]] = []
    began = time.monotonic()
    with server.client.stream("GET", "mlx/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        worker = threading.Timer(2.0, lambda: server.chat(max_tokens=150, ignore_eos=True))
        worker.start()
        for line in response.iter_lines():
            if line.startswith("data: "):
                seen.append((time.monotonic() - began, json.loads(line.removeprefix("data: "))))
            if len(seen) > 2 and seen[-1][1]["requests"] == []:
                break
        worker.join()
    at, first = seen[0]
    assert at < 1
    assert first.keys() == server.status().keys()
    # The history alone is sent once a second. On a loaded machine an earlier one may come late.
    idle = [t for t, _ in seen if 0.1 < t < 1.9]
    assert len(idle) <= 3
    busy = [status for _, status in seen if status["requests"]]
    assert busy
    # Several may arrive together then, but no more are sent.
    assert len(seen) <= 4 * seen[-1][0] + 2


def test_asking_for_the_status_is_no_activity() -> None:
    with running() as server:
        server.works()
        before = server.client.get("api/status", params={"no_track_activity": "1"}).json()
        time.sleep(0.05)
        for path in ("mlx/status", "health", "v1/models", "v1/openapi.json"):
            server.client.get(path).raise_for_status()
        after = server.client.get("api/status", params={"no_track_activity": "1"}).json()
        assert before["last_activity"] == after["last_activity"]
        server.works()
        after = server.client.get("api/status", params={"no_track_activity": "1"}).json()
        assert before["last_activity"] < after["last_activity"]
