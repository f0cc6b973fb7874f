"""Requests that nobody waits for run while there is nothing else to do, and step aside at once."""

from collections.abc import Iterator

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.generation.request import RequestState
from tests.engine.scheduling.test_urgent import Typed
from tests.tiny_models.models import qwen3


class Batched(Typed):
    """A scheduler with lines of batches."""

    def line(self, text: str, tokens: int = 1500) -> str:
        return self.ask(protocol.TextPrompt(text=text), tokens, patient=True)

    def decodes(self, id: str) -> bool:
        return self.state(id) is RequestState.DECODE

    def end(self, *ids: str) -> None:
        self.cancel(*ids)
        self.step_until(lambda: not self.rows and not len(self._requests))


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batched]:
    scheduler = Batched(qwen3(tmp_path_factory.mktemp("models") / "model"))
    scheduler.run_until_done(scheduler.chat("warm", 2))
    yield scheduler
    scheduler.inbox.put(protocol.Shutdown())
    scheduler.run()


def test_lines_run_when_nothing_else_does_and_take_half_of_the_rows(batched: Batched) -> None:
    lines = [batched.line(text) for text in ("one", "two", "three")]
    batched.step_until(lambda: batched.decodes(lines[0]))
    batched.step_until(lambda: all(batched.state(id) is RequestState.READY for id in lines[1:]))
    batched.one_step()
    assert batched.rows == 1
    batched.end(*lines)


def test_a_request_joins_at_once_and_lines_begin_when_it_has_ended(batched: Batched) -> None:
    running = batched.line("one")
    batched.step_until(lambda: batched.decodes(running))
    waiting = batched.line("two", 2)
    asked = [batched.chat("three", 40), batched.chat("four", 40)]
    batched.step_until(lambda: batched.state(asked[1]) is RequestState.PREFILL)
    # Rows of lines are not those of others: both requests have one.
    batched.step_until(lambda: all(batched.decodes(id) for id in asked))
    assert batched.decodes(running)
    batched.cancel(running)
    batched.step_until(lambda: batched.state(running) is None)
    batched.step_until(lambda: batched.state(waiting) is RequestState.READY)
    assert not any(batched.done(id) for id in asked)
    batched.one_step()
    assert batched.state(waiting) is RequestState.READY
    for id in asked:
        batched.run_until_done(id)
    batched.run_until_done(waiting)
    batched.end()
