"""One job: its state, its progress, and what it has recorded, all of bounded size."""

import asyncio
import time
from collections import Counter, deque

from mlx_notebook.protocol import JobMemory, JobNote, JobProgress, JobRecord
from mlx_notebook.server.errors import ApiError
from mlx_notebook.server.jobs.job_plan import JobPlan, JobResult
from mlx_notebook.server.wire.ids import new_id
from mlx_notebook.server.wire.native import job_types as wire

# A record that grows longer loses every other entry.
_MOST_POINTS = 4000
_MOST_NOTES = 50
_LONGEST_TEXT = 4000
# Time over which the speed is measured, for the estimate of the time left.
_SPEED_SECONDS = 30.0


class Job:
    """Track a job from its request to its end.

    Parameters
    ----------
    plan
        What it does.
    owner
        User who asked for it (see `identity.owner`).
    """

    def __init__(self, plan: JobPlan, owner: str) -> None:
        self.id = new_id("job-")
        self.plan = plan
        self.owner = owner
        self.state: wire.JobState = "waiting"
        self.memory = 0
        self.measured = 0
        self.task: asyncio.Task[None] | None = None
        self.version = 0
        self._created = time.time()
        self._started: float | None = None
        self._ended: float | None = None
        self._progress = JobProgress("waiting")
        self._speed: deque[tuple[float, int]] = deque()
        self._notes: list[str] = []
        self._points: list[wire.JobPoint] = []
        self._count = 0
        self._lengths = Counter[str]()
        self._result: JobResult = {}
        self._message: str | None = None
        self._code: str | None = None
        self._refusal: ApiError | None = None
        self._changed = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, in any way."""
        return self.state in ("finished", "stopped", "failed")

    def status(self, user: str | None) -> wire.JobStatus:
        """Return its state for a user; None for one who may see the jobs of all."""
        at = self._progress
        return wire.JobStatus(
            id=self.id,
            kind=self.plan.kind,
            title=self.plan.title,
            model=self.plan.model,
            state=self.state,
            own=user in (None, self.owner),
            created=self._created,
            started=self._started,
            ended=self._ended,
            phase=at.phase,
            done=at.done,
            total=at.total,
            unit=at.unit,
            seconds_left=None if self.has_ended else self._seconds_left(),
            memory=self.memory,
            notes=list(self._notes),
            result=self._result,
            message=self._message,
            code=self._code,
        )

    def points(self, after: int = 0) -> list[wire.JobPoint]:
        """Return what it has recorded, from the entry after number `after` on."""
        return [point for point in self._points if point.number > after]

    async def change(self, version: int) -> None:
        """Wait until it differs from what it was at `version`."""
        while self.version == version:
            await self._changed.wait()

    # --- events -----------------------------------------------------------------------------------

    def wait_for(self, what: str) -> None:
        """Say what it waits for."""
        self._progress = JobProgress(what)
        self._wake()

    def start(self) -> None:
        """Record that its process runs."""
        self.state, self._started = "running", time.time()
        self._progress = JobProgress("starting")
        self._wake()

    def stop(self) -> None:
        """Record that its process was told to stop."""
        self.state = "stopping"
        self._wake()

    def take(self, message: JobProgress | JobRecord | JobNote | JobMemory) -> None:
        """Take a message of its process."""
        match message:
            case JobProgress():
                self._take_progress(message)
            case JobRecord():
                self._record(message)
            case JobNote():
                self.note(message.text)
            case JobMemory():
                self.measured = max(self.measured, message.bytes)
        self._wake()

    def note(self, text: str) -> None:
        """Add a sentence for the user."""
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(text[:_LONGEST_TEXT])
        self._wake()

    def end(self, state: wire.JobState, *, result: JobResult | None = None) -> None:
        """Record that it has ended."""
        self.state, self._ended, self.memory = state, time.time(), 0
        self._result = result or {}
        self._wake()

    def refuse(self, error: ApiError) -> None:
        """Record why it is stopped: it failed, once it has stopped."""
        self._refusal = error

    def stopped(self, message: str) -> None:
        """Record that it was stopped. The message says what is kept."""
        if self._refusal is not None:
            self._refusal.message = f"{self._refusal.message} {message}"
            self.fail(self._refusal)
            return
        self._message = message[:_LONGEST_TEXT]
        self.end("stopped")

    def fail(self, error: ApiError) -> None:
        """Record why it failed."""
        self._message, self._code = error.message[:_LONGEST_TEXT], error.code
        self.end("failed")

    def _take_progress(self, progress: JobProgress) -> None:
        if progress.phase != self._progress.phase:
            self._speed.clear()
        self._progress = progress
        now = time.monotonic()
        self._speed.append((now, progress.done))
        while len(self._speed) > 2 and now - self._speed[0][0] > _SPEED_SECONDS:
            self._speed.popleft()

    def _seconds_left(self) -> float | None:
        if len(self._speed) < 2 or not self._progress.total:
            return None
        (since, before), (now, done) = self._speed[0], self._speed[-1]
        if done <= before or now <= since:
            return None
        return round((self._progress.total - done) * (now - since) / (done - before), 1)

    def _record(self, record: JobRecord) -> None:
        self._count += 1
        values = {
            key: value[:_LONGEST_TEXT] if isinstance(value, str) else value
            for key, value in record.values.items()
        }
        self._points.append(wire.JobPoint(self._count, record.name, values))
        self._lengths[record.name] += 1
        if self._lengths[record.name] > _MOST_POINTS:
            of_name = [point.number for point in self._points if point.name == record.name]
            dropped = set(of_name[1::2])
            self._points = [point for point in self._points if point.number not in dropped]
            self._lengths[record.name] -= len(dropped)

    def _wake(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
