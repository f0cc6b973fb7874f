"""The status shows jobs and batches: in full to their user, without names to an admin."""

from types import SimpleNamespace
from typing import Any, cast

from mlx_notebook.protocol import JobProgress, MergeSpec
from mlx_notebook.server.api.native.active_jobs import active_jobs
from mlx_notebook.server.batches.batch_record import BatchProgress
from mlx_notebook.server.jobs.job import Job
from mlx_notebook.server.jobs.job_plan import JobPlan
from mlx_notebook.server.wire.native.status_types import ActiveJob


def job(owner: str) -> Job:
    spec = MergeSpec(model="a+b", path="a", adapter="b", name="new", folder="new")
    return Job(JobPlan("merge", "merge of a+b", "a+b", "new", spec, 10), owner)


def shown(user: str | None, jobs: list[Job], batches: list[BatchProgress]) -> list[ActiveJob]:
    services: Any = SimpleNamespace(jobs=SimpleNamespace(active=jobs), running_batches=batches)
    return active_jobs(cast(Any, services), user)


def test_a_job_tells_what_it_waits_for_and_how_far_it_is() -> None:
    waiting, running = job("ann"), job("ann")
    waiting.wait_for("waiting for another job")
    running.start()
    running.take(JobProgress("writing", 3, 10, "tensors"))
    first, second = shown("ann", [running, waiting], [])
    assert (first.kind, first.title, first.state) == ("merge", "merge of a+b", "running")
    assert (first.phase, first.done, first.total, first.unit) == ("writing", 3, 10, "tensors")
    assert (second.state, second.phase) == ("waiting", "waiting for another job")
    running.stop()
    assert shown("ann", [running], [])[0].state == "stopping"


def test_a_batch_is_shown_among_the_jobs() -> None:
    batches = [
        BatchProgress("batch_1", "ann", "v1/embeddings", "in_progress", 20, 200),
        BatchProgress("batch_2", "ann", "v1/embeddings", "validating", 0, 0),
        BatchProgress("batch_3", "ann", "v1/embeddings", "cancelling", 20, 200),
    ]
    found = shown("ann", [], batches)
    assert [one.state for one in found] == ["running", "waiting", "stopping"]
    assert (found[0].id, found[0].kind, found[0].title) == (
        *("batch_1", "batch"),
        "batch for v1/embeddings",
    )
    assert (found[0].phase, found[0].done, found[0].total) == ("in progress", 20, 200)


def test_another_users_job_has_no_name() -> None:
    jobs = [job("ann"), job("bob")]
    batches = [BatchProgress("batch_1", "bob", "v1/embeddings", "in_progress", 20, 200)]
    own, other, batch = shown("ann", jobs, batches)
    assert own.own
    assert own.title
    for one in (other, batch):
        assert not one.own
        assert one.id.startswith("other-")
        assert one.title == one.model == ""
    assert batch.done == 20
    assert all(one.own for one in shown(None, jobs, batches))
