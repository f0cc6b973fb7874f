"""What a recorder writes, a replayer answers, and nothing else."""

import json
import math
import threading

import pytest

from mlx_notebook.notebook.errors import BadRecording
from mlx_notebook.notebook.recording.recorder import Recorder
from mlx_notebook.notebook.recording.replayer import Replayer
from mlx_notebook.notebook.server.server import Server

SERVER = Server("http://127.0.0.1:9/", "a-secret-token")


@pytest.fixture
def path(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "run.recorded.json"


def post(run, text, response):
    def send():
        return 200, json.dumps(response).encode()

    return run.request(SERVER, "POST", "v1/embeddings", json.dumps(text).encode(), send)


def test_each_time_a_request_is_sent_it_gets_its_own_answer(path):
    recorder = Recorder(path)
    for number in range(3):
        assert post(recorder, "Hi", number) == (200, str(number).encode())
    replayer = Replayer(path, speed=math.inf)
    replayed = [post(replayer, "Hi", "live") for _ in range(4)]
    assert replayed == [(200, b"0"), (200, b"1"), (200, b"2"), (200, b"2")]
    assert replayer.summary() == "3 of 3 recorded answers were replayed.\nNo cell differs."


def test_a_request_that_was_not_recorded_is_an_error_or_sent_to_the_server(path, capsys):
    post(Recorder(path), "Hi", 1)
    status, body = post(Replayer(path), "Ho", "live")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (404, "not_recorded")
    assert error["message"].startswith("A request differs from what run.recorded.json has")
    assert post(Replayer(path, live=True), "Ho", "live") == (200, b'"live"')
    assert "asking the server, because a request differs" in capsys.readouterr().out


def test_what_a_panel_reads_is_not_recorded(path):
    recorder, results = Recorder(path), []

    def get():
        results.append(recorder.request(SERVER, "GET", "mlx/status", b"", lambda: (200, b"{}")))

    thread = threading.Thread(target=get)
    thread.start()
    thread.join()
    assert results == [(200, b"{}")]
    assert len(recorder.file) == 0


def test_a_stream_is_kept_as_far_as_it_was_read(path):
    recorder = Recorder(path)
    for exhausted in (False, True):
        pending = recorder.open(SERVER, "POST", "v1/completions", b'{"stream": true}')
        pending.add('data: {"text":"é"}\n'.encode())
        pending.add(b"\ndata: ")
        pending.close_stream(200, "text/event-stream", exhausted=exhausted)
    exchanges = json.loads(path.read_text())["exchanges"]
    assert [exchange.get("complete", True) for exchange in exchanges] == [False, True]
    assert exchanges[0]["events"][0]["data"] == {"text": "é"}


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(BadRecording, match=r"^There is no folder .* to record into\.$"):
        Recorder(tmp_path / "none" / "run.recorded.json")
