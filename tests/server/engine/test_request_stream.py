"""Events of a request wait for its handler, within a limit."""

import pytest

from mlx_notebook.protocol import (
    Done,
    Event,
    Failed,
    Loading,
    Prefill,
    Reasoning,
    Text,
    Timings,
    Usage,
)
from mlx_notebook.server.engine import request_stream
from mlx_notebook.server.engine.request_stream import KeepAlive, RequestStream
from mlx_notebook.server.errors import EngineError, RequestCancelled

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


DONE = Done("r", Usage(1, 1, 0, 0), Timings(0.0, 0.0, 0.0, 0.0, 0.0))


def stream(**options: bool) -> RequestStream:
    return RequestStream("r", "model", 1, "owner", **options)


def text(content: str) -> Text:
    return Text("r", 0, content, 1)


async def read(made: RequestStream) -> list[Event | KeepAlive]:
    """Return all events; an error takes those before it along."""
    return [event async for events in made.batches() for event in events]


async def test_events_that_came_together_are_one_batch() -> None:
    made = stream()
    assert made.push(text("a"))
    assert made.push(text("b"))
    batches = made.batches()
    assert await anext(batches) == [text("a"), text("b")]
    made.push(DONE)
    assert await anext(batches) == [DONE]
    assert [rest async for rest in batches] == []


async def test_a_failure_comes_after_the_events_before_it() -> None:
    made = stream()
    made.push(text("a"))
    made.push(Failed("r", "engine_error", "It failed."))
    batches = made.batches()
    assert await anext(batches) == [text("a")]
    with pytest.raises(EngineError, match="It failed"):
        await anext(batches)


async def test_nothing_comes_after_the_end() -> None:
    made = stream()
    made.push(DONE)
    assert made.push(text("late"))
    made.fail(RequestCancelled("late"))
    made.keep_alive(0)
    assert await read(made) == [DONE]


async def test_hidden_reasoning_keeps_its_count_and_loses_its_text() -> None:
    made = stream(hides_reasoning=True)
    made.push(Reasoning("r", 0, "secret", 3))
    made.push(DONE)
    [reasoning, _] = await read(made)
    assert isinstance(reasoning, Reasoning)
    assert (reasoning.text, reasoning.tokens) == ("", 3)


async def test_a_client_that_does_not_read_loses_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_stream, "_MAX_UNREAD", 10)
    made = stream()
    assert made.push(text("x" * 10))
    assert not made.push(text("x"))
    with pytest.raises(EngineError, match="did not read"):
        await read(made)


async def test_what_was_read_does_not_count_against_a_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_stream, "_MAX_UNREAD", 10)
    made = stream()
    batches = made.batches()
    for _ in range(3):
        assert made.push(text("x" * 8))
        await anext(batches)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (None, "keep-alive"),
        (Loading("r", "model", 3.2), "keep-alive loading 3 s"),
        (Prefill("r", 512, 2048, 0), "keep-alive prompt 512/2048"),
    ],
)
async def test_a_keep_alive_says_what_a_request_waits_for(event: Event | None, says: str) -> None:
    made = stream()
    if event is not None:
        made.push(event)
    made.keep_alive(0)
    batches = made.batches()
    assert (await anext(batches))[-1] == KeepAlive(says)


async def test_there_is_no_keep_alive_after_a_recent_event() -> None:
    made = stream()
    made.push(text("a"))
    made.keep_alive(60)
    assert await anext(made.batches()) == [text("a")]


async def test_a_request_waits_for_its_model_until_another_event_comes() -> None:
    made = stream()
    seen = [made.waits_for_model]
    for event in (Loading("r", "model", 0.0), text("a"), Loading("r", "model", 1.0)):
        made.push(event)
        seen.append(made.waits_for_model)
    assert seen == [None, True, False, False]
