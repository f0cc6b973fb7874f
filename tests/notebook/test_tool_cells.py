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
    call, answer, figures = cell.outputs
    assert kernel.value("ran") == ["Paris"]
    assert call["text/html"].startswith("<details><summary><b>weather</b>(city=&quot;Paris&quot;)")
    assert call["text/plain"].startswith('weather(city="Paris") → {"city":"Paris","sky":"sunny"}')
    assert "sunny" in answer["text/plain"]
    assert " · 1 tool call · " in figures["text/plain"]


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
    assert "nothing is no function of this notebook" in cell.evalue
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


@pytest.mark.parametrize("make", ["await AsyncChat", "Chat"])
def test_both_kinds_of_chat_answer_the_same(kernel, make):
    cell = kernel.run(
        f"answer = {make}(tools=[add], temperature=0).ask('What is 17 plus 25?', show=True)"
    )
    assert kernel.value("ran") == [[17, 25]]
    assert kernel.value("answer.text") == "The result is 42."
    assert len(cell.outputs) == 3
