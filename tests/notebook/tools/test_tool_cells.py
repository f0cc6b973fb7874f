"""Cells whose model calls the notebook's functions, below a real Jupyter server."""

import pytest

FUNCTIONS = '''
import asyncio, time
from typing import Literal
from mlx_notebook import AsyncChat, Chat, Pause, tool

ran = []

@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    ran.append((a, b))
    return a + b

def weather(city: str) -> dict:
    """Get the weather of a city."""
    ran.append(city)
    return {"city": city, "sky": "sunny"}

@tool
def broken(city: str) -> str:
    """Get the weather of a city."""
    ran.append(city)
    raise RuntimeError("the <b>station</b> is down")
'''
MUST = "temperature=0, max_tokens=100, tool_choice='required'"


@pytest.fixture(scope="module")
def kernel(kernel):
    kernel.run(FUNCTIONS)
    return kernel


@pytest.fixture(autouse=True)
def nothing_ran(kernel):
    kernel.run("ran.clear()\n%mlx reset")


def test_the_model_calls_a_function_of_the_notebook(kernel):
    cell = kernel.run("%%chat -t 0 --tools add,weather\nWhat is the weather in Paris?")
    call, answer, build_fields = cell.outputs
    assert kernel.value("ran") == ["Paris"]
    assert call["text/html"].startswith("<details><summary><b>weather</b>(city=&quot;Paris&quot;)")
    assert call["text/plain"].startswith('weather(city="Paris") → {"city":"Paris","sky":"sunny"}')
    assert "sunny" in answer["text/plain"]
    assert " · 1 tool call · " in build_fields["text/plain"]


def test_a_function_that_a_cell_has_changed_is_called_anew(kernel):
    kernel.run("%%chat -t 0 --tools weather\nWhat is the weather in Paris?")
    kernel.run("def weather(city: str): 'Get the weather of a city.'; ran.append('new')")
    kernel.run("%%chat -t 0\nWhat is the weather in Rome?")
    assert kernel.value("ran") == ["Paris", "new"]
    kernel.run("%%chat -t 0 --tools none --max-tokens 5\nHello!")
    kernel.run(FUNCTIONS)


def test_a_name_that_is_no_function_is_told_in_one_sentence(kernel):
    cell = kernel.run("%%chat --tools nothing\nHello!", check=False)
    assert cell.ename == "BadMagic"
    assert "'nothing' is not a function in this notebook" in cell.evalue
    cell = kernel.run("%%chat --tools time\nHello!", check=False)
    assert cell.ename == "NotATool"


def test_an_error_goes_to_the_model_and_its_traceback_to_the_person(kernel):
    cell = kernel.run(
        f"chat = Chat(tools=[broken], {MUST})\n"
        "answer = chat.ask('What is the weather in Paris?', show=True)"
    )
    told = kernel.value("chat.messages[2]['content']")
    assert told == "Error: RuntimeError: the <b>station</b> is down"
    block = cell.outputs[0]["text/html"]
    assert "failed: RuntimeError: the &lt;b&gt;station&lt;/b&gt; is down" in block
    assert "Traceback" in block
    assert "raise RuntimeError" in block
    assert "ipykernel" not in block
    assert kernel.value("answer.outcome") == "complete"


@pytest.mark.parametrize(("make", "wait"), [("AsyncChat", "await "), ("Chat", "")])
def test_both_kinds_of_chat_answer_the_same(kernel, make, wait):
    cell = kernel.run(
        f"chat = {make}(tools=[add], temperature=0)\n"
        f"{wait}chat.ask('What is 17 plus 25?', show=True)"
    )
    assert kernel.value("ran") == [[17, 25]]
    # The value of the cell, which has shown it already, is not shown a second time.
    assert len(cell.outputs) == 3
    [shown] = kernel.run("answer = chat.last\nanswer").outputs
    assert shown["text/markdown"] == kernel.value("answer.text") == "The result is 42."
    assert kernel.value("repr(chat)").endswith("Chat with tiny-chat: 4 messages, may call add>")


