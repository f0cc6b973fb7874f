"""A resident model and what is known of its use."""

import time
from collections import Counter, deque

from mlx_notebook.engine.backends.backend import Backend
from mlx_notebook.engine.backends.text import TextBackend
from mlx_notebook.engine.generation.embedding_job import Embedding
from mlx_notebook.engine.generation.prompt_scoring import Scoring
from mlx_notebook.engine.generation.runner import Runner
from mlx_notebook.engine.residency.model_queues import Source
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import Resident

# A step's work may be waited for in the next ones.
_FIRST_STEPS = 3


class Slot:
    """A resident model, its requests, and when it was last used.

    Parameters
    ----------
    backend, source
        The model, and where it came from.
    need
        What was foreseen of it; its keys and values are still to come.
    """

    def __init__(self, backend: Backend, source: Source, need: Footprint):
        self.backend, self.source = backend, source
        self.shareable = need.shareable and type(backend) is TextBackend
        self.own: int = backend.nbytes - backend.base.nbytes + need.kv
        self._kv = need.kv
        self.runner = Runner(backend)
        self.loaded_at = time.time()
        self.use()
        self.turn_began = time.perf_counter()
        self.pinned = False
        self.waiting = 0
        """Requests that will use the model but are not in its batch yet: it must stay."""
        self.aside: deque[Embedding | Scoring] = deque()
        """Work done a piece at a time, between the steps of the batch."""
        self._steps: Counter[int] = Counter()

    def use(self) -> None:
        """Note that it is used now: for those who look at it, and for how long it is idle."""
        self.last_used = time.time()
        self.used_at = self._kept_at = time.monotonic()

    def keep(self) -> None:
        """Begin its idle time now, though nothing uses it; it may still make room for another."""
        self._kept_at = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """For how long it was neither used nor kept, whatever the clock on the wall was set to."""
        return time.monotonic() - max(self.used_at, self._kept_at)

    def may_compile(self, rows: int) -> bool:
        """Note a step of so many rows; returns whether it is among the first of this size."""
        self._steps[rows] += 1
        return self._steps[rows] <= _FIRST_STEPS

    @property
    def busy(self) -> bool:
        """Whether a request runs on this model or is about to."""
        return bool(self.waiting or self.aside or len(self.backend))

    @property
    def excess(self) -> int:
        """Bytes of keys and values that running requests hold beyond those foreseen."""
        return max(0, self.backend.kv_bytes - self._kv) if self.busy else 0

    @property
    def at_work(self) -> bool:
        """Whether there is a step to make."""
        return bool(self.aside or len(self.runner))

    @property
    def resident(self) -> Resident:
        """What the status shows of it."""
        backend = self.backend
        return Resident(
            backend.name,
            backend.nbytes,
            backend.context_length,
            self.loaded_at,
            self.last_used,
            len(backend) + self.waiting + len(self.aside),
            self.pinned,
            backend.sees,
            str(self.source.path),
            self.source.options,
        )
