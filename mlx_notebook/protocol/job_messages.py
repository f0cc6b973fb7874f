"""The messages of a job's process.

A job runs in a process of its own, beside the engine. Its standard input gets one line with a
`JobSpec`, and later `StopJob` if need be. It writes lines with `JobMessage` to its standard output,
the last of which is `JobDone`, `JobStopped` or `JobFailed`. All lines are JSON. It ends when its
standard input closes: the server is gone.
"""

from typing import Any

import msgspec

from mlx_notebook.protocol.events import ErrorCode

JobValue = int | float | str | None
"""A figure or a text that a job tells."""


class TrainingExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation whose last message, an assistant's, is to be learned.

    `messages` and `tools` are in OpenAI's format.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []


class JobProgress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the job is: `done` of `total` `unit` of its `phase`; `total` 0: not known."""

    phase: str
    done: int = 0
    total: int = 0
    unit: str = ""


class JobRecord(msgspec.Struct, frozen=True, tag="record"):
    """One entry of the job's record `name`: a point of a curve, a sample, a measurement."""

    name: str
    values: dict[str, JobValue]


class JobNote(msgspec.Struct, frozen=True, tag="note"):
    """A sentence that the user must see, for example that examples were left out."""

    text: str


class JobMemory(msgspec.Struct, frozen=True, tag="memory"):
    """The most memory that the job has needed so far, in bytes, as measured."""

    bytes: int


class JobDone(msgspec.Struct, frozen=True, tag="done"):
    """The last message of a job that has finished its work."""

    result: dict[str, Any]


class JobStopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The last message of a job that was stopped. `text` says what is kept and how to go on."""

    text: str


class JobFailed(msgspec.Struct, frozen=True, tag="failed"):
    """The last message of a job that failed; `message` says what happened and what to do."""

    code: ErrorCode
    message: str
    param: str | None = None


JobMessage = JobProgress | JobRecord | JobNote | JobMemory | JobDone | JobStopped | JobFailed


class StopJob(msgspec.Struct, frozen=True, tag="stop"):
    """End the job soon. `keep` says whether what is done so far is kept, to go on from later."""

    keep: bool = True
