"""A standalone server on another machine: slow networks, broken streams, restarts, sleep."""

import asyncio
import os
import re

import psutil
import pytest

from mlx_notebook.notebook.chat.chat import AsyncChat, Chat
from mlx_notebook.notebook.connection import clients, connection
from mlx_notebook.notebook.errors import ConnectionLost, ServerSilent, ServerUnreachable
from mlx_notebook.notebook.server import round_trip
from mlx_notebook.notebook.server.server import Server
from tests.notebook.weather import Weather
from tests.server.running import RunningServer

LONG = {"temperature": 0, "max_tokens": 120, "extra_body": {"ignore_eos": True}}
PROMPT = "Tell me a story about a cat."
DELAY = 0.1  # each way, in seconds


@pytest.fixture(scope="module")
def remote():
    server = RunningServer(alone=True)
    yield server
    server.stop()


@pytest.fixture
def network(remote, monkeypatch, tmp_path):
    """The way to the server, and this process connected to it as a kernel."""
    for name in list(os.environ):
        if name.startswith(("MLX_NOTEBOOK_", "JUPYTERHUB_", "JPY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    connection.disconnect()
    with Weather(remote.url) as weather:
        connection.connect(weather.url, remote.token)
        yield weather
        connection.disconnect()


def silent_after(monkeypatch, seconds):
    monkeypatch.setattr(clients, "silent_seconds", lambda: seconds)


def test_an_answer_says_what_the_network_took_and_what_the_model(network):
    Chat().ask("Hello", max_tokens=2)  # the model is loaded
    network.delay = DELAY
    answer = Chat().ask("Hello", max_tokens=2)
    # Opening the connection, the request, and the first token.
    assert answer.network_seconds >= 4 * DELAY
    times = answer.replies[0].server_times
    assert times.first_token + answer.network_seconds == pytest.approx(answer.first_token)
    parts = times.queued + times.loading + times.prefill
    assert 0 < times.prefill <= parts <= times.first_token + 0.01
    assert re.search(
        r"first token after [\d.]+ s: [\d.]+ s network, [\d.]+ s model( \([a-z0-9., ]+\))?( ·|$)",
        answer.summary(),
    )


def test_a_round_trip_is_measured_without_opening_the_connection(network, remote):
    server = Server(network.url, remote.token, is_chosen=True)
    assert round_trip.measure_round_trip(server) < 2 * DELAY
    network.delay = DELAY
    opened = network.connections
    assert round_trip.measure_round_trip(server) >= 2 * DELAY
    assert network.connections == opened + 1
    network.close()
    with pytest.raises(ServerUnreachable, match="No server answers"):
        round_trip.measure_round_trip(server)


def test_an_answer_that_is_cut_off_is_kept_and_goes_on_from_there(network):
    whole = Chat().ask(PROMPT, **LONG).text
    chat = Chat()
    network.cut_after(2000, b'"delta":{"role"')
    with pytest.raises(ConnectionLost) as caught:
        chat.ask(PROMPT, **LONG)
    said = str(caught.value)
    words = len(chat.last.text.split())
    assert 0 < words < len(whole.split())
    assert f"was lost: the server may have stopped. {words} word" in said
    assert said.endswith("are kept: `%chat --resume`, or `resume()`, asks for the rest.")
    assert chat.last.summary().endswith("interrupted: connection lost")
    assert chat.unfinished
    kept = chat.messages[-1]["content"]
    assert whole.startswith(kept)
    fork = chat.fork()

    rest = chat.resume(**LONG)
    assert rest.outcome == "complete"
    assert rest.text.startswith(kept)
    assert len(rest.text) > len(kept)
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]
    assert chat.messages[-1]["content"] == rest.text
    assert not chat.unfinished
    assert fork.unfinished
    assert fork.ask("And now?", max_tokens=3).outcome == "complete"
    assert not fork.unfinished


def test_the_rest_can_be_cut_off_too(network):
    chat = Chat()
    for _ in range(2):
        network.cut_after(1500, b'"delta":{"role"')
        with pytest.raises(ConnectionLost):
            chat.resume(**LONG) if chat.unfinished else chat.ask(PROMPT, **LONG)
    kept = chat.messages[-1]["content"]
    assert len(chat.messages) == 2
    assert chat.resume(**LONG).text.startswith(kept)


def test_a_format_that_is_cut_off_is_not_kept(network):
    chat = Chat()
    network.cut_after(0, b'"delta":{"role"')
    with pytest.raises(ServerUnreachable, match="Run the cell again") as caught:
        chat.ask(PROMPT, schema={"type": "object"}, **LONG)
    assert not isinstance(caught.value, ConnectionLost)
    assert (chat.messages, chat.unfinished) == ([], False)


def test_a_stream_that_falls_silent_ends_and_the_next_cell_works(network, monkeypatch):
    silent_after(monkeypatch, 4.0)
    chat = Chat(**LONG)
    deltas = chat.stream(PROMPT, max_tokens=3500)  # it does not end by itself
    next(deltas)
    network.stall()
    with pytest.raises(ConnectionLost, match=r"did not answer in time.*are kept"):
        list(deltas)
    network.go_on()
    assert chat.resume(max_tokens=5).outcome == "complete"


def asked(network):
    """How many chat completions were asked for."""
    return sum("/v1/chat/completions" in request for request in network.requests)


def test_a_request_without_an_answer_is_not_sent_again_and_again(network, monkeypatch):
    silent_after(monkeypatch, 1.0)
    Chat().ask("Hello", max_tokens=1)
    network.stall()
    with pytest.raises(ServerUnreachable, match="did not answer in time"):
        Chat().ask("Hello", max_tokens=1)
    assert asked(network) == 2
    # Later, the state of the server is asked for first, with a time limit of its own.
    monkeypatch.setattr(connection, "_RECENT_SECONDS", 0.0)
    monkeypatch.setattr(connection, "PARENT_SECONDS", 0.5)
    with pytest.raises(ServerSilent):
        Chat().ask("Hello", max_tokens=1)
    network.go_on()
    assert Chat().ask("Hello", max_tokens=1).outcome == "complete"


def test_a_connection_that_breaks_before_the_answer_is_opened_again(network):
    Chat().ask("Hello", max_tokens=1)
    network.refuse_next()
    assert Chat().ask("Hello", max_tokens=1).outcome == "complete"


def test_an_async_answer_that_is_cut_off_goes_on_too(network):
    async def talk():
        chat = AsyncChat(**LONG)
        network.cut_after(1500, b'"delta":{"role"')
        with pytest.raises(ConnectionLost):
            await chat.ask(PROMPT)
        kept = chat.messages[-1]["content"]
        answer = await chat.resume()
        assert answer.text.startswith(kept)
        assert answer.network_seconds is not None

    asyncio.run(talk())


def test_a_server_that_stops_answers_again_after_its_restart(remote_that_restarts):
    first, again = remote_that_restarts
    connection.connect(first.url, first.token)
    try:
        chat = Chat(**LONG)
        deltas = chat.stream(PROMPT, max_tokens=3500)  # it does not end by itself
        next(deltas)
        first.process.kill()
        first.process.wait()
        with pytest.raises(ConnectionLost, match="was lost"):
            list(deltas)
        with pytest.raises(ServerUnreachable, match=r"No server answers at .*when it does\."):
            chat.resume()
        again()
        assert chat.resume(max_tokens=5).outcome == "complete"
        assert len(chat.messages) == 2
    finally:
        connection.disconnect()


@pytest.fixture
def remote_that_restarts():
    first = RunningServer(alone=True)
    family = psutil.Process(first.process.pid).children(recursive=True)
    later = []

    def again():
        later.append(RunningServer(alone=True, port=first.port))
        assert later[0].url == first.url

    yield first, again
    first.client.close()
    for server in later:
        server.stop()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left


def test_a_kernel_far_away_works_as_one_near_by(start_kernel, network, remote, monkeypatch):
    network.delay = 0.02
    kernel = start_kernel(MLX_NOTEBOOK_URL=network.url, MLX_NOTEBOOK_TOKEN=remote.token)
    loaded = kernel.run("%load_ext mlx_notebook\nimport mlx_notebook").stdout
    assert f"connected to {network.url} (named by MLX_NOTEBOOK_URL)" in loaded
    cell = kernel.run("%%chat --max-tokens 5\nHello!")
    assert " s network, " in cell.outputs[-1]["text/plain"]
    status = kernel.run("%mlx status").stdout
    assert re.search(r"^network: round trip of \d+ ms$", status, re.M)
    assert re.search(r"^last answer: first token after [\d.]+ s: .* network", status, re.M)
    kernel.run("def weather(city: str) -> str:\n    'The weather.'\n    return 'rain'")
    kernel.run("%%chat -t 0 --max-tokens 60 --tools weather\nWhat is the weather in Oslo?")
    # Models stay in memory while the notebook is open: its sign of life arrives.
    assert kernel.value("mlx_notebook.connect().post('mlx/models/keep', {})['models']") == [
        "tiny-chat"
    ]
    # The panel learns the round trip and shows it.
    shown = "panel.fields.get('round_trip')"
    kernel.run("panel = mlx_notebook.stats_panel(); panel")
    kernel.run(
        "import time\n"
        "end = time.monotonic() + 60\n"
        f"while not {shown} and time.monotonic() < end: time.sleep(0.05)"
    )
    assert kernel.value(shown) >= 0.04
    chat = "mlx_notebook.conversation()"
    kernel.run(f"{chat}.settings.update(max_tokens=200, extra_body={{'ignore_eos': True}})")
    network.cut_after(1500, b'"delta":{"role"')
    cell = kernel.run("%%chat --new -t 0\nTell me a story.", check=False)
    assert (cell.ename, len(cell.traceback)) == ("ConnectionLost", 1)
    kept = kernel.value(f"{chat}.messages[-1]['content']")
    assert kept
    assert kept == cell.outputs[0]["text/plain"].rstrip()
    kernel.run("%chat --resume --max-tokens 5 --var whole")
    assert kernel.value("whole").startswith(kept)
