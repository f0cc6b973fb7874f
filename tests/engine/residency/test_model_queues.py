"""Jobs that wait for their models."""

from mlx_notebook.engine.residency.model_queues import ModelQueues, ModelSpec
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import Embed, Load, ModelOptions


def embed(id: str, model: str, user: str = "", **options: int) -> Embed:
    chosen = ModelOptions(**options)
    return Embed(id=id, model=model, path=f"/{model}", options=chosen, inputs=["x"], user=user)


def load(id: str, model: str) -> Load:
    return Load(id=id, model=model, path=f"/{model}")


def test_the_model_that_was_asked_for_first_is_next() -> None:
    queues = ModelQueues()
    for job in (embed("1", "a"), embed("2", "b"), embed("3", "a")):
        queues.add(job)
    assert [queue.model for queue in queues] == ["a", "b"]
    assert queues.head is queues.get("a")
    assert [job.id for job in queues.pop("a")] == ["1", "3"]
    assert queues.head is queues.get("b") is not None
    assert queues.pop("a") == []


def test_the_last_job_decides_how_the_model_is_loaded() -> None:
    queues = ModelQueues()
    queues.add(embed("1", "a"))
    queue = queues.get("a")
    assert queue is not None
    queue.need = Footprint(base=1, own=0, kv=0)
    last = embed("2", "a", context_limit=99)
    queues.add(last)
    assert queue.spec == ModelSpec.of(last)
    assert queue.need is None  # it was that of other options


def test_a_queue_knows_whether_anyone_waits_for_an_answer() -> None:
    queues = ModelQueues()
    queues.add(load("1", "a"))
    queue = queues.get("a")
    assert queue is not None
    assert queue.has_load
    assert queue.only_loads
    queues.add(embed("2", "a"))
    assert queue.has_load
    assert not queue.only_loads


def test_the_last_cancelled_job_takes_its_queue_along() -> None:
    queues = ModelQueues()
    first, second = embed("1", "a"), embed("2", "a")
    queues.add(first)
    queues.add(second)
    assert queues.remove("1") is first
    assert len(queues) == 1
    assert queues.remove("2") is second
    assert len(queues) == 0
    assert queues.remove("2") is None


def test_users_take_turns_with_their_models() -> None:
    queues = ModelQueues()
    for id, model, user in [("1", "a", "x"), ("2", "b", "x"), ("3", "c", "x"), ("4", "d", "y")]:
        queues.add(embed(id, model, user))
    order = []
    while queues.head is not None:
        order.append(queues.head.model)
        queues.pop(queues.head.model)
    assert order == ["a", "d", "b", "c"]


def test_a_turn_stays_with_its_model_while_others_arrive() -> None:
    queues = ModelQueues()
    queues.add(embed("1", "a", "x"))
    for number in range(20):
        assert queues.head is queues.get("a")
        queues.add(embed(f"other {number}", f"model {number}", f"user {number}"))


def test_a_model_may_evict_others_if_one_of_its_users_may() -> None:
    queues = ModelQueues()
    queues.add(Load(id="1", model="a", path="/a", evict=False))
    queue = queues.get("a")
    assert queue is not None
    assert not queue.may_evict
    queues.add(Load(id="2", model="a", path="/a"))
    assert queue.may_evict
