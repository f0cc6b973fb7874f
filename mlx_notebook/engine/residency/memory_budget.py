"""The memory that resident models may use together, and which of them to evict for another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_notebook.engine.errors import EvictionRefused, InsufficientMemory
from mlx_notebook.engine.residency.resident_model import ResidentModel
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.model_files.machine_memory import default_memory_budget, format_bytes
from mlx_notebook.protocol import EngineConfig

# By default the prefix cache may hold a tenth of the device's memory, beside the models.
_PREFIX_CACHE_SHARE = 10


@dataclass(frozen=True)
class MemoryBudget:
    """Limits on the resident models.

    Attributes
    ----------
    limit
        Bytes that all models may use. The share of each model includes the KV cache of a modest
        batch.
    max_models
        The number of models; 0 means any number.
    prefix_bytes
        Bytes of the prefix cache. Running requests whose KV caches are larger than a modest
        batch's use this memory too.
    ranks
        The number of ranks. The limits are those of one rank, and messages tell those of all.
    reserved
        Bytes of `limit` that are kept free for jobs in processes of their own.
    """

    limit: int
    max_models: int
    prefix_bytes: int
    ranks: int = 1
    reserved: int = 0

    @classmethod
    def of(
        cls, settings: EngineConfig, *, memory: int | None = None, ranks: int = 1
    ) -> "MemoryBudget":
        """Return the limits in the settings, or shares of the memory.

        Parameters
        ----------
        settings
            The engine's settings. Their limits are for all ranks together.
        memory
            Bytes that each rank may use. None: those of the device.
        ranks
            The number of ranks.
        """
        memory = device_memory() if memory is None else memory
        return cls(
            (settings.memory_budget or 0) // ranks
            or default_memory_budget(memory, gpu=mx.default_device() == mx.gpu),
            settings.max_resident,
            (settings.prefix_cache_bytes or 0) // ranks or memory // _PREFIX_CACHE_SHARE,
            ranks,
        )

    def evictions(
        self, model: str, path: Path, need: Footprint, residents: Mapping[str, ResidentModel]
    ) -> list[ResidentModel]:
        """Return the models that must be unloaded before `model` fits.

        The caller waits for those that are busy. Idle models come before busy ones, and the least
        recently used first. Pinned models are never evicted, but the caller may have to wait until
        their requests have ended. The prefix cache shrinks before any model is evicted
        (`left_for_prefixes`).

        Raises
        ------
        InsufficientMemory
            If the model does not fit beside the pinned ones.
        """

        def order(resident: ResidentModel) -> tuple[bool, bool, float]:
            return resident.busy, resident.spec.path == path, resident.used_at

        staying = {name: other for name, other in residents.items() if name != model}
        replaced = [residents[model]] if model in residents else []
        evicted: list[ResidentModel] = []
        candidates = [resident for resident in staying.values() if not resident.pinned]
        for resident in sorted(candidates, key=order):
            if self._fits(path, need, staying.values()):
                break
            evicted.append(resident)
            del staying[resident.name]
        if not self._fits(path, need, staying.values()):
            if not self._fits(path, need, staying.values(), running=False):
                raise self._refusal(model, need, list(staying.values()))
            evicted.extend(resident for resident in staying.values() if resident.excess)
            return replaced + evicted
        # If a large model has to go, a small one chosen before it may be able to stay.
        for resident in reversed(evicted):
            if self._fits(path, need, [*staying.values(), resident]):
                staying[resident.name] = resident
                evicted.remove(resident)
        return replaced + evicted

    def evictions_for_job(
        self, title: str, size: int, residents: Mapping[str, ResidentModel], *, may_evict: bool
    ) -> list[ResidentModel]:
        """Return the models that must be unloaded before a job gets `size` bytes.

        The order is that of `evictions`. `title` says what the job does, for messages.

        Raises
        ------
        InsufficientMemory
            If there is not so much memory beside the pinned models and other jobs.
        EvictionRefused
            If it needs the memory of models, and they may not be evicted for it.
        """
        staying = list(residents.values())
        evicted = []
        candidates = [resident for resident in staying if not resident.pinned]
        for resident in sorted(candidates, key=lambda one: (one.busy, one.used_at)):
            if self._used(staying) + size <= self.limit:
                break
            staying.remove(resident)
            evicted.append(resident)
        used = self._used(staying)
        if used + size > self.limit:
            beside = f", of which {self._takers(staying)} hold {format_bytes(used)}"
            raise InsufficientMemory(
                f"The {title} needs {format_bytes(size)} of memory, and the budget for models is "
                f"{format_bytes(self.limit)}{beside if used else ''}. "
                f"{format_bytes(used + size - self.limit)} are missing: make the job smaller, or "
                "raise memory_budget_bytes.",
            )
        if evicted and not may_evict:
            raise EvictionRefused(
                f"The {title} needs the memory of {', '.join(one.name for one in evicted)}, and "
                "you may not swap models. Try again when they are unloaded."
            )
        return evicted

    def left_beside(self, residents: Iterable[ResidentModel]) -> int:
        """Return the bytes left for the prefix cache beside models and jobs."""
        others = list(residents)
        excess = sum(other.excess for other in others)
        return self.limit + self.prefix_bytes - self._used(others) - excess

    def left_for_prefixes(
        self, path: Path, need: Footprint, residents: Iterable[ResidentModel]
    ) -> int:
        """Return the bytes left for the prefix cache once a model is loaded beside others."""
        others = list(residents)
        used = self._used_with(path, need, others) + sum(other.excess for other in others)
        return self.limit + self.prefix_bytes - used

    def _fits(
        self, path: Path, need: Footprint, beside: Iterable[ResidentModel], *, running: bool = True
    ) -> bool:
        """Return whether a model fits beside others and, if `running`, beside their requests."""
        others = list(beside)
        if self.max_models and len(others) >= self.max_models:
            return False
        if self._used_with(path, need, others) > self.limit:
            return False
        return not running or self.left_for_prefixes(path, need, others) >= 0

    def _used_with(self, path: Path, need: Footprint, others: list[ResidentModel]) -> int:
        shared = need.shareable and base_model(path, others) is not None
        return self._used(others) + need.total - (need.base if shared else 0)

    def _used(self, residents: Iterable[ResidentModel]) -> int:
        """Return the bytes that jobs hold and models use; base weights they share count once."""
        residents = list(residents)
        bases = {resident.backend.base for resident in residents}
        weights = sum(resident.own for resident in residents) + sum(base.nbytes for base in bases)
        return self.reserved + weights

    def _takers(self, residents: list[ResidentModel]) -> str:
        """Say what holds memory that cannot be freed: pinned models, jobs, or both."""
        pinned = ["pinned models"] if residents else []
        jobs = ["jobs (%mlx jobs lists them)"] if self.reserved else []
        return " and ".join(pinned + jobs)

    def _refusal(
        self, model: str, need: Footprint, pinned: list[ResidentModel]
    ) -> InsufficientMemory:
        used = self._used(pinned)
        if used + need.total <= self.limit:
            return InsufficientMemory(
                f"{model} cannot be loaded: at most {self.max_models} models may be in memory "
                f"(max_resident), and {len(pinned)} are pinned. Unpin one first.",
                "model",
            )

        def whole(count: int) -> str:
            return format_bytes(count * self.ranks)

        beside = f", of which {self._takers(pinned)} hold {whole(used)}" if used else ""
        advice = "Unpin one, or take" if pinned else "Take"
        return InsufficientMemory(
            f"{model} does not fit into memory: it needs {whole(need.total)} "
            f"({whole(need.weights)} of weights, {whole(need.kv)} for a "
            f"conversation), and the budget for models is {whole(self.limit)}{beside}. "
            f"{advice} a smaller or more strongly quantised model, or raise memory_budget_bytes.",
            "model",
        )


def base_model(path: Path, residents: Iterable[ResidentModel]) -> ResidentModel | None:
    """Return a resident model of the folder `path` whose base weights others may share."""
    return next((one for one in residents if one.shareable and one.spec.path == path), None)