@pytest.mark.parametrize("wait", ["", "await "])
def test_the_person_is_asked_and_answers_in_the_cell(kernel, wait):
    made = "AsyncChat" if wait else "Chat"
    kernel.run(f"chat = {made}(tools=[add], approve=True, {MUST})")
    ask = f"answer = {wait}chat.ask('What is 17 plus 25?')"
    cell = kernel.run(ask, answers=["n not today"])
    assert cell.asked == ["Allow add(a=17, b=25)? [y]es, [n]o (and why), [a]lways: "]
    assert kernel.value("ran") == []
    assert kernel.value("chat.messages[2]['content']") == "The call was refused. not today"
    kernel.run("chat.reset()")
    assert len(kernel.run(ask, answers=["huh", "y"]).asked) == 2
    kernel.run("chat.reset()")
    assert len(kernel.run(ask, answers=["a"]).asked) == 1
    kernel.run("chat.reset()")
    assert len(kernel.run(ask, answers=[]).asked) == 0
    assert kernel.value("ran") == [[17, 25]] * 3


def test_an_answer_from_before_the_question_is_none(kernel):
    kernel.run(f"chat = Chat(tools=[add], approve=True, {MUST})")
    ask = "answer = chat.ask('What is 17 plus 25?')"
    # Sent while the cell still waits for the model, as a hasty frontend may do.
    for said in ("y", "", "always"):
        kernel.client.input(said)
    cell = kernel.run(ask, answers=["y", "", "always", "a", "n"] * 2, reading=0)
    assert cell.stdout.count("Please answer again") == len(cell.asked) == 10
    assert kernel.value("[answer.outcome, ran]") == ["paused", []]


def test_the_question_stands_above_what_comes_of_the_call(kernel):
    kernel.run(f"chat = Chat(tools=[add], approve=True, {MUST})")
    cell = kernel.run("answer = chat.ask('What is 17 plus 25?', show=True)", answers=["", "y"])
    shown = [output.get("asked") or output["text/plain"] for output in cell.outputs]
    assert shown[0] == "tiny-chat asks for add:"
    assert shown[1] == shown[2] == "Allow add(a=17, b=25)? [y]es, [n]o (and why), [a]lways: "
    assert shown[3].startswith("add(a=17, b=25) → 42")
    assert shown[4] == "The result is 42."


def test_a_chat_that_nobody_can_allow_pauses_and_is_resumed_in_the_next_cell(kernel):
    kernel.run(f"chat = Chat(tools=[add], approve=['add'], {MUST})")
    cell = kernel.run("answer = chat.ask('What is 17 plus 25?', show=True)")
    assert "not called yet" in cell.outputs[0]["text/plain"]
    assert cell.outputs[-1]["text/plain"].endswith("paused: nobody is there to allow add")
    assert kernel.value("[answer.outcome, chat.unfinished, ran]") == ["paused", True, []]
    cell = kernel.run("answer = chat.resume(show=True)", answers=["y"])
    assert kernel.value("[answer.outcome, answer.text, ran]") == [
        "complete",
        "The result is 42.",
        [[17, 25]],
    ]
    assert cell.outputs[2]["text/plain"].startswith("add(a=17, b=25) → 42")


def test_a_turn_has_so_many_requests_and_goes_on_when_resumed(kernel):
    kernel.run("chat = Chat(tools=[add], max_steps=1, temperature=0, max_tokens=100)")
    kernel.run("answer = chat.ask('What is 17 plus 25?')")
    assert kernel.value("[answer.outcome, ran]") == ["paused", []]
    assert "max_steps" in kernel.value("answer.note")
    kernel.run("answer = chat.resume()")
    assert kernel.value("[answer.outcome, answer.text, ran]") == [
        "complete",
        "The result is 42.",
        [[17, 25]],
    ]


