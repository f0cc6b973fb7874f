"""Calls are checked, allowed, run in order or together, and their results told."""

import asyncio
import time

import pytest

from mlx_notebook.notebook.tools.tool import tool, tools_by_name
from mlx_notebook.notebook.tools.tool_runner import ToolRunner
from tests.notebook.example_answers import tool_call


def add(a: int, b: int = 1) -> int:
    return a + b


@tool
async def later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"after {seconds}"


def boom() -> None:
    raise ValueError("no luck")


def run(runner, calls):
    return [(delta.kind, delta.call.name) for delta in runner.run(calls)]


async def arun(runner, calls):
    return [(delta.kind, delta.call.name) async for delta in runner.arun(calls)]


@pytest.fixture(params=["sync", "async"])
def carry_out(request):
    if request.param == "sync":
        return run
    return lambda runner, calls: asyncio.run(arun(runner, calls))


def runner(*tools, **options):
    return ToolRunner(tools_by_name(tools), **options)


def test_a_call_is_made_with_real_arguments_and_its_result_told(carry_out):
    call = tool_call("add", '{"a": "2"}')
    assert carry_out(runner(add), [call]) == [("call", "add"), ("result", "add")]
    assert (call.state, call.value, call.content) == ("done", 3, "3")
    assert call.result == {"role": "tool", "tool_call_id": "call_0", "content": "3"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (tool_call("add", '{"a": "x"}'), "Error: a: Input should be a valid integer"),
        (tool_call("add", '{"a": '), "Error: The arguments are not valid JSON"),
        (tool_call("subtract"), "Error: There is no tool 'subtract'. The tools are: add, boom."),
        (tool_call("boom"), "Error: ValueError: no luck"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(carry_out, call, message):
    carry_out(runner(add, boom), [call])
    assert call.state == "failed"
    assert call.content.startswith(message)
    assert (call.traceback is not None) == (call.name == "boom")


def test_a_traceback_begins_in_the_function():
    call = tool_call("boom")
    run(runner(boom), [call])
    assert "in boom" in call.traceback
    assert "in _run" not in call.traceback


def test_async_calls_run_together_and_the_others_in_order(carry_out):
    seen = []

    async def meet(n: int) -> int:
        seen.append(n)
        while len(seen) < 3:  # ends only if all three are there at once
            await asyncio.sleep(0.001)
        return n

    def note(n: int) -> None:
        seen.append(f"note {n}")

    calls = [tool_call("note", '{"n": 1}'), tool_call("note", '{"n": 2}')]
    calls += [tool_call("meet", f'{{"n": {n}}}') for n in range(3)]
    carry_out(runner(meet, note), calls)
    assert [call.state for call in calls] == ["done"] * 5
    notes = [x for x in seen if isinstance(x, str)]
    assert notes == ["note 1", "note 2"]


def test_an_async_tool_sees_the_context_of_the_caller():
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    async def look() -> str:
        return variable.get()

    call = tool_call("look")
    run(runner(look), [call])
    assert call.value == "mine"


async def _async(verdict):
    await asyncio.sleep(0)
    return verdict


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("verdict", "state", "content"),
    [
        (None, "done", "3"),
        (True, "done", "3"),
        ({"a": 5, "b": 5}, "done", "10"),
        (False, "refused", "The call was refused."),
        ("It is late.", "refused", "The call was refused. It is late."),
    ],
)
def test_before_call_allows_changes_or_refuses(carry_out, is_async, verdict, state, content):
    def before(call):
        assert call.arguments == {"a": 2}
        return _async(verdict) if is_async else verdict

    call = tool_call("add", '{"a": 2}')
    carry_out(runner(add, before_call=before), [call])
    assert (call.state, call.content) == (state, content)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(True, "done"), ("always", "done"), (None, "refused"), (False, "refused"), ("no", "refused")],
)
def test_only_a_clear_yes_approves(carry_out, verdict, state):
    call = tool_call("add", '{"a": 2}')
    carry_out(runner(add, approve=lambda call: _async(verdict)), [call])
    assert call.state == state


def test_an_interrupt_stops_sync_and_async_calls():
    def stop() -> None:
        raise KeyboardInterrupt

    calls = [tool_call("later", '{"seconds": 60}'), tool_call("stop"), tool_call("stop")]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(runner(later, stop), calls)
    assert time.monotonic() - began < 30
    assert [call.state for call in calls] == ["interrupted", "interrupted", "waiting"]


def test_cancelling_stops_async_calls():
    async def main():
        call = tool_call("later", '{"seconds": 60}')
        task = asyncio.create_task(arun(runner(later), [call]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return call.state

    assert asyncio.run(main()) == "interrupted"
