"""The loop over rows: what it sends again, what it gives up, and how much it sends at a time."""

import itertools

import pytest

from mlx_notebook.notebook.errors import (
    EngineFailed,
    ModelNotFound,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
)
from mlx_notebook.notebook.tables import row_loop
from mlx_notebook.notebook.tables.map_progress import MapState, MapView
from mlx_notebook.notebook.tables.row_loop import RowAnswer, RowLoop, RowRequest


class Server:
    def get(self, path):
        assert path == "mlx/status"
        return {"queue": {"batch": 4, "limit": 8}}


class Scripted:
    """Raises the errors of a list, one a request, and then answers with the prompts."""

    def __init__(self, errors=(), together=1):
        self.errors, self.together = list(errors), together
        self.sent, self.attempts = [], []

    def is_final(self, error):
        return False

    async def ask(self, requests, attempt):
        self.sent.append([request.prompt for request in requests])
        self.attempts.append(attempt)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        if "bad" in self.sent[-1]:
            raise RequestRefused("input[0] is too long")
        return [RowAnswer(request.prompt, tokens=1) for request in requests]

    async def close(self):
        pass


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(row_loop, "_pauses", lambda: itertools.repeat(0.0))


def run(answerer, prompts="abc", retry=2):
    state = MapState(len(prompts))
    loop = RowLoop(Server(), answerer, retry=retry, cache=None)
    requests = [RowRequest(prompt) for prompt in prompts]
    answers = loop.run(requests, state, MapView(state, shown=False))
    return [answer.text or answer.error for answer in answers], state


def test_failures_that_may_pass_are_tried_again_and_then_told():
    answerer = Scripted([EngineFailed("it broke")] * 2)
    assert run(answerer)[0] == ["a", "b", "c"]
    assert answerer.attempts[:3] == [0, 1, 2]
    said, state = run(Scripted([EngineFailed("it broke")] * 3))
    assert said == ["it broke", "b", "c"]
    assert (state.failed, state.first_error) == (1, "it broke")
    assert run(Scripted([EngineFailed("it broke")]), retry=0)[0][0] == "it broke"


def test_a_full_queue_and_a_lost_server_are_no_failures_of_a_row(monkeypatch):
    answerer = Scripted([ServerBusy("full")] * 20 + [ServerUnreachable("gone")] * 20)
    assert run(answerer, retry=0)[0] == ["a", "b", "c"]
    assert set(answerer.attempts) == {0}
    monkeypatch.setattr(row_loop, "_MOST_LOST_SECONDS", -1)
    answerer = Scripted([ServerUnreachable("gone")] * 2)
    assert run(answerer)[0] == ["gone", "gone", "c"]


def test_only_a_mistake_that_the_first_request_shows_is_raised():
    with pytest.raises(ModelNotFound, match="nowhere"):
        run(Scripted([ModelNotFound("nowhere")]))
    assert run(Scripted([None, ModelNotFound("nowhere")]))[0] == ["a", "nowhere", "c"]
    blind = RequestRefused("it embeds no images")
    blind.param, blind.code = "input[0].image", "vision_not_supported"
    with pytest.raises(RequestRefused, match="no images"):
        run(Scripted([blind], together=3))


def test_rows_of_one_request_that_is_refused_are_asked_one_by_one():
    answerer = Scripted(together=3)
    said, _ = run(answerer, ["a", "bad", "c", "d"])
    assert said == ["a", "input[0] is too long", "c", "d"]
    assert answerer.sent == [["a", "bad", "c"], ["a"], ["bad"], ["c"], ["d"]]


def test_the_first_request_goes_alone_and_then_as_many_as_the_server_takes():
    under_way, most, first = 0, 0, []

    class Counting(Scripted):
        async def ask(self, requests, attempt):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            first.append(under_way)
            await row_loop.asyncio.sleep(0.05)
            under_way -= 1
            return await super().ask(requests, attempt)

    run(Counting(), [str(number) for number in range(30)])
    assert first[:2] == [1, 1]
    assert 2 <= most <= 6  # a batch of four, and half as many that wait
