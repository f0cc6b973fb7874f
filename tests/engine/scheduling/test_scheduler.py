"""The scheduler on a real model, step by step in this process."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_notebook import protocol
from mlx_notebook.engine.generation.request import Request, RequestState
from mlx_notebook.engine.generation.runner import Runner, StepResult
from mlx_notebook.engine.residency.residency import Residency
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.scheduling.scheduler import Scheduler
from tests.tiny_models.models import qwen3

S = RequestState
END = {"max_tokens": 3, "temperature": 0.0, "ignore_eos": True}
ENDLESS = {**END, "max_tokens": 1500}
# Long enough for the prefix cache on disk, which has blocks of 128 tokens.
LONG = "lorem ipsum " * 50


class Stepped(Scheduler):
    """A scheduler that a test steps; it records its events and the states of its requests."""

    def __init__(self, settings: protocol.EngineConfig):
        self.events: list[protocol.Event] = []
        super().__init__(settings, self.events.extend, Activity())

    def step(self) -> None:
        self._take_commands()
        super().step()

    def generate(self, id: str, path: Path, text: str = "Hello", **options: object) -> str:
        prompt = protocol.TextPrompt(text=text)
        scored = options.pop("prompt_logprobs", None)
        sampling = protocol.Sampling(**{**END, **options})  # type: ignore[arg-type]
        self.inbox.put(
            protocol.Generate(
                id=id,
                model=path.name,
                path=str(path),
                prompt=prompt,
                sampling=sampling,
                prompt_logprobs=scored,  # type: ignore[arg-type]
            )
        )
        return id

    def run_until_ended(self, *ids: str) -> list[protocol.Event]:
        """Step until these have ended; return how."""
        while True:
            ends = {
                event.id: event
                for event in self.events
                if isinstance(event, protocol.Done | protocol.Failed)
            }
            if set(ids) <= ends.keys():
                return [ends[id] for id in ids]
            self.step()

    def stats(self) -> protocol.Stats:
        return self._meter.stats()

    def is_idle(self) -> bool:
        return not (self.stats().requests or sum(model.active for model in self.stats().resident))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefixes")


@pytest.fixture(scope="module")
def scheduler(disk: Path) -> Iterator[Stepped]:
    settings = protocol.EngineConfig(
        max_batch=2,
        warm_up=False,
        prefill_step=64,
        prefix_disk_path=str(disk),
        prefix_disk_bytes=2**28,
    )
    stepped = Stepped(settings)
    yield stepped
    stepped.inbox.put(protocol.Shutdown())
    stepped.run()


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[RequestState]]:
    """The states that each request has entered."""
    entered: dict[str, list[RequestState]] = {}
    enter = Request.enter

    def recorded(self: Request, state: RequestState) -> None:
        enter(self, state)
        entered.setdefault(self.id, []).append(state)

    monkeypatch.setattr(Request, "enter", recorded)
    return entered


GENERATION = [S.PREPARING, S.READY, S.PREFILL, S.DECODE, S.FINISHED]


def test_a_request_waits_for_its_model_and_the_next_one_does_not(
    scheduler: Stepped, model: Path, states: dict[str, list[RequestState]]
) -> None:
    scheduler.run_until_ended(scheduler.generate("cold", model))
    assert states["cold"] == [S.LOADING, *GENERATION]
    scheduler.run_until_ended(scheduler.generate("warm", model))
    assert states["warm"] == GENERATION
    assert scheduler.is_idle()


def test_unused_memory_is_kept_for_the_next_request_of_some_seconds(
    scheduler: Stepped, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.run_until_ended(scheduler.generate("asked", model))
    now = time.perf_counter()
    monkeypatch.setattr(scheduler, "_last_active", now - 5)
    scheduler.step()
    assert scheduler.stats().memory.cache > 0
    monkeypatch.setattr(scheduler, "_last_active", now - 11)
    scheduler.step()
    assert scheduler.stats().memory.cache == 0


def test_a_prompt_is_scored_before_its_request_is_ready(
    scheduler: Stepped, model: Path, states: dict[str, list[RequestState]]
) -> None:
    scheduler.run_until_ended(scheduler.generate("scored", model, prompt_logprobs=1))
    assert states["scored"] == [S.PREPARING, S.SCORING, *GENERATION[1:]]
    scheduler.run_until_ended(
        scheduler.generate("only scored", model, prompt_logprobs=1, max_tokens=0)
    )
    assert states["only scored"] == [S.PREPARING, S.SCORING, S.READY, S.FINISHED]
    assert scheduler.is_idle()


def test_the_kv_cache_of_a_prompt_is_read_from_disk(
    scheduler: Stepped, model: Path, states: dict[str, list[RequestState]]
) -> None:
    scheduler.run_until_ended(scheduler.generate("first", model, LONG))
    scheduler.inbox.put(protocol.Unload(id="unload", model=model.name))
    while not any(isinstance(event, protocol.Unloaded) for event in scheduler.events):
        scheduler.step()
    assert scheduler._prefixes._disk is not None
    scheduler._prefixes._disk.drain(60)
    (done,) = scheduler.run_until_ended(scheduler.generate("again", model, LONG))
    assert states["again"] == [S.LOADING, S.PREPARING, S.RESTORING, *GENERATION[1:]]
    assert isinstance(done, protocol.Done)
    assert done.usage.cached >= 512
    assert 0 < done.timings.loading < done.timings.first_token


def test_requests_beyond_the_batch_are_ready_until_a_row_is_free(
    scheduler: Stepped, model: Path, states: dict[str, list[RequestState]]
) -> None:
    ids = [scheduler.generate(f"row {i}", model) for i in range(4)]
    while len(states) < 4 or not all(S.READY in entered for entered in states.values()):
        scheduler.step()
    scheduler.run_until_ended(*ids)
    assert all(entered == GENERATION for entered in states.values())
    assert scheduler.is_idle()


@pytest.mark.parametrize(
    ("state", "text", "options"),
    [
        (S.PREPARING, "Hello", {}),
        (S.SCORING, "Hello", {"prompt_logprobs": 1}),
        (S.READY, "Hello", {}),
        (S.PREFILL, "dolor sit amet " * 50, {}),
        (S.DECODE, "Hello", {}),
    ],
    ids=lambda value: value.name if isinstance(value, RequestState) else None,
)
def test_a_request_can_be_cancelled_in_any_state_and_leaves_nothing_behind(
    scheduler: Stepped,
    model: Path,
    states: dict[str, list[RequestState]],
    state: RequestState,
    text: str,
    options: dict[str, object],
) -> None:
    scheduler.run_until_ended(scheduler.generate(f"before {state.name}", model))
    id = scheduler.generate(f"cancelled in {state.name}", model, text, **ENDLESS, **options)
    while state not in states.get(id, []):
        scheduler.step()
    scheduler.inbox.put(protocol.Cancel(id=id))
    while not scheduler.is_idle():
        scheduler.step()
    assert states[id][-1] is S.CANCELLED
    assert isinstance(
        scheduler.run_until_ended(scheduler.generate(f"after {state.name}", model))[0],
        protocol.Done,
    )


def test_a_load_goes_on_for_the_next_request_when_its_own_is_cancelled(
    scheduler: Stepped,
    other: Path,
    states: dict[str, list[RequestState]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance = Residency.advance
    with monkeypatch.context() as patch:
        patch.setattr(Residency, "advance", lambda self: None if states else advance(self))
        id = scheduler.generate("cancelled while loading", other)
        while id not in states:
            scheduler.step()
        scheduler.inbox.put(protocol.Cancel(id=id))
        while scheduler.stats().requests:
            scheduler.step()
    assert states[id] == [S.LOADING, S.CANCELLED]
    while scheduler.stats().loading:
        scheduler.step()
    assert other.name in {resident.model for resident in scheduler.stats().resident}
    assert scheduler.is_idle()


def test_a_failed_step_ends_the_requests_of_its_model_only(
    scheduler: Stepped,
    model: Path,
    other: Path,
    states: dict[str, list[RequestState]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler.run_until_ended(scheduler.generate("load", model), scheduler.generate("too", other))
    step = Runner.step

    def failing(self: Runner, events: list[protocol.Event]) -> StepResult:
        if self.backend.name == model.name:
            raise ValueError("a fault")
        return step(self, events)

    monkeypatch.setattr(Runner, "step", failing)
    failed, done = scheduler.run_until_ended(
        scheduler.generate("fails", model), scheduler.generate("goes on", other)
    )
    assert isinstance(failed, protocol.Failed)
    assert failed.message == f"{model.name} failed while generating: a fault"
    assert states["fails"][-1] is S.FAILED
    assert isinstance(done, protocol.Done)
    assert [resident.model for resident in scheduler.stats().resident] == [other.name]
    monkeypatch.undo()
    (again,) = scheduler.run_until_ended(scheduler.generate("again after the fault", model))
    assert isinstance(again, protocol.Done)


def test_the_totals_count_how_requests_ended(scheduler: Stepped) -> None:
    totals = scheduler.stats().totals
    assert totals.requests == totals.finished + totals.cancelled + totals.failed
    assert totals.failed >= 1
    assert totals.cancelled >= 1
