"""Loads models, evicts others to make room, and unloads idle ones.

One model is loaded at a time, in the order of the queues, one slice per call. Its files are checked
before another model is evicted for it, and busy models are waited for. A model may wait for
`swap_patience` seconds. If the model to evict has been loaded for as long, later requests for that
one then wait in a queue too. So each model gets its turn, and models are not swapped at each
request.
"""

import logging
import time
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path

import mlx.core as mx
import msgspec

from mlx_notebook.engine.backends.backend import Backend, LoadStep
from mlx_notebook.engine.backends.selection import load
from mlx_notebook.engine.distributed.leader import Leader
from mlx_notebook.engine.errors import EngineError, EvictionRefused, LoadFailed, reason
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_budget import MemoryBudget, base_model
from mlx_notebook.engine.residency.memory_need import footprint
from mlx_notebook.engine.residency.model_queues import ModelQueue, ModelQueues, ModelSpec
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.runtime.device_memory import release_memory, return_freed_memory
from mlx_notebook.engine.runtime.wired_memory import WiredLimit, recommended_working_set
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import EngineConfig, LoadProgress

log = logging.getLogger(__name__)

# A model that failed to load is tried again after this time, or when its files have changed.
_RETRY_SECONDS = 10.0
# A model that was used this recently is not evicted for jobs that nobody waits for.
_LEFT_ALONE_SECONDS = 60.0


class _ModelLoad:
    """The load in progress.

    Attributes
    ----------
    checked
        Whether its files are known to be good.
    has_room
        Whether the models to evict for it are unloaded.
    may_evict
        Whether other models may be evicted for it.
    bytes_read
        Bytes of its weights that are in memory.
    """

    def __init__(
        self, queue: ModelQueue, need: Footprint, slices: Generator[LoadStep, None, Backend]
    ):
        self.model, self.spec, self.since = queue.model, queue.spec, queue.since
        self.need, self.slices, self.may_evict = need, slices, queue.may_evict
        self.began = time.perf_counter()
        self.checked = self.has_room = self.pinned = False
        self.bytes_read = 0


class _Failure:
    """Why a load failed, when, and with which files."""

    def __init__(self, path: Path, error: EngineError):
        self.error, self.files, self.at = error, _file_stamps(path), time.monotonic()

    def still_holds(self, path: Path) -> bool:
        """Return whether another attempt would fail in the same way."""
        recent = time.monotonic() - self.at < _RETRY_SECONDS
        return recent and _file_stamps(path) == self.files


