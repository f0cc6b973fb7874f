"""What the options of `%%chat` and the methods of `Chat` do, below a real Jupyter server."""

import json
import random

import pytest

from tests.notebook.jupyter import wait_for

SETUP = """
import dataclasses, pathlib
from typing import Annotated, Literal
from pydantic import Field
from mlx_notebook import AsyncChat, Chat, conversation

@dataclasses.dataclass
class City:
    name: Literal["Paris", "Rome"]
    people: Annotated[int, Field(ge=0, le=9)]
"""


@pytest.fixture(scope="module")
def kernel(kernel):
    kernel.run(SETUP)
    return kernel


@pytest.fixture(autouse=True)
def fresh_conversation(kernel):
    kernel.run("%mlx reset\n%xmode Context")


def test_with_a_schema_the_reply_is_an_object(kernel):
    cell = kernel.run("%%chat -t 0 --schema City --max-tokens 60\nTell me of Paris.")
    assert "\n```json\n{" in cell.outputs[0]["text/markdown"]
    assert cell.outputs[-1]["text/plain"].startswith("City(name=")
    kernel.run("%%chat -t 0 --schema City --max-tokens 60 --var city\nTell me of Rome.")
    assert kernel.value("type(city).__name__") == "City"
    assert kernel.value("type(city.people).__name__") == "int"
    cell = kernel.run("%%chat -t 0 --schema City --max-tokens 2\nTell me of Paris.", check=False)
    assert cell.ename == "NotParsed"


def test_json_is_shown_as_code_and_decoded_into_a_variable(kernel):
    cell = kernel.run("%%chat -t 0 --json --max-tokens 80 --var said\nWrite JSON with the key a.")
    assert "\n```json\n" in cell.outputs[0]["text/markdown"]
    assert json.loads(cell.outputs[0]["text/plain"]) == kernel.value("said")


def test_an_interrupt_that_strikes_while_text_is_shown_ends_the_turn_too(kernel):
    kernel.run(
        "from mlx_notebook.notebook.rendering.text_renderers import SilentRenderer\n"
        "class Struck(SilentRenderer):\n"
        "    def add(self, delta): raise KeyboardInterrupt\n"
        "chat = Chat(max_tokens=30)"
    )
    assert kernel.run("chat.ask('Hello!', show=Struck())", check=False).ename == "Interrupted"
    assert kernel.value("chat.last.outcome") == "interrupted"
    assert kernel.value("[message['role'] for message in chat.messages]") == ["user", "assistant"]


LOST = """
def lose_interrupts():
    "Press the stop button in a finaliser at each stage of an answer: Python drops the exception."
    import signal, sys
    from unittest.mock import patch
    from mlx_notebook.notebook import interrupts
    from mlx_notebook.notebook.chat.turn import Turn
    from mlx_notebook.notebook.connection import connection
    from mlx_notebook.notebook.errors import Interrupted
    from mlx_notebook.notebook.recording.httpx_clients import RecordingClient
    from mlx_notebook.notebook.rendering.text_renderers import SilentRenderer

    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def losing(place, name):
        before, presses = getattr(place, name), [1]
        def wrapped(*given, **named):
            if presses:
                presses.pop()
                Finalised()
            return before(*given, **named)
        return patch.object(place, name, wrapped)

    def outcome(place, name):
        chat = Chat(max_tokens=30, extra_body={"ignore_eos": True})
        try:
            with losing(place, name):
                chat.ask("Talk!", show=SilentRenderer())
        except Interrupted as error:
            return chat.last.outcome if chat.last else str(error)
        return "went on"

    stages = [
        (connection, "connect"), (SilentRenderer, "begin"), (RecordingClient, "send"),
        (Turn, "take"), (SilentRenderer, "add"), (Turn, "finish_reply"),
    ]
    with patch("sys.unraisablehook", lambda _: None), patch.object(
        interrupts, "AGAIN_SECONDS", 0.1
    ):
        return [outcome(*stage) for stage in stages]
"""


