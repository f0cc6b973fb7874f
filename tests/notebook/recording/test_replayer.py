"""A run is recorded in one kernel and replayed in another, where there is no server at all."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.notebook.jupyter import wait_for

PRIVATE = "__import__('sys').modules['mlx_notebook.notebook.connection.connection']._private"

TOOL_TURN = """
import json
tool = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
    "required": ["city"]}}}
def weather(temperature):
    turn = [{"role": "user", "content": "What is the weather in Paris?"}]
    ask = dict(model="tiny-chat", temperature=0, tools=[tool], messages=turn)
    call = client.chat.completions.create(**ask, tool_choice="required").choices[0].message
    turn += [call.model_dump(exclude_none=True), {"role": "tool", "name": "get_weather",
        "tool_call_id": call.tool_calls[0].id, "content": json.dumps({"degrees": temperature})}]
    return client.chat.completions.create(**ask).choices[0].message.content
"""

TOOLS_AND_TYPES = """
import dataclasses, typing
from PIL import Image, ImageDraw
@mlx_notebook.tool
def add(a: int, b: int) -> int:
    'Add two numbers.'
    return a + b
@dataclasses.dataclass
class City:
    name: typing.Literal["Paris", "Rome"]
image = Image.new("RGB", (96, 96), "white")
ImageDraw.Draw(image).ellipse((20, 20, 70, 70), fill="red")
"""

# Each cell ends by printing what is to be equal.
CELLS = [
    "%mlx load tiny-chat",
    "%%chat -t 1 --max-tokens 30 --var one\nTell me a story.",
    "print(one)",
    "%%chat -t 1 --max-tokens 20 --var two\nAnd then?",
    "print(two)",
    "import mlx_notebook\nclient = mlx_notebook.client()\n"
    "ask = dict(model='tiny-chat', temperature=1, max_tokens=12, "
    "messages=[dict(role='user', content='Hello')])\n"
    "print([client.chat.completions.create(**ask).choices[0].message.content for _ in range(3)])",
    "for event in client.responses.create(model='tiny-chat', input='Hello', stream=True):\n"
    "    print(event.type, getattr(event, 'delta', ''))",
    "import asyncio\naclient = mlx_notebook.async_client()\n"
    "stream = await aclient.chat.completions.create(**ask, stream=True)\n"
    "print([c.choices[0].delta.content async for c in stream if c.choices])",
    TOOL_TURN + "print(weather(21))",
    "chat = mlx_notebook.Chat()\n"
    "for number, delta in enumerate(chat.stream('Tell me a story.')):\n"
    "    if number == 3:\n        break\n"
    "print(chat.last.text, chat.last.outcome)",
    TOOLS_AND_TYPES,
    "%%chat -t 0 --thread sum --tools add --var three\nWhat is 17 plus 25?",
    "print(three, [m.get('content') for m in mlx_notebook.conversation('sum').messages])",
    "%%chat -t 0 --thread city --schema City --var four\nTell me of Paris.",
    "print(four)",
    "%%chat -t 0 --thread sight -m tiny-vision --image image --var five\nWhat is this?",
    "print(five)",
    "chat = mlx_notebook.AsyncChat('tiny-chat', tools=[add], temperature=0)\n"
    "answer = await chat.ask('What is 17 plus 25?')\n"
    "other = await chat.fork(0).ask('Hello!')\n"
    "print(answer.text, *map(str, answer.calls), chat.usage, other.text)",
    "%mlx models",
    "panel = mlx_notebook.models_panel()\npanel",
    "print(len(panel.summary_rows()) > 1)",
    "try:\n    mlx_notebook.Chat(model='nobody').ask('Hi')\n"
    "except mlx_notebook.NotebookError as error:\n    print(type(error).__name__, error)",
]  # fmt: skip


def run_all(kernel):
    return [kernel.run(cell).stdout for cell in CELLS]


@pytest.fixture(scope="module")
def recorded(server, tmp_path_factory):
    """The file of a run below a Jupyter server, what its cells printed, and the server's token."""
    kernel = server.kernel()
    path = tmp_path_factory.mktemp("recorded") / "story.recorded.json"
    try:
        # The recording begins with the default model, which may be what a test before has used.
        kernel.run("%load_ext mlx_notebook\n%mlx load tiny-chat")
        said = kernel.run(f"%mlx record {path}").stdout
        assert said.startswith(f"Recording into {path}")
        printed = run_all(kernel)
        said = kernel.run("%mlx record stop").stdout
        assert re.match(r"Recorded \d\d answers into ", said), said
    finally:
        kernel.stop()
    return path, printed


