"""Which models are in memory: loading, making room, unloading.

One model is loaded at a time, in the order in which they were asked for, a slice at a time. Its
files are checked before any other goes for it, and busy ones are waited for. But once a model has
waited for `swap_patience` seconds, and the one in its way has had a turn as long, requests for that
one which came later wait too: each gets its turn, and models do not change at every request.
"""

import gc
import logging
import time
from collections.abc import Generator
from concurrent.futures import Executor
from pathlib import Path

import mlx.core as mx
import msgspec

from mlx_notebook.engine.backends.backend import Backend, Done
from mlx_notebook.engine.backends.selection import load
from mlx_notebook.engine.errors import EngineError, LoadFailed, reason
from mlx_notebook.engine.kv_cache.prefix_cache import PrefixCache
from mlx_notebook.engine.residency.memory_budget import Budget, donor
from mlx_notebook.engine.residency.memory_need import footprint
from mlx_notebook.engine.residency.model_queues import Queue, Source, Waiting
from mlx_notebook.engine.residency.resident_model import Slot
from mlx_notebook.engine.runtime.device_memory import return_freed_memory
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.protocol import EngineConfig, LoadProgress

log = logging.getLogger(__name__)

# A model that could not be loaded is tried again after so long, or when its files have changed.
_RETRY_SECONDS = 10.0


class _Loading:
    """The model that is being loaded."""

    def __init__(self, queue: Queue, need: Footprint, slices: Generator[Done, None, Backend]):
        self.model, self.source, self.since = queue.model, queue.source, queue.since
        self.need, self.slices = need, slices
        self.began = time.perf_counter()
        self.checked = self.has_room = self.pinned = False
        self.done = 0


class _Failure:
    """Why a model could not be loaded, when, and from which files."""

    def __init__(self, path: Path, error: EngineError):
        self.error, self.files, self.at = error, _stamps(path), time.monotonic()

    def holds(self, path: Path) -> bool:
        """Whether another try would be a waste."""
        return time.monotonic() - self.at < _RETRY_SECONDS and _stamps(path) == self.files


