"""What keeps a resident model busy, and for how long it is idle."""

import time

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.backends.backend import GeneratingBackend
from mlx_notebook.engine.generation.request import Request
from tests.engine.residency.weights import resident


def request(id: str) -> Request:
    prompt = protocol.TextPrompt(text="Hello")
    return Request(protocol.Generate(id=id, model="a", path="/a", prompt=prompt))


def test_jobs_in_preparation_and_ready_requests_keep_it_busy() -> None:
    model = resident("a", 10)
    assert not model.busy
    model.preparing.add("1")
    assert model.busy
    assert model.status.active == 1
    model.ready.append(request("2"))
    assert model.status.active == 2
    model.preparing.discard("1")
    assert model.busy
    model.remove("2")
    assert not model.busy
    assert model.status.active == 0
    assert not model.has_work


def test_a_job_that_is_removed_twice_is_counted_once() -> None:
    model = resident("a", 10)
    model.preparing.add("1")
    for _ in range(2):
        model.preparing.discard("1")
        model.remove("1")
    assert model.status.active == 0


def test_a_model_that_only_embeds_has_no_batch() -> None:
    model = resident("a", 10)
    assert not isinstance(model.backend, GeneratingBackend)
    assert model.runner is None
    assert model.rows == model.excess == 0


def test_a_kept_model_is_not_idle_but_was_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    model = resident("a", 10, used_at=1000.0)
    now[0] += 60
    assert model.idle_seconds == 60
    model.keep()
    assert (model.idle_seconds, model.used_at) == (0, 1000.0)
    model.mark_used()
    assert model.used_at == 1060.0


def test_only_the_first_steps_of_a_batch_size_may_compile() -> None:
    model = resident("a", 10)
    assert [model.may_compile(2) for _ in range(5)] == [True] * 3 + [False] * 2
    assert model.may_compile(3)
