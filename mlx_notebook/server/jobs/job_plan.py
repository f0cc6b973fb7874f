"""What a job is to do, checked and ready to run: the link between a request and its process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mlx_notebook.protocol import JobSpec, JobValue

JobResult = dict[str, JobValue]
"""What a job has made, for its user: names, paths, figures."""


async def as_it_is(result: JobResult) -> JobResult:
    """Return the result of a job's process unchanged."""
    return result


@dataclass(frozen=True)
class JobPlan:
    """Describe a job.

    Attributes
    ----------
    kind
        `kind` of its request.
    title
        What it does, for people, without a capital: "fine-tuning of tiny-chat as facts".
    model
        Name of the model that it works on.
    makes
        Name of what it makes. No two jobs make the same at a time.
    spec
        What its process is to do.
    bytes
        Memory that is kept free for it before it starts. It asks for more if it needs more.
    evict
        Whether models may be evicted for it.
    finished
        Awaited with the result of its process; returns the result for the user.
    result
        The result, if there is nothing to do because it is there already.
    """

    kind: str
    title: str
    model: str
    makes: str
    spec: JobSpec
    bytes: int
    evict: bool = True
    finished: Callable[[JobResult], Awaitable[JobResult]] = as_it_is
    result: JobResult | None = None