def test_an_interrupt_that_python_drops_stops_the_model_all_the_same(kernel, server):
    kernel.run(LOST)
    first, *others = kernel.value("lose_interrupts()")
    assert first == "stopped before the prompt was sent."
    assert others == ["interrupted"] * 5
    wait_for(lambda: not server.status()["requests"], 5, "the server to stop generating")


def test_code_goes_to_a_new_cell(kernel):
    cell = kernel.run("%%chat -t 0 --code\nWrite a python function that adds two numbers.")
    assert cell.next_input
    assert cell.next_input in cell.outputs[0]["text/plain"]
    assert "```" not in cell.next_input


def test_plain_text_and_raw_text_are_printed(kernel):
    cell = kernel.run("%%chat -t 0 --text --var said\nHello!")
    assert cell.outputs == []
    assert cell.stdout.startswith(kernel.value("said") + "\n[tiny-chat · ")
    kernel.run("%mlx reset")
    assert kernel.run("%%chat -t 0 --raw\nHello!").stdout == kernel.value("said") + "\n"


def test_threads_are_conversations_of_their_own(kernel):
    kernel.run("%%chat -t 0 --thread one --max-tokens 20\nMy name is Ada.")
    kernel.run("%%chat -t 0 --max-tokens 5\nHello!")
    kernel.run("%%chat -t 0 --thread one --max-tokens 20\nWhat is my name?")
    assert kernel.value("len(conversation('one').messages)") == 4
    assert kernel.value("len(conversation().messages)") == 2
    kernel.run("%%chat -t 0 --thread one --new --max-tokens 5\nHello!")
    assert kernel.value("len(conversation('one').messages)") == 2


def test_reasoning_is_asked_for_and_shown_closed(kernel):
    cell = kernel.run("%%chat -t 0 --think --max-tokens 300\nWhat is your name?")
    assert cell.outputs[0]["text/markdown"].startswith("<details><summary>Reasoning, ")
    assert kernel.value("conversation().messages[1].get('reasoning_content', '') != ''")
    cell = kernel.run("%%chat -t 0 --no-think\nHello!")
    assert "<details>" not in cell.outputs[0]["text/markdown"]


def test_after_an_error_the_prompt_can_use_it(kernel):
    kernel.run("1 / 0", check=False)
    kernel.run("%%chat --max-tokens 3\nExplain:\n{{ _error }}")
    said = kernel.value("conversation().messages[0]['content']")
    assert "1 / 0" in said
    assert said.endswith("ZeroDivisionError: division by zero")
    assert "ipykernel" not in said
    kernel.run("%%chat --hot 1\nHello", check=False)
    assert kernel.value("type(_error).__name__") == "ZeroDivisionError"


def test_images_are_shown_small_and_what_cannot_see_them_says_so(kernel):
    kernel.run("from PIL import Image\nimage = Image.new('RGB', (2000, 1000), 'red')")
    for line, text in (("--image image", "What is this?"), ("", "What is {{ image }}?")):
        cell = kernel.run(f"%%chat {line} --max-tokens 3\n{text}", check=False)
        assert cell.outputs[0]["text/plain"] == "[image, 480 x 240]"
        assert len(cell.outputs[0]["image/png"]) < 10_000
        assert cell.ename == "RequestRefused"
    assert kernel.value("conversation().messages") == []
    cell = kernel.run("%%chat --image nothing\nWhat is this?", check=False)
    assert "--image: 'nothing' is neither a variable nor a file" in cell.evalue


def test_tab_completes_options(kernel):
    matches = kernel.complete("%%chat --t")
    assert {"--temperature", "--tools", "--thread", "--think", "--text"} <= set(matches)
    assert "--model" in kernel.complete("%chat --")


def test_a_fork_goes_its_own_way_and_costs_no_new_prefill(kernel):
    kernel.run(
        "chat = Chat(temperature=0, max_tokens=20, system='You are ' + 'very ' * 200 + 'kind.')\n"
        "first = chat.ask('My name is Ada.')\n"
        "fork = chat.fork()\n"
        "asked = fork.ask('What is my name?')\n"
        "early = chat.fork(at=0)"
    )
    prompt, cached = kernel.value("[asked.prompt_tokens, asked.cached_tokens]")
    assert cached >= kernel.value("first.prompt_tokens") - 1
    assert prompt - cached < 40
    assert kernel.value("[len(c.messages) for c in (chat, fork, early)]") == [2, 4, 0]
    assert kernel.value("[fork.usage.requests, chat.usage.completion_tokens]") == [
        1,
        kernel.value("first.completion_tokens"),
    ]


