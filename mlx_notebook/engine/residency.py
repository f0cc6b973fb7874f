"""Which models are in memory: loading, eviction of the least recently used, idle unloading."""

import gc
import logging
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path

import mlx.core as mx

from mlx_notebook.engine.budget import default_budget
from mlx_notebook.engine.embedding import Embedding
from mlx_notebook.engine.errors import EngineError
from mlx_notebook.engine.footprint import footprint
from mlx_notebook.engine.memory import return_freed_memory
from mlx_notebook.engine.prefix_cache import PrefixCache
from mlx_notebook.engine.runner import Runner
from mlx_notebook.engine.scoring import Scoring
from mlx_notebook.engine.text import TextBackend, load
from mlx_notebook.messages import (
    Embed,
    EngineConfig,
    Generate,
    Load,
    LoadProgress,
    ModelOptions,
    Resident,
    Tokenize,
)

log = logging.getLogger(__name__)


class Slot:
    """A resident model, its requests, and when it was last used."""

    def __init__(self, backend: TextBackend):
        self.backend = backend
        self.runner = Runner(backend)
        self.loaded_at = self.last_used = time.time()
        self.pinned = False
        self.waiting = 0
        """Requests that will use the model but are not in its batch yet: it must stay."""
        self.aside: deque[Embedding | Scoring] = deque()
        """Work done a piece at a time, between the steps of the batch."""

    @property
    def busy(self) -> bool:
        """Whether a request runs on this model or is about to."""
        return bool(self.waiting or self.aside or len(self.backend))

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
        )


class Residency:
    """The resident models, and the one being loaded."""

    def __init__(self, settings: EngineConfig, prefixes: PrefixCache, workers: Executor):
        self._settings, self._prefixes, self._workers = settings, prefixes, workers
        self.slots: dict[str, Slot] = {}
        self._wanted: dict[str, tuple[Path, ModelOptions]] = {}
        self._loading: Generator[int, None, TextBackend] | None = None
        self._began = 0.0
        self._done = self._total = 0
        self.budget = settings.memory_budget or default_budget()

    @property
    def loading(self) -> list[str]:
        """Names of the models that are loading or wait for it; the first one is being loaded."""
        return list(self._wanted)

    @property
    def progress(self) -> LoadProgress | None:
        """How far the model that is being loaded has come."""
        if self._loading is None:
            return None
        return LoadProgress(next(iter(self._wanted)), self._done, self._total)

    def want(self, job: Generate | Tokenize | Embed | Load) -> None:
        """Have a command's model loaded if it is not resident; `advance` does the work."""
        if job.model not in self.slots:
            self._wanted.setdefault(job.model, (Path(job.path), job.options))

    def advance(self) -> tuple[str, float | EngineError] | None:
        """Do a slice of the loading that is under way.

        Returns
        -------
        The model's name and the seconds that loading took, or why it failed; None while neither.
        """
        if not self._wanted:
            return None
        model, (path, options) = next(iter(self._wanted.items()))
        if self._loading is None:
            if not self._make_room():
                return None
            self._began = time.perf_counter()
            self._done = 0
            try:
                self._total = footprint(model, path, options).weights
            except EngineError as error:
                del self._wanted[model]
                return model, error
            self._loading = load(
                model, path, options, self._settings, self._prefixes, self._workers
            )
        try:
            self._done = next(self._loading)
        except StopIteration as done:
            self._end(model)
            self.slots[model] = Slot(done.value)
            return model, time.perf_counter() - self._began
        except EngineError as error:
            log.warning("%s", error.message)
            self._end(model)
            return model, error
        return None

    def unload(self, model: str) -> int:
        """Give a model's memory back; returns the bytes freed."""
        before = mx.get_active_memory() + mx.get_cache_memory()
        self.slots.pop(model).backend.close()
        gc.collect()
        mx.clear_cache()
        return_freed_memory()
        freed = before - mx.get_active_memory() - mx.get_cache_memory()
        log.info("unloaded %s: %.1f MB freed", model, freed / 1e6)
        return int(freed)

    def unload_idle(self) -> list[str]:
        """Unload what nobody used for `idle_unload_minutes` (0: never); returns their names."""
        limit = self._settings.idle_unload_minutes * 60
        if limit <= 0:
            return []
        now = time.time()
        idle = [
            model
            for model, slot in self.slots.items()
            if not (slot.busy or slot.pinned) and now - slot.last_used > limit
        ]
        for model in idle:
            self.unload(model)
        return idle

    def _make_room(self) -> bool:
        """Evict the least recently used idle model if there are too many; False if all are busy."""
        most = self._settings.max_resident
        while most and len(self.slots) >= most:
            idle = [m for m, slot in self.slots.items() if not (slot.busy or slot.pinned)]
            if not idle:
                return False
            self.unload(min(idle, key=lambda model: self.slots[model].last_used))
        return True

    def _end(self, model: str) -> None:
        self._loading = None
        del self._wanted[model]