def test_calls_that_were_done_are_not_repeated_after_an_interrupt(kernel, server):
    kernel.run(
        '''
def slow(a: int, b: int) -> int:
    """Add two numbers."""
    ran.append("slow")
    if ran.count("slow") == 1:
        time.sleep(60)
    return a + b

calls = [("add", '{"a": 1, "b": 2}'), ("slow", '{"a": 17, "b": 25}')]
chat = Chat(tools=[add, slow], temperature=0, max_tokens=60)
chat.messages = [
    {"role": "user", "content": "What is 17 plus 25?"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": given}}
        for n, (name, given) in enumerate(calls)]},
]'''
    )
    cell = kernel.run("chat.resume(show=True)", interrupt_after=2, check=False)
    assert (cell.ename, cell.seconds < 30) == ("Interrupted", True)
    assert "`resume()` continues" in cell.evalue
    assert "interrupted" in cell.outputs[1]["text/plain"]
    assert kernel.value("ran") == [[1, 2], "slow"]
    kernel.run("answer = chat.resume()")
    assert kernel.value("ran") == [[1, 2], "slow", "slow"]
    assert kernel.value("[m['role'] for m in chat.messages]") == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip


def test_an_interrupt_reaches_a_function_in_an_async_cell(kernel):
    kernel.run(
        '''
def slow(city: str) -> str:
    """Get the weather of a city."""
    ran.append(city)
    time.sleep(60)
'''
        f"\nchat = AsyncChat(tools=[slow], {MUST})"
    )
    cell = kernel.run(
        "await chat.ask('What is the weather in Paris?')", check=False, interrupt_after=4
    )
    assert cell.seconds < 30
    assert (cell.ename, kernel.value("ran")) == ("Interrupted", ["Paris"])
    assert kernel.value("chat.unfinished")


def test_async_functions_of_a_sync_chat_run_beside_the_cell(kernel):
    kernel.run(
        '''
async def weather_later(city: str) -> str:
    """Get the weather of a city."""
    await asyncio.sleep(0.01)
    print("printed for", city)
    return "sunny"
'''
    )
    cell = kernel.run(
        f"answer = Chat(tools=[weather_later], {MUST}).ask('What is the weather in Paris?')"
    )
    assert cell.stdout == "printed for Paris\n"
    assert kernel.value("answer.calls[0].value") == "sunny"


def test_a_new_question_answers_the_calls_that_were_left(kernel):
    kernel.run(
        f"chat = Chat(tools=[add], approve=True, {MUST})\n"
        "answer = chat.ask('What is 17 plus 25?')\n"
        "answer = chat.ask('Hello!', tool_choice='none')"
    )
    assert kernel.value("[m['role'] for m in chat.messages]") == [
        "user", "assistant", "tool", "user", "assistant",
    ]  # fmt: skip
    assert "not made" in kernel.value("chat.messages[2]['content']")


def test_a_image_that_a_tool_returns_is_shown_and_a_text_model_told_of_it(kernel):
    kernel.run(
        '''
from PIL import Image

def draw(colour: str):
    """Draw a square of a colour."""
    return Image.new("RGB", (40, 40), colour)
'''
    )
    cell = kernel.run(f"answer = Chat(tools=[draw], {MUST}).ask('Draw a red square.', show=True)")
    assert cell.outputs[0]["text/plain"].startswith('draw(colour="red") → [image]')
    assert cell.outputs[1]["text/plain"] == "[image, 40 x 40]"
    assert kernel.value("answer.outcome") == "complete"


def test_a_image_that_a_tool_returns_is_shown_to_a_model_that_sees(kernel):
    kernel.run(
        f'''
from PIL import Image
from mlx_notebook.notebook.connection import connection

@tool
def camera():
    """Take a photo."""
    return ["Here:", Image.new("RGB", (40, 30), "red")]

answer = Chat("tiny-vision", tools=[camera], max_steps=2, {MUST}).ask("Call camera.")
server = connection.connect()
newest = server.get("mlx/traces")["data"][0]["id"]
*_, result, shown = server.get(f"mlx/traces/{{newest}}")["messages"]
'''
    )
    assert kernel.value("result['content']") == "Here:\n[image]"
    image = kernel.value("shown['content'][1]")
    assert (image["media_type"], image["width"], image["height"]) == ("image/png", 40, 30)
