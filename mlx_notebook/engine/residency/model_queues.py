"""Work whose model is not in memory yet: model by model, in the order in which they were asked for.

Strictly in order: a small model does not overtake a large one that waits for memory, or the large
one would never find room.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import Embed, Generate, Load, ModelOptions, Tokenize

Job = Generate | Tokenize | Embed | Load


@dataclass(frozen=True)
class Source:
    """Where a model comes from and how it is to be loaded; another source is another model."""

    path: Path
    options: ModelOptions

    @classmethod
    def of(cls, job: Job) -> "Source":
        """The source that a command names."""
        return cls(Path(job.path), job.options)


@dataclass
class Queue:
    """What waits for one model. `since` is when it began, on `time.perf_counter`.

    `need` is what the model will take, once that has been read from its files.
    """

    model: str
    source: Source
    jobs: list[Job] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    need: Footprint | None = None

    @property
    def ordered(self) -> bool:
        """Whether someone ordered the model itself, not an answer from it."""
        return any(isinstance(job, Load) for job in self.jobs)

    @property
    def only_ordered(self) -> bool:
        """Whether nobody waits for an answer from it."""
        return all(isinstance(job, Load) for job in self.jobs)


class Waiting:
    """All such queues, the one that began first at the head."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[Queue]:
        return iter(list(self._queues.values()))

    @property
    def head(self) -> Queue | None:
        """Whose turn it is."""
        return next(iter(self._queues.values()), None)

    def get(self, model: str) -> Queue | None:
        """What waits for a model."""
        return self._queues.get(model)

    def add(self, job: Job) -> None:
        """Let a job wait for its model; the last one says how that is to be loaded."""
        source = Source.of(job)
        queue = self._queues.setdefault(job.model, Queue(job.model, source))
        if queue.source != source:
            queue.source, queue.need = source, None
        queue.jobs.append(job)

    def take(self, model: str) -> list[Job]:
        """All jobs of a model, which wait no longer."""
        queue = self._queues.pop(model, None)
        return queue.jobs if queue else []

    def drop(self, job_id: str) -> Job | None:
        """Take out a cancelled job; None if it does not wait here."""
        for queue in self:
            for job in queue.jobs:
                if job.id == job_id:
                    queue.jobs.remove(job)
                    if not queue.jobs:
                        del self._queues[queue.model]
                    return job
        return None