class Residency:
    """The resident models, and the one being loaded.

    Parameters
    ----------
    settings, prefixes, workers
        As for `load`.
    budget
        What the models may take.
    waiting
        The work that wants a model; what can begin is the scheduler's to take out.
    """

    def __init__(
        self,
        settings: EngineConfig,
        budget: Budget,
        prefixes: PrefixCache,
        workers: Executor,
        waiting: Waiting,
    ):
        self._settings, self._prefixes, self._workers = settings, prefixes, workers
        self._waiting = waiting
        self.slots: dict[str, Slot] = {}
        self.budget = budget
        self.held: dict[str, float] = {}
        """Models that take no request that came after this moment: another one's turn is next."""
        self._loading: _Loading | None = None
        self._failures: dict[Source, _Failure] = {}
        self._untidy = False

    @property
    def loading(self) -> list[str]:
        """Names of the models that are being loaded (the first one) or wait for it."""
        now = [self._loading.model] if self._loading else []
        return now + [queue.model for queue in self._waiting if queue.model not in now]

    @property
    def progress(self) -> LoadProgress | None:
        """How far the model that is being loaded has come."""
        loading = self._loading
        return LoadProgress(loading.model, loading.done, loading.need.weights) if loading else None

    @property
    def under_way(self) -> str | None:
        """The model whose files are being read, unless it waits for another one to end."""
        loading = self._loading
        return loading.model if loading and (loading.has_room or not loading.checked) else None

    def usable(self, model: str, source: Source) -> Slot | None:
        """A model's slot, if it is resident as it is wanted."""
        slot = self.slots.get(model)
        return slot if slot is not None and slot.source == source else None

    def advance(self) -> tuple[str, float | EngineError] | None:
        """Do a slice of the loading that is under way, or begin the next one.

        Returns
        -------
        The model's name and the seconds that loading took, or why it failed; None while neither.
        """
        self.held = {}
        queue = self._waiting.head
        try:
            if self._loading is None:
                if queue is None or self.usable(queue.model, queue.source):
                    return None
                self._loading = self._begun(queue)
            loading = self._loading
            if loading is None:
                return None
            if loading.checked and not loading.has_room and not self._make_room(loading):
                return None
            done = next(loading.slices)
            if done is not None:
                loading.done, loading.checked = done, True
            return None
        except StopIteration as end:
            return self._loaded(end.value)
        except Exception as error:
            wanted = self._loading or queue
            assert wanted is not None
            if not isinstance(error, EngineError):
                log.exception("%s could not be loaded", wanted.model)
            failure = _without_frames(error, wanted.model)
        if self._loading is not None:
            # What the attempt held is free only now that its frames are gone.
            self._loading = None
            _give_back()
        if isinstance(failure, LoadFailed) and wanted.source not in self._failures:
            log.warning("%s", failure.message)
            self._failures[wanted.source] = _Failure(wanted.source.path, failure)
        return wanted.model, failure

    def abandon(self, model: str) -> None:
        """Stop loading a model, if it is the one that is being loaded."""
        if self._loading is not None and self._loading.model == model:
            self._loading = None
            _give_back()

    def unload(self, model: str, *, for_another: bool = False) -> int:
        """Give a model's memory back; returns the bytes freed.

        Where it goes for another model, that one takes the pages over: the system would only hand
        them out again, page by page (a tenth of the time that a swap takes).
        """
        active = mx.get_active_memory()
        before = active + mx.get_cache_memory()
        slot = self.slots.pop(model)
        slot.backend.close()
        if for_another and mx.get_active_memory() <= active - self._alone(slot):
            mx.clear_cache()
            self._untidy = True
        else:
            _give_back()
        freed = before - mx.get_active_memory() - mx.get_cache_memory()
        log.info("unloaded %s: %.1f MB freed", model, freed / 1e6)
        return int(freed)

    def _alone(self, slot: Slot) -> int:
        """Bytes of weights that no other model uses."""
        base = slot.backend.base
        shared = any(other.backend.base is base for other in self.slots.values())
        return slot.backend.nbytes - (base.nbytes if shared else 0)

    def tidy(self) -> None:
        """Give back what swaps and steps have left over, once there is nothing else to do."""
        if self._untidy:
            self._untidy = False
            _give_back()
        elif mx.get_cache_memory():
            mx.clear_cache()
            return_freed_memory()

    def unload_idle(self) -> list[str]:
        """Unload what nobody used for `idle_unload_minutes` (0: never); returns their names."""
        limit = self._settings.idle_unload_minutes * 60
        if limit <= 0:
            return []
        idle = [
            model
            for model, slot in self.slots.items()
            if not (slot.busy or slot.pinned) and slot.idle_seconds > limit
        ]
        for model in idle:
            self.unload(model)
        return idle

    def _begun(self, queue: Queue) -> _Loading | None:
        """Begin to load a queue's model, if it fits beside those that are busy."""
        failure = self._failures.get(queue.source)
        if failure is not None and not queue.ordered and failure.holds(queue.source.path):
            raise failure.error
        self._failures.pop(queue.source, None)
        path, options = queue.source.path, queue.source.options
        need = queue.need = queue.need or footprint(queue.model, path, options)
        if not self._free(self._victims(queue, need), queue.since):
            return None
        other = donor(path, self.slots.values()) if need.shareable else None
        # Whoever waits for an answer is served at once, and warms up what it needs itself.
        warm_up = self._settings.warm_up and queue.only_ordered
        slices = load(
            queue.model,
            path,
            options,
            msgspec.structs.replace(self._settings, warm_up=warm_up),
            self._prefixes,
            self._workers,
            donor=other.backend if other else None,
        )
        return _Loading(queue, need, slices)

    def _make_room(self, loading: _Loading) -> bool:
        """Unload those that must go, once all of them are idle; the files are known to be good."""
        victims = self._victims(loading, loading.need)
        loading.has_room = self._free(victims, loading.since)
        if loading.has_room:
            for slot in victims:
                loading.pinned = loading.pinned or slot.pinned  # it is replaced by itself
                self.unload(slot.backend.name, for_another=True)
            self._prefixes.shrink(
                self.budget.left_for_prefixes(
                    loading.source.path, loading.need, self.slots.values()
                )
            )
        return loading.has_room

    def _victims(self, wanted: Queue | _Loading, need: Footprint) -> list[Slot]:
        return self.budget.victims(wanted.model, wanted.source.path, need, self.slots)

    def _free(self, victims: list[Slot], since: float) -> bool:
        """Whether all who must go are idle; if not, and if it has taken long, their turn ends."""
        if not any(slot.busy for slot in victims):
            return True
        latest = time.perf_counter() - self._settings.swap_patience
        if since <= latest:
            self.held = {s.backend.name: since for s in victims if s.turn_began <= latest}
        return False

    def _loaded(self, backend: Backend) -> tuple[str, float]:
        loading = self._loading
        assert loading is not None
        self._loading = None
        slot = Slot(backend, loading.source, loading.need)
        slot.pinned = loading.pinned
        self.slots[loading.model] = slot
        return loading.model, time.perf_counter() - loading.began


def _without_frames(error: Exception, model: str) -> EngineError:
    """The same error, without the frames that hold on to what was loaded."""
    if isinstance(error, EngineError):
        return type(error)(error.message, error.param)
    return LoadFailed(f"{model} cannot be loaded: {reason(error)}", "model")


def _stamps(path: Path) -> object:
    """What changes when a model's files do."""
    try:
        return sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in path.iterdir())
    except OSError:
        return None


def _give_back() -> None:
    gc.collect()
    mx.clear_cache()
    return_freed_memory()
