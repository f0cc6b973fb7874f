"""The messages of a job's process, and the wish to stop it."""

import io
import os
import time

import msgspec
import pytest

from mlx_notebook.engine.errors import LoadFailed
from mlx_notebook.engine.job_process import WORK, run
from mlx_notebook.engine.jobs.job_channel import JobChannel, StopWanted
from mlx_notebook.protocol import (
    JobDone,
    JobFailed,
    JobMemory,
    JobMessage,
    JobSpec,
    JobStopped,
    MergeSpec,
    StopJob,
)

SPEC = MergeSpec(model="a+b", path="a", adapter="b", name="new", folder="new")


def messages(target: io.BytesIO) -> list[JobMessage]:
    decoder = msgspec.json.Decoder(JobMessage)
    return [decoder.decode(line) for line in target.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("outcome", "last"),
    [
        ({"model": "new"}, JobDone({"model": "new"})),
        (StopWanted(keep=True), JobStopped("The job was stopped.")),
        (
            LoadFailed("a is broken.", "model"),
            JobFailed("model_load_failed", "a is broken.", "model"),
        ),
        (ValueError("odd"), JobFailed("engine_error", "The job failed: odd.")),
        (MemoryError(), JobFailed("insufficient_memory", "The memory of this machine ran out.")),
    ],
)
def test_the_last_message_says_how_a_job_ended(
    monkeypatch: pytest.MonkeyPatch, outcome: object, last: JobMessage
) -> None:
    def work(spec: JobSpec, channel: JobChannel) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setitem(WORK, MergeSpec, work)
    target = io.BytesIO()
    run(SPEC, JobChannel(io.BytesIO(), target))
    assert messages(target) == [last]


def test_only_growing_memory_is_told() -> None:
    target = io.BytesIO()
    channel = JobChannel(io.BytesIO(), target)
    for most in (100, 101, 90, 200):
        channel.memory(most)
    assert messages(target) == [JobMemory(100), JobMemory(200)]


def wish_of(channel: JobChannel) -> StopWanted:
    while True:
        try:
            channel.check()
        except StopWanted as stop:
            return stop
        time.sleep(0.001)


def test_the_wish_to_stop_is_heard_between_steps() -> None:
    reader, writer = os.pipe()
    channel = JobChannel(os.fdopen(reader, "rb"), io.BytesIO())
    channel.check()
    channel.listen()
    os.write(writer, msgspec.json.encode(StopJob(keep=False)) + b"\n")
    assert not wish_of(channel).keep
    # The pipe stays open: its end would end this process.
