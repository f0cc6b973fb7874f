"""What a job tells: bounded, whatever its process sends."""

import asyncio

from mlx_notebook.protocol import JobNote, JobProgress, JobRecord, MergeSpec
from mlx_notebook.server.errors import InsufficientMemory
from mlx_notebook.server.jobs.job import Job
from mlx_notebook.server.jobs.job_plan import JobPlan


def job() -> Job:
    spec = MergeSpec(model="a+b", path="a", adapter="b", name="new", folder="new")
    return Job(JobPlan("merge", "merge of a+b", "a+b", "new", spec, 10), "owner")


def test_a_long_record_keeps_its_first_entries_and_its_newest_ones():
    one = job()
    for step in range(10_000):
        one.take(JobRecord("train", {"step": step}))
        one.take(JobRecord("sample", {"step": step}) if step % 1000 == 0 else JobNote("slow"))
    steps = [point.values["step"] for point in one.points() if point.name == "train"]
    assert len(steps) <= 4000
    assert steps[0] == 0
    assert steps[-1] == 9999
    assert steps == sorted(steps)
    assert len([point for point in one.points() if point.name == "sample"]) == 10
    assert len(one.status(None).notes) == 50


def test_what_a_client_has_is_not_sent_again():
    one = job()
    for step in range(5):
        one.take(JobRecord("train", {"step": step}))
    assert [point.values["step"] for point in one.points(after=3)] == [3, 4]


def test_texts_of_a_process_are_cut():
    one = job()
    one.take(JobRecord("sample", {"text": "x" * 100_000}))
    text = one.points()[0].values["text"]
    assert isinstance(text, str)
    assert len(text) == 4000


def test_the_time_left_is_that_of_the_phase():
    one = job()
    one.start()
    one.take(JobProgress("training", 1, 100, "steps"))
    assert one.status(None).seconds_left is None
    one.take(JobProgress("training", 50, 100, "steps"))
    left = one.status(None).seconds_left
    assert left is not None
    assert left >= 0
    one.take(JobProgress("writing", 1, 100, "files"))
    assert one.status(None).seconds_left is None


def test_who_waits_for_a_change_is_woken():
    async def wait() -> None:
        one = job()
        waiting = asyncio.create_task(one.change(one.version))
        await asyncio.sleep(0)
        one.start()
        await waiting

    asyncio.run(wait())


def test_a_job_that_was_refused_memory_failed_and_says_what_is_kept():
    one = job()
    one.refuse(InsufficientMemory("It needs 3 GB more."))
    one.stopped("A checkpoint is saved.")
    status = one.status(None)
    assert (status.state, status.code) == ("failed", "insufficient_memory")
    assert status.message == "It needs 3 GB more. A checkpoint is saved."