@pytest.fixture
def no_server(server, start_kernel):
    """A kernel of the same user that has no server, and is not able to start one."""
    same_user = server.env["JUPYTER_DATA_DIR"]
    kernel = start_kernel(MLX_NOTEBOOK_URL="http://127.0.0.1:9/", JUPYTER_DATA_DIR=same_user)
    assert "No server answers" in kernel.run("%load_ext mlx_notebook").stdout
    return kernel


def test_it_replays_without_any_server(recorded, no_server):
    path, printed = recorded
    said = no_server.run(f"%mlx replay {path} --speed max").stdout
    assert "without a model" in said
    assert run_all(no_server) == printed
    assert no_server.value("[three, type(four).__name__]") == ["The result is 42.", "City"]
    assert "red circle" in no_server.value("five")
    replayed = "This notebook replays a recording without a server"
    wait_for(lambda: replayed in no_server.value("panel.fields.get('problem', '')"))
    cell = no_server.run(CELLS[1].replace("Tell", "Do tell"), check=False)
    assert (cell.ename, len(cell.traceback)) == ("NotRecorded", 1)
    # The conversation holds two turns by now, and the recorded one began with this.
    assert "differs from what story.recorded.json has (cell [" in cell.evalue
    assert "5 messages where" in cell.evalue or "is 'Do tell" in cell.evalue
    no_server.run("%mlx reset")
    cell = no_server.run(CELLS[1].replace("Tell", "Do tell"), check=False)
    assert "message 1 (user) is 'Do tell me a story.' where 'Tell me a story.'" in cell.evalue
    cell = no_server.run("weather(35)", check=False)
    assert cell.ename == "NotFoundError"
    assert "the result of get_weather (message 3) is '{\"degrees\": 35}' where" in cell.evalue
    summary = no_server.run("%mlx replay stop").stdout
    assert re.search(r"(\d+) of \1 recorded answers were replayed", summary), summary
    assert summary.count("differs from what") == 3
    assert "No server answers" in no_server.run(CELLS[1], check=False).evalue


def test_the_file_holds_no_secret_and_reads_well(recorded, server):
    path, _ = recorded
    text = path.read_text(encoding="utf-8")
    assert server.token not in text
    assert not re.search(r"127\.0\.0\.1|localhost|a%40b|[Aa]uthorization|Bearer", text)
    assert str(Path.home()) + "/" not in text
    exchanges = json.loads(text)["exchanges"]
    cells = [exchange["cell"] for exchange in exchanges]
    assert cells == sorted(cells)
    stories = [e for e in exchanges if e["path"] == "v1/chat/completions" and "events" in e]
    assert stories[0]["events"][1]["then"].keys() == {"choices"}
    assert len(text) < 100_000


def test_a_stream_comes_at_its_recorded_pace(recorded, no_server):
    path, _ = recorded
    # Slow enough that its updates cannot be those of one piece.
    no_server.run(f"%mlx replay {path} --speed 0.05")
    cell = no_server.run(CELLS[1])
    assert cell.updates > 3
    assert "tokens/s" in cell.outputs[1]["text/plain"]


