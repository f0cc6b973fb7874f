"""WebSockets to `v1/responses`, with the official client and with a bare one, on a real server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import openai.types.responses as sdk
import pydantic
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.server.running import RunningServer, running, wait_for

FIXED: dict[str, Any] = {"model": "tiny-chat", "temperature": 0, "max_output_tokens": 8}
ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(sdk.ResponsesServerEvent)
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key=server.token, max_retries=0) as client:
        yield client


def socket(server: RunningServer, query: str = "", **options: Any) -> ClientConnection:
    """A bare connection, by default with the token in its head."""
    url = server.openai_url.replace("http", "ws", 1) + "/responses" + query
    settings = {"additional_headers": server.headers, "proxy": None, "open_timeout": 60, **options}
    return connect(url, **settings)


def ask(connection: ClientConnection, **request: Any) -> None:
    connection.send(json.dumps({"type": "response.create", **FIXED, "store": False, **request}))


def events(connection: ClientConnection) -> list[Any]:
    """All events up to the end of a response, checked against the official types."""
    found: list[Any] = []
    while not found or found[-1].type not in LAST:
        message = connection.recv(timeout=60)
        assert isinstance(message, str)
        found.append(ADAPTER.validate_json(message))
    return found


def answer(connection: ClientConnection, **request: Any) -> Any:
    """The response to a request."""
    ask(connection, **request)
    return events(connection)[-1].response


def refusal(connection: ClientConnection, **request: Any) -> tuple[int, str | None, str | None]:
    """Status, code and parameter of the error for a request."""
    ask(connection, **request)
    [last] = events(connection)
    return last.status, last.error.code, last.error.param


def test_the_official_client_goes_on_with_what_is_not_stored(client: openai.OpenAI) -> None:
    told = []
    with client.responses.connect() as connection:
        asked: dict[str, Any] = {"input": "My name is Ada.", "previous_response_id": None}
        for _ in range(2):
            connection.response.create(**FIXED, store=False, **asked)
            found = [connection.recv()]
            while found[-1].type not in LAST:
                found.append(connection.recv())
            numbers = [event.sequence_number for event in found]  # type: ignore[union-attr]
            assert numbers == list(range(len(found)))
            assert found[0].type == "response.created"
            last: Any = found[-1]
            told.append(last.response)
            asked = {"input": "What is my name?", "previous_response_id": last.response.id}
    first, second = told
    both = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "What is my name?"},
    ]
    assert first.output_text
    assert second.previous_response_id == first.id
    assert second.output_text == client.responses.create(**FIXED, input=both).output_text  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_what_is_stored_goes_on_elsewhere(client: openai.OpenAI, server: RunningServer) -> None:
    with socket(server) as connection:
        first = answer(connection, input="My name is Ada.", store=True)
    with socket(server) as connection:
        second = answer(connection, input="And?", previous_response_id=first.id, store=True)
    assert second.store
    items = client.responses.input_items.list(second.id).data
    assert len(items) == 3
    # Each request has its trace.
    trace = server.client.get(f"mlx/traces/{second.id}").raise_for_status().json()
    assert (trace["endpoint"], trace["model"]) == ("v1/responses", "tiny-chat")


def test_errors_are_frames_and_the_connection_goes_on(server: RunningServer) -> None:
    with socket(server) as connection:
        for text, code in [("{", "invalid_json"), ("[]", "invalid_type"), ('"a"', "invalid_type")]:
            connection.send(text)
            [error] = events(connection)
            assert (error.status, error.error.code) == (400, code)
        unsupported = (400, "unsupported_parameter")
        for request, expected in [
            ({"type": "response.steer"}, (400, "invalid_value", "type")),
            ({"type": 3}, (400, "invalid_value", "type")),
            ({"background": True}, (*unsupported, "background")),
            ({"stream": False}, (*unsupported, "stream")),
            ({"stream_id": "a"}, (*unsupported, "stream_id")),
            ({"input": []}, (400, "missing_parameter", "input")),
            ({"input": "Hi", "model": "nonesuch"}, (404, "model_not_found", "model")),
            ({"input": "Hi", "temperature": 3}, (400, "invalid_value", "temperature")),
            ({"input": "word " * 200, "model": "short"}, (400, "context_length_exceeded", "input")),
            (
                {"input": "Hi", "previous_response_id": "resp_none"},
                (400, "previous_response_not_found", "previous_response_id"),
            ),
        ]:
            assert refusal(connection, **request) == expected, request
        assert answer(connection, input="Hi", stream=True, generate=True, background=False).output


def test_a_failed_turn_forgets_what_it_continued(server: RunningServer) -> None:
    with socket(server) as connection:
        first = answer(connection, input="Hi")
        after = {"input": "And?", "previous_response_id": first.id}
        assert refusal(connection, **after, store=True) == (400, "invalid_request", "store")
        gone = (400, "previous_response_not_found", "previous_response_id")
        assert refusal(connection, **after) == gone
        second = answer(connection, input="Hi")
        # Only the last one is kept, and not for another connection.
        third = answer(connection, input="And?", previous_response_id=second.id)
        assert refusal(connection, input="And?", previous_response_id=second.id) == gone
        with socket(server) as other:
            assert refusal(other, input="And?", previous_response_id=third.id) == gone
        assert answer(connection, input="And?", previous_response_id=third.id).output


def test_a_prompt_is_computed_ahead(server: RunningServer) -> None:
    instructions = "You count sheep. " * 20
    with socket(server) as connection:
        ahead = answer(connection, instructions=instructions, input=[], generate=False)
        assert (ahead.status, ahead.output, ahead.usage.output_tokens) == ("completed", [], 0)
        again = answer(
            connection, instructions=instructions, input="How many?", previous_response_id=ahead.id
        )
        assert again.output
        assert again.usage.input_tokens_details.cached_tokens > 60
        more = answer(connection, input="More?", generate=False, previous_response_id=again.id)
        assert more.output == []
        assert answer(connection, input="Now?", previous_response_id=more.id).output


def test_a_call_goes_out_and_its_result_comes_back(server: RunningServer) -> None:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    with socket(server) as connection:
        asked: dict[str, Any] = {"tools": [tool], "max_output_tokens": 60}
        first = answer(connection, input="Look.", tool_choice="required", **asked)
        [call] = [item for item in first.output if item.type == "function_call"]
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "a cat"}
        second = answer(connection, input=[result], previous_response_id=first.id, **asked)
        assert second.output


LONG = {"input": "Tell.", "max_output_tokens": 3000, "ignore_eos": True}


def test_a_response_ends_with_its_connection(server: RunningServer) -> None:
    cancelled = server.wait_until_idle()["totals"]["cancelled"]
    with socket(server) as connection:
        ask(connection, **LONG)
        for _ in range(5):
            connection.recv(timeout=60)
    wait_for(lambda: server.status()["totals"]["cancelled"] == cancelled + 1, 60)


def test_a_response_is_cancelled_and_its_connection_goes_on(server: RunningServer) -> None:
    with socket(server) as connection:
        ask(connection, **LONG)
        created = json.loads(connection.recv(timeout=60))
        server.client.post(f"mlx/cancel/{created['response']['id']}").raise_for_status()
        last = events(connection)[-1]
        assert (last.status, last.error.code) == (499, "request_cancelled")
        assert answer(connection, input="Hi").output


def test_messages_are_answered_in_turn_and_not_too_many(server: RunningServer) -> None:
    with socket(server) as connection:
        for limit in (2, 3):
            ask(connection, input="Hi", max_output_tokens=limit, ignore_eos=True)
        used = [events(connection)[-1].response.usage.output_tokens for _ in range(2)]
        assert used == [2, 3]
        ask(connection, **LONG)
        connection.recv(timeout=60)
        for _ in range(17):
            ask(connection, input="Hi")
        assert events(connection)[-1].error.code == "queue_full"
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1013
    with socket(server) as connection, pytest.raises(ConnectionClosed):
        answer(connection, input="a" * 8 * 1024 * 1024)
    server.wait_until_idle(60)


def test_a_connection_is_authenticated_as_any_request(server: RunningServer) -> None:
    def status(query: str = "", **options: Any) -> int:
        with pytest.raises(InvalidStatus) as caught:
            socket(server, query, **options)
        body = caught.value.response.body
        assert body is not None
        assert "message" in json.loads(body)["error"]
        return caught.value.response.status_code

    assert status(additional_headers={}) == 401
    assert status(additional_headers={"Authorization": "Bearer wrong"}) == 401
    with socket(server, f"?token={server.token}", additional_headers={}) as connection:
        assert answer(connection, input="Hi").output
    with httpx.Client(base_url=server.url) as browser:
        browser.get("api/status", params={"token": server.token}).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    logged_in = {"additional_headers": {"Cookie": cookies}}
    assert status(origin="https://evil.example", **logged_in) == 403
    with socket(server, origin=server.url.split("/nb")[0], **logged_in) as connection:
        assert answer(connection, input="Hi").output
    # Without an upgrade it is the route that it was.
    assert server.client.get("v1/responses").status_code == 405
    # Nor is any other route one for WebSockets.
    head = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert server.client.get("v1/models", headers=head).status_code == 200


def test_a_user_has_so_many_connections(server: RunningServer) -> None:
    open_ones = [socket(server) for _ in range(32)]
    with pytest.raises(InvalidStatus) as caught:
        socket(server)
    assert caught.value.response.status_code == 429
    assert b"max_sockets" in (caught.value.response.body or b"")
    for connection in open_ones:
        connection.close()

    def room() -> bool:
        try:
            socket(server).close()
        except InvalidStatus:
            return False
        return True

    wait_for(room, 60)


def test_a_connection_has_an_end() -> None:
    config = {"MlxNotebookApp": {"socket_minutes": 0.001, "keep_alive_seconds": 0.1}}
    with running(config=config, alone=True) as server:
        with socket(server) as connection:
            [error] = events(connection)
            assert (error.status, error.error.code) == (400, "websocket_connection_limit_reached")
            with pytest.raises(ConnectionClosed) as caught:
                connection.recv(timeout=60)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
