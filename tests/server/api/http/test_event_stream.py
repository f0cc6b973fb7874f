"""One place opens, writes and closes event streams."""

from types import SimpleNamespace
from typing import Any

import pytest

from mlx_notebook.server.api.http.event_stream import EventStreamHandler, comment
from mlx_notebook.server.errors import ApiError, EngineError
from mlx_notebook.server.telemetry import metrics
from mlx_notebook.server.users.user import User

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Handler(EventStreamHandler):
    """A handler whose connection is a list."""

    endpoint = "test/events"

    def __init__(self) -> None:
        self.request: Any = SimpleNamespace(connection=None)
        self.sent: list[bytes] = []
        self.headers: dict[str, str] = {}
        self._host_is_allowed = True
        self._user = User("")
        self._headers_written = False
        self._finished = False

    def set_header(self, name: str, value: Any) -> None:
        self.headers[name] = value

    def write(self, chunk: Any) -> None:
        self.sent.append(chunk)

    async def flush(self, include_footers: bool = False) -> None:  # type: ignore[override]
        self._headers_written = True

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        self._finished = True


def counted(code: str) -> float:
    return float(metrics.ERRORS.labels(code)._value.get())


async def test_a_stream_has_its_headers_its_events_and_an_end() -> None:
    handler = Handler()
    async with handler.event_stream():
        await handler.send_event({"a": 1})
        assert not handler._finished
    assert handler.headers["Content-Type"].startswith("text/event-stream")
    assert handler.headers["Cache-Control"] == "no-cache"
    assert handler.sent == [b'data: {"a":1}\n\n']
    assert handler._finished


async def test_an_error_before_the_first_event_keeps_its_status() -> None:
    handler = Handler()
    with pytest.raises(EngineError):
        async with handler.event_stream():
            raise EngineError("It failed.")
    assert not handler.sent
    assert not handler._finished


async def test_a_later_error_is_the_last_event_and_is_counted() -> None:
    handler, before = Handler(), counted("engine_error")
    async with handler.event_stream():
        await handler.send_event({})
        raise EngineError("It failed.")
    _, last = handler.sent
    assert last.startswith(b"event: error\ndata: {")
    assert b"It failed." in last
    assert handler._finished
    assert counted("engine_error") == before + 1


async def test_an_api_may_have_events_of_its_own_for_an_error() -> None:
    handler, before = Handler(), counted("engine_error")

    async def failure(error: ApiError) -> bytes:
        return error.message.encode()

    async with handler.event_stream(failure):
        await handler.send_event({})
        raise EngineError("It failed.")
    assert handler.sent[1:] == [b"It failed."]
    assert counted("engine_error") == before + 1


async def test_an_error_of_another_kind_ends_a_stream_too() -> None:
    handler = Handler()
    await handler.send_comment("begun")
    handler.send_error(500, exc_info=(RuntimeError, RuntimeError(), None))
    assert b"internal_error" in handler.sent[-1]
    assert handler._finished


async def test_a_comment_opens_the_stream_that_it_comes_before() -> None:
    handler = Handler()
    await handler.send_comment("downloading")
    assert handler.headers["Content-Type"].startswith("text/event-stream")
    async with handler.event_stream():
        await handler.send_event(1)
    assert handler.sent == [comment("downloading"), b"data: 1\n\n"]
    assert comment("downloading") == b": downloading\n\n"
