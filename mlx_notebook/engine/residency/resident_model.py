"""A resident model, the jobs that use it, and when it was last used."""

import time
from collections import Counter, deque

from mlx_notebook.engine.backends.backend import Backend, GeneratingBackend
from mlx_notebook.engine.backends.text import TextBackend
from mlx_notebook.engine.generation.audio_job import AudioJob
from mlx_notebook.engine.generation.embedding_job import EmbeddingJob
from mlx_notebook.engine.generation.prompt_scoring import ScoringJob
from mlx_notebook.engine.generation.request import Request
from mlx_notebook.engine.generation.reranking_job import RerankingJob
from mlx_notebook.engine.generation.runner import Runner
from mlx_notebook.engine.residency.batch_share import BatchShare
from mlx_notebook.engine.residency.gathering import Gathering
from mlx_notebook.engine.residency.model_queues import ModelSpec
from mlx_notebook.engine.residency.user_turns import UserTurns
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import Resident

SideJob = EmbeddingJob | RerankingJob | ScoringJob | AudioJob
"""What is done piece by piece between the steps of a batch."""

# A step with a new number of rows may compile kernels; later steps may still wait for them.
_FIRST_STEPS = 3


class ResidentModel:
    """A model in memory and everything that runs on it.

    Parameters
    ----------
    backend, spec
        The model, its folder and its options.
    need
        The memory that was predicted for it. Its KV cache grows only when requests run.

    Attributes
    ----------
    runner
        The batch of requests; None for a model that generates no text from text.
    preparing
        Ids of the jobs that workers prepare, or read back from disk, for this model.
    ready
        Prepared requests that wait for a free row of the batch.
    gathering
        Whether they wait for others.
    share, patient_share
        Whose request joins the batch next, and whose patient one.
    side_jobs
        Embeddings, rankings, prompt scorings, transcriptions. One piece is done between two steps.
    own
        Bytes of this model that no other model shares, with a modest batch's KV cache.
    shareable
        Whether models with other adapters may use its base weights.
    turn_began
        When it was loaded, on `time.perf_counter`.
    """

    def __init__(self, backend: Backend, spec: ModelSpec, need: Footprint):
        self.name, self.backend, self.spec = backend.name, backend, spec
        self.shareable = need.shareable and type(backend) is TextBackend
        self.own: int = backend.nbytes - backend.base.nbytes + need.kv
        self._kv = need.kv
        self.runner = Runner(backend) if isinstance(backend, GeneratingBackend) else None
        self.loaded_at = time.time()
        self.turn_began = time.perf_counter()
        self.pinned = False
        self.preparing: set[str] = set()
        self.ready: deque[Request] = deque()
        self.gathering = Gathering()
        self.share, self.patient_share = BatchShare(), BatchShare()
        self.side_jobs: deque[SideJob] = deque()
        self._side_turns = UserTurns()
        self._steps: Counter[int] = Counter()
        self.mark_used()

    @property
    def rows(self) -> int:
        """Rows of the batch, of running requests and of those whose prompt is being computed."""
        return len(self.runner) if self.runner is not None else 0

    @property
    def patient_rows(self) -> int:
        """Rows of requests that nobody waits for."""
        return self.runner.patient_rows if self.runner is not None else 0

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for a row of the batch or for a side job."""
        return self.rows > self.patient_rows or any(not job.patient for job in self.side_jobs)

    @property
    def has_work(self) -> bool:
        """Whether the scheduler has a step or a piece of a side job to do."""
        return bool(self.side_jobs or self.rows)

    @property
    def busy(self) -> bool:
        """Whether a job runs on this model or is about to: it must stay in memory."""
        return bool(self.preparing or self.ready or self.has_work)

    @property
    def excess(self) -> int:
        """Bytes by which running requests exceed the predicted KV caches."""
        if self.runner is None or not self.busy:
            return 0
        scoring = sum(job.nbytes for job in self.side_jobs if isinstance(job, ScoringJob))
        return max(0, self.runner.backend.kv_bytes + scoring - self._kv)

    @property
    def idle_seconds(self) -> float:
        """Seconds since it was last used or kept, on a clock that nobody can set."""
        return time.monotonic() - max(self.used_at, self._kept_at)

    def mark_used(self) -> None:
        """Record that it is used now, for the status and for its idle time."""
        self.last_used = time.time()
        self.used_at = self._kept_at = time.monotonic()

    def keep(self) -> None:
        """Restart its idle time without a use. It may still be evicted."""
        self._kept_at = time.monotonic()

    def may_compile(self, rows: int) -> bool:
        """Record a step with `rows` rows; return whether it is one of the first of that size."""
        self._steps[rows] += 1
        return self._steps[rows] <= _FIRST_STEPS

    def next_side_job(self) -> SideJob:
        """Return the side job to do a piece of: the first one of the user whose turn it is.

        Patient ones come after all others.
        """
        jobs = [job for job in self.side_jobs if not job.patient] or self.side_jobs
        user = self._side_turns.next(job.user for job in jobs)
        self._side_turns.charge(user)
        return next(job for job in jobs if job.user == user)

    def remove(self, job_id: str) -> None:
        """Remove a cancelled job that waits for the batch or is a side job."""
        self.ready = deque(request for request in self.ready if request.id != job_id)
        self.side_jobs = deque(job for job in self.side_jobs if job.id != job_id)

    @property
    def status(self) -> Resident:
        """Its part of the statistics."""
        waiting = len(self.preparing) + len(self.ready) + len(self.side_jobs)
        return Resident(
            self.name,
            self.backend.nbytes,
            self.backend.context_length,
            self.loaded_at,
            self.last_used,
            self.rows + waiting,
            self.pinned,
            self.backend.takes_images,
            str(self.spec.path),
            self.spec.options,
            self.backend.takes_sounds,
        )
