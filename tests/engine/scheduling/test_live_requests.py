"""The requests that have not ended, and the counts of those that have."""

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.errors import InvalidRequest
from mlx_notebook.engine.generation.request import RequestState
from mlx_notebook.engine.scheduling.live_requests import LiveRequests


@pytest.fixture
def sent() -> list[protocol.Event]:
    return []


@pytest.fixture
def requests(sent: list[protocol.Event]) -> LiveRequests:
    live = LiveRequests(sent.extend)
    for id in ("1", "2", "3"):
        prompt = protocol.TextPrompt(text="Hello")
        live.add(protocol.Generate(id=id, model="m", path="/m", prompt=prompt))
    return live


def test_each_request_is_counted_once_by_how_it_ended(
    requests: LiveRequests, sent: list[protocol.Event]
) -> None:
    assert requests.cancel("1") is not None
    assert requests.cancel("1") is None
    requests.fail("2", InvalidRequest("No.", "model"))
    assert [request.id for request in requests] == ["3"]
    assert "1" not in requests
    assert requests.total == 3
    assert requests.ended == {RequestState.CANCELLED: 1, RequestState.FAILED: 1}
    assert sent == [protocol.Failed("2", "invalid_request", "No.", "model")]


def test_the_failure_of_another_job_is_sent_and_not_counted(
    requests: LiveRequests, sent: list[protocol.Event]
) -> None:
    requests.fail("embedding", InvalidRequest("No."))
    assert len(requests) == 3
    assert not requests.ended
    assert sent == [protocol.Failed("embedding", "invalid_request", "No.", None)]