class Residency:
    """The resident models and the load in progress.

    Parameters
    ----------
    settings, prefixes, workers
        As for `load`.
    budget
        The memory that models may use.
    queues
        The jobs that wait for a model. The scheduler removes those that can begin.
    leader
        Tells the other ranks what to load; None if there is one rank.

    Attributes
    ----------
    models
        The resident models by name.
    held
        Models whose new requests must wait, because another model is next. The value is a time:
        requests that arrived after it wait.
    idle_unload_minutes
        Minutes without a request after which a model is unloaded. 0: never.
    wired
        The limit on wired memory, which follows the models.
    """

    def __init__(
        self,
        settings: EngineConfig,
        budget: MemoryBudget,
        prefixes: PrefixCache,
        workers: Executor,
        queues: ModelQueues,
        *,
        leader: Leader | None = None,
    ):
        self._leader = leader
        self._settings, self._prefixes, self._workers = settings, prefixes, workers
        self.idle_unload_minutes = settings.idle_unload_minutes
        self._queues = queues
        self.budget = budget
        self.models: dict[str, ResidentModel] = {}
        self.held: dict[str, float] = {}
        self.wired = WiredLimit(settings.wired_limit, recommended_working_set())
        self._load: _ModelLoad | None = None
        self._failures: dict[ModelSpec, _Failure] = {}
        self._unreturned = False
        self.follow_models()

    @property
    def loading(self) -> list[str]:
        """Names of the model that is being loaded and of those that wait for it."""
        now = [self._load.model] if self._load else []
        return now + [queue.model for queue in self._queues if queue.model not in now]

    @property
    def progress(self) -> LoadProgress | None:
        """How much of the model that is being loaded is in memory."""
        current = self._load
        return (
            LoadProgress(current.model, current.bytes_read, current.need.weights)
            if current
            else None
        )

    @property
    def reading(self) -> str | None:
        """The model whose files are being read; None while it waits for another to be evicted."""
        current = self._load
        if current is None or (current.checked and not current.has_room):
            return None
        return current.model

    def usable(self, model: str, spec: ModelSpec) -> ResidentModel | None:
        """Return a model if it is resident with this spec."""
        resident = self.models.get(model)
        return resident if resident is not None and resident.spec == spec else None

    def advance(self) -> tuple[str, float | EngineError] | None:
        """Do one slice of the load in progress, or begin the next one.

        Returns
        -------
        The model's name, and the seconds of the load or the error that ended it; None until then.
        """
        self.held = {}
        queue = self._queues.head
        if self._load is not None and queue is not None and not queue.patient:
            current = self._queues.get(self._load.model)
            if current is not None and current.patient:
                # Somebody waits for another model: this one is read again later.
                self.abandon(self._load.model)
        try:
            if self._load is None:
                if queue is None or self.usable(queue.model, queue.spec):
                    return None
                self._load = self._begin(queue)
            loading = self._load
            if loading is None:
                return None
            if loading.checked and not loading.has_room and not self._make_room(loading):
                return None
            bytes_read = next(loading.slices)
            if bytes_read is not None:
                loading.bytes_read, loading.checked = bytes_read, True
                if not loading.has_room:
                    self._make_room(loading)
            return None
        except StopIteration as end:
            return self._loaded(end.value)
        except Exception as error:
            wanted = self._load or queue
            assert wanted is not None
            if not isinstance(error, EngineError):
                log.exception("%s could not be loaded", wanted.model)
                if self._leader is not None:
                    self._leader.fail(error)
            failure = _without_frames(error, wanted.model)
        if self._load is not None:
            # The memory of the failed load is free only now that its frames are gone.
            self._load = None
            release_memory()
        if isinstance(failure, LoadFailed) and wanted.spec not in self._failures:
            log.warning("%s", failure.message)
            self._failures[wanted.spec] = _Failure(wanted.spec.path, failure)
        return wanted.model, failure

    def abandon(self, model: str) -> None:
        """Stop loading a model, if it is the one that is being loaded."""
        if self._load is not None and self._load.model == model:
            self._load = None
            release_memory()

    def unload(self, model: str, *, for_another: bool = False) -> int:
        """Unload a model and return the bytes freed.

        If it is evicted `for_another`, that model reuses its pages. To return them to the system
        and get them again takes a tenth of the time of a swap.
        """
        active = mx.get_active_memory()
        before = active + mx.get_cache_memory()
        resident = self.models.pop(model)
        resident.backend.close()
        self.follow_models()
        if for_another and mx.get_active_memory() <= active - self._unshared_bytes(resident):
            mx.clear_cache()
            self._unreturned = True
        else:
            release_memory()
        freed = before - mx.get_active_memory() - mx.get_cache_memory()
        log.info("unloaded %s: %.1f MB freed", model, freed / 1e6)
        return int(freed)

    def _unshared_bytes(self, resident: ResidentModel) -> int:
        """Return the bytes of weights that no other model uses."""
        base = resident.backend.base
        shared = any(other.backend.base is base for other in self.models.values())
        return resident.backend.nbytes - (base.nbytes if shared else 0)

    def follow_models(self) -> None:
        """Fit the limit on wired memory to the weights in memory; what is shared counts once."""
        backends = [resident.backend for resident in self.models.values()]
        own = sum(backend.nbytes - backend.base.nbytes for backend in backends)
        self.wired.fit(own + sum(base.nbytes for base in {one.base for one in backends}))

    def return_unused_memory(self) -> None:
        """Return the memory that swaps and steps left in caches; call it while idle."""
        if self._unreturned:
            self._unreturned = False
            release_memory()
        elif mx.get_cache_memory():
            mx.clear_cache()
            return_freed_memory()

    def unload_idle(self) -> None:
        """Unload the models that were idle for `idle_unload_minutes` (0: never)."""
        limit = self.idle_unload_minutes * 60
        if limit <= 0:
            return
        for model, resident in list(self.models.items()):
            if not (resident.busy or resident.pinned) and resident.idle_seconds > limit:
                self.unload(model)

    def _begin(self, queue: ModelQueue) -> _ModelLoad | None:
        """Begin to load a queue's model; None while busy models are in its way."""
        failure = self._failures.get(queue.spec)
        if failure is not None and not queue.has_load and failure.still_holds(queue.spec.path):
            raise failure.error
        self._failures.pop(queue.spec, None)
        path, options = queue.spec.path, queue.spec.options
        need = queue.need = queue.need or self._need(queue)
        evictions = self._evictions(queue, need)
        if not self.can_evict(evictions, queue.since, patient=queue.patient):
            return None
        base = base_model(path, self.models.values()) if need.shareable else None
        # If a request waits, it is served first: its own steps compile what they need.
        warm_up = self._settings.warm_up and queue.only_loads
        slices = load(
            queue.model,
            path,
            options,
            msgspec.structs.replace(self._settings, warm_up=warm_up),
            self._prefixes,
            self._workers,
            base_from=base.backend if base else None,
            leader=self._leader,
        )
        return _ModelLoad(queue, need, slices)

    def _need(self, queue: ModelQueue) -> Footprint:
        """Predict the memory that a model needs here."""
        need = footprint(queue.model, queue.spec.path, queue.spec.options)
        return need if self._leader is None else need.on_rank(self._leader.ranks.size)

    def _make_room(self, loading: _ModelLoad) -> bool:
        """Evict models for one whose files are good; return False while one of them is busy."""
        if (queue := self._queues.get(loading.model)) is not None:
            loading.may_evict = loading.may_evict or queue.may_evict
        evictions = self._evictions(loading, loading.need)
        patient = queue is not None and queue.patient
        loading.has_room = self.can_evict(evictions, loading.since, patient=patient)
        if loading.has_room:
            for resident in evictions:
                # One of them may be the same model with another spec.
                loading.pinned = loading.pinned or resident.pinned
                self.unload(resident.name, for_another=True)
            self._prefixes.shrink(
                self.budget.left_for_prefixes(loading.spec.path, loading.need, self.models.values())
            )
        return loading.has_room

    def _evictions(self, wanted: ModelQueue | _ModelLoad, need: Footprint) -> list[ResidentModel]:
        """Return the models to evict for another one.

        Raises
        ------
        EvictionRefused
            If the users who want it may not evict models, and it does not fit otherwise.
        InsufficientMemory
            If it does not fit beside the pinned ones.
        """
        evictions = self.budget.evictions(wanted.model, wanted.spec.path, need, self.models)
        others = [resident.name for resident in evictions if resident.name != wanted.model]
        if others and not wanted.may_evict:
            raise EvictionRefused(
                f"{wanted.model} fits into memory only in place of {', '.join(others)}, and you "
                f"may not swap models. Use a model that is in memory: {', '.join(self.models)}.",
                "model",
            )
        return evictions

    def can_evict(
        self, evictions: list[ResidentModel], since: float, *, patient: bool = False
    ) -> bool:
        """Return whether all these models are idle; after `swap_patience`, hold their requests.

        For jobs that nobody waits for, nothing is held, and a model must be idle for a while.
        """
        if patient:
            return not any(r.busy or r.idle_seconds < _LEFT_ALONE_SECONDS for r in evictions)
        if not any(resident.busy for resident in evictions):
            return True
        latest = time.perf_counter() - self._settings.swap_patience
        if since <= latest:
            self.held = {r.name: since for r in evictions if r.turn_began <= latest}
        return False

    def _loaded(self, backend: Backend) -> tuple[str, float]:
        loaded, self._load = self._load, None
        assert loaded is not None
        resident = ResidentModel(backend, loaded.spec, loaded.need)
        resident.pinned = loaded.pinned
        self.models[loaded.model] = resident
        self.follow_models()
        return loaded.model, time.perf_counter() - loaded.began


def _without_frames(error: Exception, model: str) -> EngineError:
    """Return the same error without the frames, which keep what was loaded in memory."""
    if isinstance(error, EngineError):
        return type(error)(error.message, error.param)
    return LoadFailed(f"{model} cannot be loaded: {reason(error)}", "model")


def _file_stamps(path: Path) -> object:
    """Return a value that changes when a file in the folder does, or the GGUF file at this path."""
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    except OSError:
        return None
