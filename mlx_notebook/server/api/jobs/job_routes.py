"""Handle `mlx/jobs`: create a job, list jobs, follow one and stop it."""

import anyio
from jupyter_server.auth.decorator import authorized
from tornado import web

from mlx_notebook.server.api.http.base import ApiHandler, ends_with_client
from mlx_notebook.server.api.http.event_stream import EventStreamHandler
from mlx_notebook.server.api.http.query import flag, whole_number
from mlx_notebook.server.api.jobs.job_plans import PLANS
from mlx_notebook.server.identity import owner
from mlx_notebook.server.wire.native import job_types as wire

_MIN_INTERVAL = 0.25
_KEEP_ALIVE_SECONDS = 10.0


class JobsHandler(ApiHandler):
    """Create a job, and list jobs."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the jobs that the user may see."""
        user = await self.visible_owner()
        jobs = self.services.jobs.visible(user)
        self.answer(wire.JobList([job.status(user) for job in jobs]))

    @web.authenticated
    @authorized
    @ends_with_client
    async def post(self) -> None:
        """Create a job and answer with its state. It goes on when the client has left."""
        request = self.decoded(wire.JOB_DECODER)
        plan = await PLANS[type(request)](self, request)
        user = await owner(self)
        self.answer(self.services.jobs.start(plan, user).status(user))


class JobHandler(ApiHandler):
    """Show a job."""

    _track_activity = False

    @web.authenticated
    @authorized
    @ends_with_client
    async def get(self, id: str) -> None:
        """Answer with its state and what it has recorded; with `wait`, once it has ended."""
        user = await self.visible_owner()
        job = self.services.jobs.find(id, user)
        while flag(self, "wait") and not job.has_ended:
            await job.change(job.version)
        self.answer(wire.JobDetail(job.status(user), job.points()))


class JobEventsHandler(EventStreamHandler):
    """Stream a job."""

    _track_activity = False

    @web.authenticated
    @authorized
    @ends_with_client
    async def get(self, id: str) -> None:
        """Send its state and its records at once, and what is new at most four times a second.

        The stream ends with the job. `after` is the number of the last entry that the client has.
        """
        user = await self.visible_owner()
        job = self.services.jobs.find(id, user)
        seen = whole_number(self, "after", 0, 0, 2**53)
        async with self.event_stream():
            while True:
                version, is_last = job.version, job.has_ended
                points = job.points(seen)
                seen = max([seen, *(point.number for point in points)])
                await self.send_event(wire.JobDetail(job.status(user), points))
                if is_last:
                    return
                await anyio.sleep(_MIN_INTERVAL)
                while job.version == version:
                    with anyio.move_on_after(_KEEP_ALIVE_SECONDS):
                        await job.change(version)
                        break
                    await self.send_comment("keep-alive")


class StopJobHandler(ApiHandler):
    """Stop a job."""

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Tell it to stop, and answer with its state. It ends when it has saved what it has."""
        request = self.decoded(wire.STOP_DECODER) if self.body.content else wire.StopJobRequest()
        user = await self.visible_owner()
        job = self.services.jobs.find(id, user)
        await self.services.jobs.stop(job, keep=request.keep)
        self.answer(job.status(user))
