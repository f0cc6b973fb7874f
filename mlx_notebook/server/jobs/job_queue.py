"""Run jobs one after the other, each in a process of its own with memory of the engine's budget."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from logging import Logger

from mlx_notebook.protocol import (
    Failed,
    JobDone,
    JobFailed,
    JobStopped,
    Release,
    Reserve,
)
from mlx_notebook.server.engine.engine_client import EngineClient
from mlx_notebook.server.errors import (
    ApiError,
    Conflict,
    NotFound,
    QueueFull,
    Unavailable,
    from_failed,
)
from mlx_notebook.server.jobs.job import Job
from mlx_notebook.server.jobs.job_plan import JobPlan
from mlx_notebook.server.jobs.job_process import JobProcess
from mlx_notebook.server.wire.ids import new_id

_MOST_JOBS, _MOST_OF_ONE_USER = 16, 8
_ENDED_JOBS = 50
# A job that was told to stop may take so long to save what it has.
_STOP_SECONDS = 60.0
_CLOSE_SECONDS = 3.0


class JobQueue:
    """Hold all jobs of this server. One runs at a time, in the order of the requests.

    Parameters
    ----------
    engine
        Keeps memory free for them.
    env
        Environment variables of the processes.
    changed
        Called when a job begins, goes on or ends.
    log
        Logger for the output of the processes.
    """

    def __init__(
        self,
        engine: EngineClient,
        *,
        env: Mapping[str, str],
        changed: Callable[[], None],
        log: Logger,
    ) -> None:
        self._engine = engine
        self._env = env
        self._changed = changed
        self._log = log
        self._jobs: dict[str, Job] = {}
        self._turn = asyncio.Lock()
        self._running: tuple[Job, JobProcess] | None = None

    @property
    def active(self) -> list[Job]:
        """Jobs that have not ended, in their order."""
        return [job for job in self._jobs.values() if not job.has_ended]

    def visible(self, owner: str | None) -> list[Job]:
        """Return the jobs of a user, None for all: those that have not ended, then the last."""
        seen = [job for job in self._jobs.values() if owner in (None, job.owner)]
        return [job for job in seen if not job.has_ended] + [
            job for job in reversed(seen) if job.has_ended
        ]

    def find(self, id: str, owner: str | None) -> Job:
        """Return a job that a user may see.

        Raises
        ------
        NotFound
            If there is none.
        """
        job = self._jobs.get(id)
        if job is None or owner not in (None, job.owner):
            raise NotFound(
                f"There is no job {id[:100]!r}. mlx/jobs lists those that run, and the last ones.",
                code="job_not_found",
            )
        return job

    def start(self, plan: JobPlan, owner: str) -> Job:
        """Add a job. If the user has asked for the very same already, return that job.

        Raises
        ------
        Conflict
            If another job makes what this one is to make.
        QueueFull
            If too many jobs wait.
        """
        for job in self.active:
            if job.plan.makes == plan.makes:
                if job.plan.spec == plan.spec and job.owner == owner and job.state != "stopping":
                    return job
                raise Conflict(
                    f"Another job makes {plan.makes} at this moment ({job.plan.title}, {job.id}). "
                    "Wait for it, stop it, or choose another name.",
                    param="name",
                    code="job_running",
                )
        own = sum(job.owner == owner for job in self.active)
        if own >= _MOST_OF_ONE_USER or len(self.active) >= _MOST_JOBS:
            raise QueueFull(
                f"{len(self.active)} jobs run or wait, {own} of them yours. Try again when one of "
                "them has ended.",
                headers={"Retry-After": "60"},
            )
        job = Job(plan, owner)
        self._jobs[job.id] = job
        if plan.result is not None:
            job.end("finished", result=plan.result)
        else:
            job.task = asyncio.create_task(self._run(job))
            job.task.add_done_callback(partial(self._ended, job))
        self._forget_old_jobs()
        self._changed()
        return job

    async def stop(self, job: Job, *, keep: bool) -> None:
        """Stop a job. Return at once; it ends when it has saved what it has done."""
        if job.has_ended or job.task is None:
            return
        running = self._running
        if running is None or running[0] is not job:
            job.task.cancel()
        elif job.state != "stopping":
            job.stop()
            await running[1].stop(keep=keep)
            asyncio.get_running_loop().call_later(_STOP_SECONDS, job.task.cancel)

    async def close(self) -> None:
        """Let the running job save what it has, and end all jobs within seconds."""
        if self._running is not None:
            job, _ = self._running
            await self.stop(job, keep=True)
            assert job.task is not None
            await asyncio.wait([job.task], timeout=_CLOSE_SECONDS)
        tasks = [job.task for job in self.active if job.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- one job ----------------------------------------------------------------------------------

    async def _run(self, job: Job) -> None:
        if self._turn.locked():
            job.wait_for("waiting for another job")
        async with self._turn:
            job.wait_for("waiting for memory")
            try:
                await self._reserve(job, job.plan.bytes)
                end = await self._run_process(job)
            finally:
                self._engine.release(Release(job.id))
        # Who hears of the end may use the memory at once.
        end()

    async def _reserve(self, job: Job, size: int) -> None:
        plan = job.plan
        wish = Reserve(
            id=new_id("reserve-"),
            holder=job.id,
            model=plan.model,
            title=plan.title,
            bytes=size,
            evict=plan.evict,
        )
        job.memory = (await self._engine.reserve(wish, job.owner)).bytes

    async def _run_process(self, job: Job) -> Callable[[], None]:
        """Run a job's process to its end, and return what records how it ended."""
        async with JobProcess.running(job.plan.spec, env=self._env, log=self._log) as process:
            self._running = job, process
            job.start()
            self._log.info("Job %s (%s) runs as process %d.", job.id, job.plan.title, process.pid)
            memory = asyncio.create_task(self._follow_memory(job))
            try:
                return await self._follow(job, process)
            finally:
                self._running = None
                memory.cancel()
                await asyncio.wait([memory])

    async def _follow(self, job: Job, process: JobProcess) -> Callable[[], None]:
        """Take the messages of a job's process, until the last one."""
        async for message in process.messages():
            match message:
                case JobDone():
                    result = await job.plan.finished(message.result)
                    return partial(job.end, "finished", result=result)
                case JobStopped():
                    return partial(job.stopped, message.text)
                case JobFailed():
                    error = Failed(job.id, message.code, message.message, message.param)
                    return partial(job.fail, from_failed(error))
                case _:
                    job.take(message)
                    self._changed()
        raise Unavailable(
            f"The process of the job ended: {await process.end_reason()}.", code="job_failed"
        )

    async def _follow_memory(self, job: Job) -> None:
        """Keep as much memory free as the job turns out to need, or stop it."""
        while True:
            version = job.version
            if job.measured > job.memory:
                try:
                    await self._reserve(job, job.measured)
                except ApiError as error:
                    job.refuse(error)
                    await self.stop(job, keep=True)
                    return
            await job.change(version)

    def _ended(self, job: Job, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            if not job.has_ended:
                job.stopped("The job was stopped.")
        elif (error := task.exception()) is not None:
            if not isinstance(error, ApiError):
                self._log.error("The job %s failed.", job.id, exc_info=error)
                message = "The server failed to run the job. Its log says why."
                error = Unavailable(message, code="job_failed")
            job.fail(error)
        self._log.info("Job %s (%s) ended: %s.", job.id, job.plan.title, job.state)
        self._changed()

    def _forget_old_jobs(self) -> None:
        ended = [id for id, job in self._jobs.items() if job.has_ended]
        for id in ended[:-_ENDED_JOBS]:
            del self._jobs[id]