def test_a_chat_is_saved_and_loaded(kernel, tmp_path):
    kernel.run(
        f"path = pathlib.Path({str(tmp_path)!r}) / 'chat.json'\n"
        "chat = Chat('tiny-chat', system='Be brief.', temperature=0, max_tokens=20)\n"
        "_ = chat.ask('My name is Ada.')\n"
        "chat.save(path)\n"
        "again = AsyncChat.load(path, max_steps=3)\n"
        "answer = await again.ask('What is my name?')"
    )
    assert kernel.value(
        "[again.model, again.system, again.settings, again.max_steps, len(again.messages)]"
    ) == ["tiny-chat", "Be brief.", {"temperature": 0, "max_tokens": 20}, 3, 4]
    assert "Ada" in kernel.value("answer.text")
    kernel.run("path.write_text('{}')")
    cell = kernel.run("Chat.load(path)", check=False)
    assert cell.ename == "NotebookError"
    assert "is not a chat that `save` wrote" in cell.evalue


def test_an_async_stream_yields_as_the_answer_comes(kernel):
    kernel.run(
        "chat = AsyncChat(temperature=0, max_tokens=20)\n"
        "parts = [delta.text async for delta in chat.stream('Hello!')]"
    )
    assert kernel.value("len(parts)") > 2
    assert kernel.value("''.join(parts) == chat.last.text == chat.messages[1]['content']")


@pytest.mark.parametrize(
    "ask",
    [
        "await chat.ask('Talk!', show=True)",
        "async for delta in chat.stream('Talk!'):\n"
        "    print(delta.text if delta.kind == 'content' else '', end='')",
    ],
)
def test_interrupts_at_any_moment_of_an_async_cell_stop_the_server(kernel, server, ask):
    kernel.run("chat = AsyncChat(max_tokens=3500, extra_body={'ignore_eos': True})")
    rng = random.Random(5)
    kept = 0
    for moment in [0.01, 0.05, *(rng.uniform(0.05, 1.5) for _ in range(3)), 1.5]:
        kernel.run("chat.reset()")
        cell = kernel.run(ask, interrupt_after=moment, check=False)
        wait_for(lambda: not server.status()["requests"], 20, "the server to stop generating")
        if cell.ename == "KeyboardInterrupt" and not cell.outputs:
            # It struck in IPython, before the cell's code had begun.
            assert kernel.value("chat.last is None and not chat.messages")
            continue
        assert (cell.ename, len(cell.traceback)) == ("CancelledError", 1), (moment, cell)
        assert "stopped" in cell.traceback[0]
        assert kernel.value("chat.last is None or chat.last.outcome == 'interrupted'")
        if messages := kernel.value("chat.messages"):
            kept += 1
            assert [message["role"] for message in messages] == ["user", "assistant"]
            shown = cell.stdout or cell.outputs[0]["text/plain"]
            assert messages[1]["content"].startswith(shown)
    assert kept
    kernel.run("await chat.ask('And now?', max_tokens=5)")


def test_a_time_limit_of_asyncio_ends_an_answer_as_such(kernel):
    kernel.run("import asyncio\nchat = AsyncChat(max_tokens=3500, extra_body={'ignore_eos': True})")
    cell = kernel.run("async with asyncio.timeout(0.5):\n    await chat.ask('Talk!')", check=False)
    assert cell.ename == "TimeoutError"


def test_what_is_not_there_to_resume_is_told(kernel):
    for code in ("%chat --resume", "Chat().resume()"):
        cell = kernel.run(code, check=False)
        assert (cell.ename, "nothing to resume" in cell.evalue) == ("NotebookError", True)
    cell = kernel.run("%chat --resume And?", check=False)
    assert "takes no prompt" in cell.evalue
