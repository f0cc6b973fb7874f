"""Jobs that wait until their model is in memory: one queue for each model.

Users take turns. Among the models of one user the order is strict: first come, first served. If a
small model could overtake a large one that waits for memory, the large one would never be loaded.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlx_notebook.engine.residency.user_turns import UserTurns
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import (
    Embed,
    Generate,
    Load,
    ModelOptions,
    Rerank,
    Speak,
    Tokenize,
    Transcribe,
)

ModelJob = Generate | Tokenize | Embed | Rerank | Transcribe | Speak | Load
"""A command that needs a model in memory."""


@dataclass(frozen=True)
class ModelSpec:
    """The folder of a model and the options to load it with. Another spec is another model."""

    path: Path
    options: ModelOptions

    @classmethod
    def of(cls, job: ModelJob) -> "ModelSpec":
        """Return the spec that a command names."""
        return cls(Path(job.path), job.options)


@dataclass
class ModelQueue:
    """The jobs that wait for one model.

    Attributes
    ----------
    since
        When the first of them began to wait, on `time.perf_counter`.
    need
        The memory that the model will need; None until its files were read.
    """

    model: str
    spec: ModelSpec
    jobs: list[ModelJob] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    need: Footprint | None = None

    @property
    def has_load(self) -> bool:
        """Whether a `Load` command is among the jobs."""
        return any(isinstance(job, Load) for job in self.jobs)

    @property
    def patient(self) -> bool:
        """Whether nobody waits for any of the jobs."""
        return all(isinstance(job, Generate | Embed) and job.patient for job in self.jobs)

    @property
    def users(self) -> list[str]:
        """The users whose jobs they are, in the order of their first one."""
        return list(dict.fromkeys(job.user for job in self.jobs))

    @property
    def may_evict(self) -> bool:
        """Whether other models may be evicted for it: one of the jobs may do that."""
        return any(job.evict for job in self.jobs)

    @property
    def only_loads(self) -> bool:
        """Whether all jobs are `Load` commands: no request waits for an answer."""
        return all(isinstance(job, Load) for job in self.jobs)


class ModelQueues:
    """The queues of all models, in the order in which they began."""

    def __init__(self) -> None:
        self._queues: dict[str, ModelQueue] = {}
        self._turns = UserTurns()

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[ModelQueue]:
        return iter(list(self._queues.values()))

    @property
    def head(self) -> ModelQueue | None:
        """The queue whose model is loaded next: the oldest one of the user whose turn it is.

        Those for which nobody waits come after all others.
        """
        if not self._queues:
            return None
        queues = [queue for queue in self if not queue.patient] or list(self)
        turn = self._turns.next(user for queue in queues for user in queue.users)
        return next(queue for queue in queues if turn in queue.users)

    def get(self, model: str) -> ModelQueue | None:
        """Return the queue of a model, or None if no job waits for it."""
        return self._queues.get(model)

    def add(self, job: ModelJob) -> None:
        """Append a job to the queue of its model. The last job decides how the model is loaded."""
        spec = ModelSpec.of(job)
        queue = self._queues.setdefault(job.model, ModelQueue(job.model, spec))
        if queue.spec != spec:
            queue.spec, queue.need = spec, None
        queue.jobs.append(job)

    def pop(self, model: str) -> list[ModelJob]:
        """Remove the queue of a model and return its jobs. Their users have had a turn."""
        queue = self._queues.pop(model, None)
        if queue is None:
            return []
        for user in queue.users:
            self._turns.charge(user)
        return queue.jobs

    def remove(self, job_id: str) -> ModelJob | None:
        """Remove one job and return it, or None if it is in no queue."""
        for queue in self:
            for job in queue.jobs:
                if job.id == job_id:
                    queue.jobs.remove(job)
                    if not queue.jobs:
                        del self._queues[queue.model]
                    return job
        return None
