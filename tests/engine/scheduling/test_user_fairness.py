"""One user with a hundred requests does not delay another: a real model, step by step."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlx_notebook.demo_models
from mlx_notebook import protocol
from mlx_notebook.engine.generation.request import Request, RequestState
from mlx_notebook.engine.runtime.activity import Activity
from mlx_notebook.engine.scheduling.scheduler import Scheduler

MODEL = "tiny-chat"
PATH = Path(mlx_notebook.demo_models.__file__).parent / MODEL
ROWS = 8
# Drafts would end answers that repeat themselves before all have begun.
OPTIONS = protocol.ModelOptions(prompt_lookup=0)


class Shared(Scheduler):
    """A scheduler for several users that a test steps."""

    def __init__(self) -> None:
        self.events: list[protocol.Event] = []
        settings = protocol.EngineConfig(max_batch=ROWS, warm_up=False, prefix_disk_bytes=0)
        super().__init__(settings, self.events.extend, Activity())

    def ask(self, user: str, number: int = 0, *, tokens: int = 3, urgent: bool = False) -> str:
        """Send a request of a user; return its id."""
        id = f"{user} {number} {len(self.events)}"
        messages = [{"role": "user", "content": f"Say something about the number {number}."}]
        self.inbox.put(
            protocol.Generate(
                id=id,
                model=MODEL,
                path=str(PATH),
                prompt=protocol.ChatPrompt(messages=messages),
                sampling=protocol.Sampling(max_tokens=tokens, ignore_eos=True, temperature=0.0),
                user=user,
                urgent=urgent,
                options=OPTIONS,
            )
        )
        return id

    def step_until(self, what: Callable[[], object]) -> None:
        while not what():
            self._take_commands()
            self.step()

    def prepare(self, *ids: str) -> None:
        """Wait until these are ready to join the batch, without a step."""
        while not all(self.state(id) is RequestState.READY for id in ids):
            self._take_commands()

    def side_jobs(self) -> int:
        return len(self._residency.models[MODEL].side_jobs)

    def ended(self) -> set[str]:
        return {event.id for event in self.events if isinstance(event, protocol.Done)}

    def cancel_all(self) -> None:
        for request in self._requests:
            self.inbox.put(protocol.Cancel(request.id))
        self.step_until(lambda: not len(self._requests))

    def state(self, id: str) -> RequestState | None:
        request = self._requests.get(id)
        return None if request is None else request.state


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Shared]:
    shared = Shared()
    first = shared.ask("")
    shared.step_until(lambda: first in shared.ended())
    yield shared
    shared.inbox.put(protocol.Shutdown())
    shared.run()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RequestState, str]]:
    """Which requests have entered which state, in order."""
    order: list[tuple[RequestState, str]] = []
    enter = Request.enter

    def recorded(self: Request, state: RequestState) -> None:
        enter(self, state)
        order.append((state, self.id))

    monkeypatch.setattr(Request, "enter", recorded)
    return order


def test_a_hundred_requests_do_not_delay_one_of_another_user(
    scheduler: Shared, entered: list[tuple[RequestState, str]]
) -> None:
    greedy = [scheduler.ask("greedy", number) for number in range(100)]
    ann, bob = scheduler.ask("ann"), scheduler.ask("bob")
    scheduler.prepare(*greedy, ann, bob)
    scheduler.step_until(lambda: {*greedy, ann, bob} <= scheduler.ended())
    joined = [id for state, id in entered if state is RequestState.PREFILL]
    assert len(joined) == 102
    assert max(joined.index(ann), joined.index(bob)) <= 2


def test_a_free_row_goes_to_the_user_who_has_none(scheduler: Shared) -> None:
    greedy = [scheduler.ask("greedy", number, tokens=1500) for number in range(20)]

    def running() -> list[str]:
        return [id for id in greedy if scheduler.state(id) is RequestState.DECODE]

    scheduler.step_until(lambda: len(running()) == ROWS - 1)
    ann = scheduler.ask("ann", tokens=1500)
    scheduler.prepare(ann)
    scheduler.step_until(lambda: scheduler.state(ann) is RequestState.DECODE)
    assert not scheduler.ended() & set(greedy)
    bob = scheduler.ask("bob", tokens=1500)
    scheduler.prepare(bob)
    scheduler.inbox.put(protocol.Cancel(running()[0]))
    scheduler.step_until(lambda: scheduler.state(bob) is RequestState.DECODE)
    assert len(running()) == ROWS - 2
    scheduler.cancel_all()


def test_a_user_with_many_urgent_requests_leaves_room_for_those_of_another(
    scheduler: Shared,
) -> None:
    def running(ids: list[str]) -> list[str]:
        return [id for id in ids if scheduler.state(id) is RequestState.DECODE]

    greedy = [scheduler.ask("greedy", number, tokens=1500) for number in range(20)]
    scheduler.step_until(lambda: len(running(greedy)) == ROWS - 1)
    ann = [scheduler.ask("ann", number, tokens=1500, urgent=True) for number in range(20)]
    scheduler.prepare(*ann)
    scheduler.step_until(lambda: running(ann))
    bob = scheduler.ask("bob", urgent=True)
    scheduler.prepare(bob)
    scheduler.step_until(lambda: bob in scheduler.ended())
    assert len(running(ann)) <= protocol.URGENT_ROWS
    scheduler.cancel_all()


def test_embeddings_of_users_are_computed_in_turn(scheduler: Shared) -> None:
    for number in range(30):
        scheduler.inbox.put(embed("greedy", number))
    scheduler.inbox.put(embed("ann", 0))

    def embedded() -> list[str]:
        return [event.id for event in scheduler.events if isinstance(event, protocol.Embedded)]

    while scheduler.side_jobs() < 31:
        scheduler._take_commands()
    scheduler.step_until(lambda: len(embedded()) == 31)
    assert embedded().index("embed ann 0") <= 1


def embed(user: str, number: int) -> protocol.Embed:
    id = f"embed {user} {number}"
    return protocol.Embed(
        id=id,
        model=MODEL,
        path=str(PATH),
        inputs=[f"text {number}"] * 3,
        user=user,
        options=OPTIONS,
    )
