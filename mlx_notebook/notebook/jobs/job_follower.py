"""Create a job of the server and follow it to its end; an interrupt stops it."""

from collections.abc import Callable
from typing import Any

from mlx_notebook.notebook.errors import (
    DoesNotFit,
    Interrupted,
    JobFailed,
    ModelNotFound,
    NotebookError,
    from_response,
)
from mlx_notebook.notebook.interrupts import LastingInterrupt, interruptible
from mlx_notebook.notebook.server.server import Server

Shown = Callable[[dict[str, Any], list[dict[str, Any]]], None]
"""Shows a job: its state, and what it has recorded since the last call."""


def run_job(server: Server, request: dict[str, Any], show: Shown) -> dict[str, Any]:
    """Create a job and wait for its end.

    The very same request while the job runs follows that job, for example after a restart of the
    kernel. A kernel interrupt stops the job, which saves what it has done.

    Parameters
    ----------
    server
        The server.
    request
        The body for `mlx/jobs`.
    show
        Called with each change.

    Returns
    -------
    dict
        What the job has made.

    Raises
    ------
    Interrupted
        On an interrupt, once the job has saved what it has done. The message says how to go on.
    JobFailed
        If the job failed, or somebody else stopped it.
    NotebookError
        If the server refuses the job, or does not answer.
    """
    job = server.post("mlx/jobs", request)
    stopped = False
    try:
        with interruptible(), LastingInterrupt():
            job = _follow(server, job["id"], show)
    except KeyboardInterrupt:
        stopped = True
        job = _stop(server, job["id"], show)
    if job["state"] == "finished":
        result: dict[str, Any] = job["result"]
        return result
    message = job["message"] or "The job was stopped."
    if stopped:
        raise Interrupted(message)
    if job["state"] == "failed":
        raise failure(job)
    raise JobFailed(message)


def failure(job: dict[str, Any]) -> NotebookError:
    """Return the exception for a job that failed."""
    error = {"message": job["message"], "code": job["code"]}
    status = 507 if job["code"] == "insufficient_memory" else 400
    raised = from_response(status, error, where="the server")
    if isinstance(raised, DoesNotFit | ModelNotFound):
        return raised
    found = JobFailed(str(raised))
    found.code = raised.code
    return found


def _follow(server: Server, id: str, show: Shown) -> dict[str, Any]:
    """Show a job until it ends, and return its last state."""
    job: dict[str, Any] = {}
    with server.events(f"mlx/jobs/{id}") as events:
        for event in events:
            job = event["job"]
            show(job, event["records"])
    return job


def _stop(server: Server, id: str, show: Shown) -> dict[str, Any]:
    """Stop a job, and wait until it has saved what it has done. Another interrupt waits no more."""
    try:
        with interruptible(), LastingInterrupt():
            server.post(f"mlx/jobs/{id}/cancel", {"keep": True})
            return _follow(server, id, show)
    except KeyboardInterrupt:
        raise Interrupted(
            "The job was told to stop and saves what it has done. The same call goes on from there."
        ) from None
