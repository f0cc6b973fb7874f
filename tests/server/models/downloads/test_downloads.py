"""Downloads through the real huggingface_hub, from a stand-in of the hub."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlx_notebook.server.models.downloads import hub_download
from tests.hub import TOKEN, Hub, Repository, etag, hub, tiny_chat
from tests.server.running import RunningServer, running, wait_for
from tests.server.users.identities import token_of

HELD = 2_000_000
"""Where transfers are held, in bytes."""


@pytest.fixture(scope="module")
def the_hub() -> Iterator[Hub]:
    with hub() as running_hub:
        yield running_hub


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf") / "hub"


@pytest.fixture(scope="module")
def downloader(the_hub: Hub, cache: Path) -> Iterator[RunningServer]:
    with running(env=the_hub.env(cache.parent)) as server:
        yield server


@pytest.fixture(autouse=True)
def _willing(the_hub: Hub) -> Iterator[None]:
    """A hub that holds nothing back, whatever the test before did to it."""
    yield
    the_hub.released.set()
    the_hub.hold_after = the_hub.break_after = None
    the_hub.fails_with = 0


def fresh(the_hub: Hub, name: str, **changes: bytes) -> str:
    """A model of that name on the hub, which nobody has downloaded yet."""
    files = {**tiny_chat(), "evil.py": b"import os", "weights.bin": b"pickle"}
    # So that its blobs are its own.
    files["README.md"] = name.encode()
    the_hub.models[name] = Repository.of({**files, **changes})
    the_hub.sent.clear()
    return name


def states(server: RunningServer) -> dict[str, Any]:
    return {model["id"]: model for model in server.client.get("mlx/models").json()["models"]}


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def processes(server: RunningServer) -> list[psutil.Process]:
    def downloads(child: psutil.Process) -> bool:
        try:
            return "mlx_notebook.server.models.downloads.hub_download" in child.cmdline()
        except psutil.Error:
            return False  # it has just ended

    return list(filter(downloads, psutil.Process(server.process.pid).children(recursive=True)))


def test_a_model_is_downloaded_and_answers(
    the_hub: Hub, downloader: RunningServer, cache: Path
) -> None:
    name = fresh(the_hub, "org/whole")
    assert name not in states(downloader)
    answer = downloader.client.post("mlx/models/download", json={"model": name}).json()
    files = the_hub.models[name].commits[answer["revision"]]
    wanted = {file for file in files if file.endswith((".json", ".safetensors", ".jinja"))}
    assert answer["bytes"] == answer["fetched"] == sum(len(files[file]) for file in wanted)
    assert set(the_hub.sent) == wanted
    snapshot = next(cache.glob("models--org--whole/snapshots/*"))
    assert {file.name for file in snapshot.iterdir()} == wanted
    model = states(downloader)[name]
    assert (model["state"], model["source"]) == ("available", "cache")
    assert model["capabilities"] == ["chat", "tools", "reasoning"]
    assert downloader.chat(model=name).json()["model"] == name


def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    the_hub: Hub, downloader: RunningServer
) -> None:
    assert TOKEN in the_hub.tokens["127.0.0.1"]
    assert the_hub.tokens["localhost"] == {""}


def test_what_is_there_is_not_fetched_again(the_hub: Hub, downloader: RunningServer) -> None:
    name = fresh(the_hub, "org/twice")
    downloader.client.post("mlx/models/download", json={"model": name}).raise_for_status()
    again = downloader.client.post("mlx/models/download", json={"model": name}).json()
    assert again["fetched"] == 0


def test_progress_is_streamed_in_bytes_and_seconds(the_hub: Hub, downloader: RunningServer) -> None:
    name = fresh(the_hub, "org/streamed")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    seen = []
    order = {"model": name, "stream": True}
    with downloader.client.stream("POST", "mlx/models/download", json=order) as response:
        for event in events(response):
            seen.append(event)
            if event.get("done", 0) > HELD / 2:
                model = states(downloader)[name]
                assert model["state"] == "downloading"
                assert model["progress"]["total"] == event["total"]
                status = downloader.status()["downloads"]
                assert [item["model"] for item in status] == [name]
                the_hub.released.set()
    assert seen[0]["phase"] == "downloading"
    assert any(event.get("seconds_left") is not None for event in seen[:-1])
    assert seen[-1]["phase"] == "done"
    assert seen[-1]["fetched"] == seen[-1]["bytes"]
    assert downloader.status()["downloads"] == []


def test_a_client_that_leaves_its_stream_stops_it_and_the_next_order_goes_on_from_there(
    the_hub: Hub, downloader: RunningServer, cache: Path
) -> None:
    name = fresh(the_hub, "org/left")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    order = {"model": name, "stream": True}
    with downloader.client.stream("POST", "mlx/models/download", json=order) as response:
        for event in events(response):
            if event["done"] > HELD / 2:
                break
    wait_for(lambda: states(downloader)[name]["state"] == "incomplete", 5)
    assert not processes(downloader)
    assert "%mlx pull org/left" in error_of(downloader.chat(model=name))[2]
    the_hub.hold_after = None
    the_hub.released.set()
    answer = downloader.client.post("mlx/models/download", json={"model": name}).json()
    assert answer["fetched"] < answer["bytes"] - HELD / 2
    assert states(downloader)[name]["state"] == "available"
    weights = next(cache.glob("models--org--left/snapshots/*/model.saf*"))
    assert weights.read_bytes() == tiny_chat()["model.safetensors"]


def test_an_order_without_a_stream_is_carried_out_though_its_client_leaves(
    the_hub: Hub, downloader: RunningServer
) -> None:
    name = fresh(the_hub, "org/ordered")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    with pytest.raises(httpx.ReadTimeout):
        downloader.client.post("mlx/models/download", json={"model": name}, timeout=1)
    assert states(downloader)[name]["state"] == "downloading"
    the_hub.released.set()
    wait_for(lambda: states(downloader)[name]["state"] == "available", 20)


def test_a_download_is_cancelled_by_order(the_hub: Hub, downloader: RunningServer) -> None:
    name = fresh(the_hub, "org/cancelled")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    order = {"model": name, "stream": True}
    with downloader.client.stream("POST", "mlx/models/download", json=order) as response:
        seen = events(response)
        next(seen)
        cancelled = downloader.client.post("mlx/models/cancel", json={"model": name}).json()
        assert cancelled == {"model": name, "cancelled": "downloading"}
        *_, last = seen
    assert last["error"]["code"] == "download_cancelled"
    assert not processes(downloader)
    response = downloader.client.post("mlx/models/cancel", json={"model": name})
    assert error_of(response)[:2] == (404, "nothing_to_cancel")


def test_a_user_cancels_only_what_nobody_else_downloads(the_hub: Hub, tmp_path: Path) -> None:
    name = fresh(the_hub, "org/shared")
    the_hub.hold_after = HELD
    the_hub.released.clear()
    provider = {"identity_provider_class": "tests.server.users.identities.UserTokens"}
    env = {**the_hub.env(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}
    limits = {"user_limits": {"*": {"download": True}}}
    with running(config={"ServerApp": provider, "MlxNotebookApp": limits}, env=env) as server:

        def as_user(user: str) -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token_of(user)}"}
            return {"headers": headers, "json": {"model": name, "stream": True}}

        def cancel(user: str) -> tuple[int, str | None]:
            response = server.client.post("mlx/models/cancel", **as_user(user))
            return response.status_code, response.json().get("error", {}).get("code")

        download = ("POST", "mlx/models/download")
        with server.client.stream(*download, **as_user("ann")) as anns:
            seen_by_ann = events(anns)
            next(seen_by_ann)
            assert cancel("bob") == (404, "nothing_to_cancel")
            with server.client.stream(*download, **as_user("bob")) as bobs:
                seen_by_bob = events(bobs)
                next(seen_by_bob)
                assert cancel("ann") == cancel("bob") == (400, "download_in_progress")
                assert states(server)[name]["state"] == "downloading"
            # When Bob has left.
            assert wait_for(lambda: cancel("ann") == (200, None), 20)


def test_a_revision_is_pinned(the_hub: Hub, downloader: RunningServer, cache: Path) -> None:
    answer = downloader.client.post(
        "mlx/models/download", json={"model": "org/tiny", "revision": "v1"}
    ).json()
    assert answer["revision"] == the_hub.models["org/tiny"].refs["v1"]
    snapshots = (cache / "models--org--tiny" / "snapshots").iterdir()
    assert [snapshot.name for snapshot in snapshots] == [answer["revision"]]


def test_a_file_that_does_not_match_its_checksum_is_fetched_anew(
    the_hub: Hub, downloader: RunningServer, cache: Path
) -> None:
    name = fresh(the_hub, "org/mixed")
    weights = tiny_chat()["model.safetensors"]
    blobs = cache / "models--org--mixed" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag(weights)}{hub_download.PARTIAL}").write_bytes(b"\0" * 1_000_000)
    answer = downloader.client.post("mlx/models/download", json={"model": name}).json()
    assert answer["fetched"] > len(weights)
    assert (blobs / etag(weights)).read_bytes() == weights


def test_an_update_that_is_broken_off_leaves_the_model_as_it_was(
    the_hub: Hub, downloader: RunningServer, cache: Path
) -> None:
    name = fresh(the_hub, "org/updated")
    before = downloader.client.post("mlx/models/download", json={"model": name}).json()
    old = cache / "models--org--updated" / "blobs" / f"{'0' * 64}{hub_download.PARTIAL}"
    old.write_bytes(b"of a commit that is no more")
    os.utime(old, (0, 0))
    weights = tiny_chat()["model.safetensors"]
    fresh(the_hub, name, **{"model.safetensors": weights[:-1] + b"\1"})
    the_hub.hold_after = HELD
    the_hub.released.clear()
    order = {"model": name, "stream": True}
    with downloader.client.stream("POST", "mlx/models/download", json=order) as response:
        seen = events(response)
        while next(seen)["done"] < HELD / 2:
            pass
    wait_for(lambda: states(downloader)[name]["state"] == "available", 5)
    assert downloader.chat(model=name).status_code == 200
    the_hub.hold_after = None
    the_hub.released.set()
    after = downloader.client.post("mlx/models/download", json={"model": name}).json()
    assert after["revision"] != before["revision"]
    assert not old.exists()


class TestEachFailureIsOneSentence:
    @pytest.fixture
    def order(self, downloader: RunningServer) -> Any:
        def order(name: str, **changes: Any) -> tuple[int, str, str]:
            body = {"model": name, **changes}
            return error_of(downloader.client.post("mlx/models/download", json=body))

        return order

    def test_missing(self, order: Any) -> None:
        status, code, message = order("org/nonesuch")
        assert (status, code) == (404, "model_not_found")
        assert "or it is private" in message

    def test_no_name_of_the_hubs(self, order: Any) -> None:
        for name in ("nonesuch", "../../etc/passwd", "a/b/c", "/etc", "org/..", "org/a b"):
            assert order(name)[:2] == (404, "model_not_found")

    def test_of_this_machine(self, order: Any) -> None:
        assert order("tiny-chat")[:2] == (400, "model_is_local")

    def test_unknown_revision(self, order: Any) -> None:
        status, code, message = order("org/tiny", revision="v9")
        assert (status, code) == (404, "revision_not_found")
        assert "'v9'" in message

    def test_gated(self, the_hub: Hub, order: Any) -> None:
        name = fresh(the_hub, "org/gated")
        the_hub.models[name].gated = True
        status, code, message = order(name)
        assert (status, code) == (403, "model_gated")
        assert "/org/gated" in message
        assert "hf auth login" in message

    def test_no_weights(self, the_hub: Hub, order: Any) -> None:
        the_hub.models["org/data"] = Repository.of({"config.json": b"{}", "x.gguf": b"x"})
        status, code, message = order("org/data")
        assert (status, code) == (400, "not_a_model")
        assert "safetensors" in message

    def test_a_disk_that_is_too_small(self, the_hub: Hub, order: Any) -> None:
        name = fresh(the_hub, "org/large")
        the_hub.models[name].claimed["model.safetensors"] = 10**15
        status, code, message = order(name)
        assert (status, code) == (507, "disk_full")
        assert "needs 1,000,000.0 GB" in message
        assert the_hub.sent == {}

    def test_a_disk_that_fills_up(self, the_hub: Hub, cache: Path, order: Any) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("there is no /dev/full here")
        name = fresh(the_hub, "org/full")
        weights = tiny_chat()["model.safetensors"]
        blobs = cache / "models--org--full" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{etag(weights)}{hub_download.PARTIAL}").symlink_to("/dev/full")
        status, code, message = order(name)
        assert (status, code) == (507, "disk_full")
        assert "The disk is full before all of org/full was downloaded." in message

    @pytest.mark.parametrize("after", [HELD // 2, HELD])
    def test_a_connection_that_breaks(
        self, the_hub: Hub, downloader: RunningServer, order: Any, after: int
    ) -> None:
        name = fresh(the_hub, f"org/broken-{after}")
        the_hub.break_after = after
        status, code, message = order(name)
        assert (status, code) == (503, "download_interrupted")
        assert "Anything already downloaded is kept" in message
        the_hub.break_after = None
        answer = downloader.client.post("mlx/models/download", json={"model": name}).json()
        assert answer["fetched"] < answer["bytes"] - after / 2

    def test_a_hub_that_fails(self, the_hub: Hub, order: Any) -> None:
        name = fresh(the_hub, "org/failing")
        for status, expected in ((500, "hub_failed"), (401, "hub_refused"), (429, "hub_busy")):
            the_hub.fails_with = status
            assert order(name)[1] == expected

    def test_a_stream_tells_in_its_last_event(self, downloader: RunningServer) -> None:
        order = {"model": "org/nonesuch", "stream": True}
        with downloader.client.stream("POST", "mlx/models/download", json=order) as response:
            *_, last = events(response)
        assert last["error"]["code"] == "model_not_found"


def test_offline_and_unreachable_are_told(the_hub: Hub, tmp_path: Path) -> None:
    def code(**env: str) -> str:
        with subprocess.Popen(
            [sys.executable, "-m", "mlx_notebook.server.models.downloads.hub_download"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **the_hub.env(tmp_path), **env},
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write('{"repository": "org/tiny", "revision": null}\n')
            process.stdin.flush()
            said: dict[str, str] = json.loads(process.stdout.readlines()[-1])
            return said["code"]

    assert code(HF_HUB_OFFLINE="1") == "offline"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
        assert code(HF_ENDPOINT=f"http://127.0.0.1:{closed}") == "hub_unreachable"


def test_nothing_is_left_of_a_server_that_is_stopped_or_killed_while_it_downloads(
    the_hub: Hub, tmp_path: Path
) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        name = fresh(the_hub, f"org/stopped-{how}")
        the_hub.hold_after = HELD
        the_hub.released.clear()
        with running(env=the_hub.env(tmp_path / str(how))) as server:
            order = {"model": name, "stream": True}
            with server.client.stream("POST", "mlx/models/download", json=order) as response:
                seen = events(response)
                while next(seen)["done"] < HELD / 2:
                    pass
                (child,) = processes(server)
                server.process.send_signal(how)
                server.process.wait(20)
                _, left = psutil.wait_procs([child], 5)
                assert not left