def test_five_thousand_tokens_take_output_that_grows_as_the_text(recorded, no_server, tmp_path):
    path, _ = recorded
    sent, text = [], []
    for tokens in (1250, 5000):
        file = tmp_path / f"{tokens}.recorded.json"
        file.write_text(json.dumps(lengthened(json.loads(path.read_text()), tokens)))
        no_server.run(f"%mlx replay {file} --speed 1")
        cell = no_server.run(CELLS[1])
        assert cell.updates > 5
        sent.append(cell.sent)
        text.append(len(cell.outputs[0]["text/plain"]))
    assert text[1] > 10_000
    # Replacing the whole text each time would send sixteen times as much for four times the text.
    assert sent[1] / sent[0] < 2 * text[1] / text[0]


def content_of(event):
    choices = event.get("then", {}).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content")


def lengthened(recording, tokens):
    """Make the first story so many tokens long, at a pace of 1,500 a second."""
    (story, *_) = (e for e in recording["exchanges"] if "events" in e)
    events = story["events"]
    said = [at for at, event in enumerate(events) if content_of(event)]
    before, after = events[: said[0]], events[said[-1] + 1 :]
    long = [{**events[said[n % len(said)]], "t": n / 1500} for n in range(tokens)]
    end = [{**event, "t": tokens / 1500} for event in after]
    return {**recording, "exchanges": [{**story, "events": [*before, *long, *end]}]}


def test_what_was_not_asked_again_is_told(recorded, no_server):
    path, _ = recorded
    no_server.run(f"%mlx replay {path} --speed max")
    no_server.run(CELLS[1])
    summary = no_server.run("%mlx replay stop").stdout
    assert summary.startswith("1 of ")
    assert re.search(r"^Not replayed: what cells \[\d+\], .* asked", summary, re.MULTILINE)


def test_with_live_the_server_is_asked_and_the_cell_named(recorded, server):
    path, printed = recorded
    kernel = server.kernel()
    try:
        kernel.run(f"%load_ext mlx_notebook\n%mlx replay {path} --speed max --live")
        assert run_all(kernel)[:5] == printed[:5]
        cell = kernel.run("%%chat --max-tokens 5\nSomething new.")
        assert cell.stdout.startswith("mlx_notebook: asking the server, because cell [")
        assert cell.outputs[0]["text/plain"]
        assert "differs from what" in kernel.run("%mlx replay stop").stdout
    finally:
        kernel.stop()


def test_a_kernel_s_own_server_can_die_after_it_was_recorded(start_kernel, tmp_path):
    kernel = start_kernel(JPY_SESSION_NAME=str(tmp_path / "private.ipynb"))
    kernel.run("%load_ext mlx_notebook")
    assert "Recording into private.recorded.json" in kernel.run("%mlx record").stdout
    ask = "%%chat -t 1 --max-tokens 20 --var answer\nTell me a story."
    kernel.run(ask)
    answer = kernel.value("answer")
    assert (tmp_path / "private.recorded.json").exists()
    os.kill(kernel.value(f"{PRIVATE}.process.pid"), signal.SIGKILL)
    wait_for(lambda: not kernel.value(f"{PRIVATE}.alive"), 15, "the server to end")
    assert "Replaying private.recorded.json (1 answer)" in kernel.run("%mlx replay").stdout
    kernel.run(ask)
    assert kernel.value("answer") == answer
    assert kernel.value(f"{PRIVATE}.alive") is False


@pytest.mark.parametrize(
    ("line", "name", "said"),
    [
        ("%mlx record", "BadMagic", "name a file, `%mlx record FILE.recorded.json`"),
        ("%mlx replay no-such.json", "BadRecording", "There is no recording no-such.json"),
        ("%mlx replay x.json --speed 0", "BadMagic", "'0' is neither a number above 0 nor `max`"),
        ("%mlx replay x.json --fast", "BadMagic", "Unknown option --fast."),
        ("%mlx record a'b.json", "BadMagic", "quotation mark is not closed"),
        ("%mlx replay stop", "BadMagic", "`%mlx replay` is not running."),
    ],
)
def test_what_goes_wrong_is_one_sentence(kernel, line, name, said):
    cell = kernel.run(line, check=False)
    assert (cell.status, cell.ename) == ("error", name), cell.evalue
    assert said in cell.evalue
    assert cell.traceback == [f"{name}: {cell.evalue}"]
