"""List the long jobs and the batches of requests that have not ended."""

from typing import Literal

from mlx_notebook.server.batches.batch_record import BatchProgress
from mlx_notebook.server.jobs.job import Job
from mlx_notebook.server.services import Services
from mlx_notebook.server.wire.native.status_types import ActiveJob

# Prefix in place of the ids of other users' jobs.
_OTHERS = "other-"
_BATCH_STATES: dict[str, Literal["waiting", "running", "stopping"]] = {
    "validating": "waiting",
    "cancelling": "stopping",
}


def active_jobs(services: Services, user: str | None) -> list[ActiveJob]:
    """Return the jobs of all users that have not ended, in their order, then the batches.

    Parameters
    ----------
    services
        Parts of the server.
    user
        User whose jobs are shown with their ids and titles; None for those of all users.
    """
    found = [
        *(_job(job, own=user in (None, job.owner)) for job in services.jobs.active),
        *(_batch(batch, own=user in (None, batch.owner)) for batch in services.running_batches),
    ]
    for number, job in enumerate(found):
        if not job.own:
            job.id, job.title, job.model = f"{_OTHERS}{number}", "", ""
    return found


def _job(job: Job, *, own: bool) -> ActiveJob:
    status = job.status(None)
    state = status.state
    assert state in ("waiting", "running", "stopping")
    return ActiveJob(
        id=status.id,
        kind=status.kind,
        title=status.title,
        model=status.model,
        state=state,
        phase=status.phase,
        done=status.done,
        total=status.total,
        unit=status.unit,
        seconds_left=status.seconds_left,
        own=own,
    )


def _batch(batch: BatchProgress, *, own: bool) -> ActiveJob:
    return ActiveJob(
        id=batch.id,
        kind="batch",
        title=f"batch for {batch.endpoint}",
        model="",
        state=_BATCH_STATES.get(batch.status, "running"),
        phase=batch.status.replace("_", " "),
        done=batch.done,
        total=batch.total,
        unit="requests",
        own=own,
    )
