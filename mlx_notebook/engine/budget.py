"""How much memory models may take together, and who makes room for whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_notebook.engine.errors import InsufficientMemory
from mlx_notebook.engine.footprint import Footprint
from mlx_notebook.engine.memory import device_memory
from mlx_notebook.engine.slots import Slot
from mlx_notebook.messages import EngineConfig

# What Metal recommends is meant for the GPU alone; what is left holds MLX's cache and prefixes.
_GPU_SHARE = 0.85
# On a CPU it is the memory that notebooks and everything else live in too.
_CPU_SHARE = 0.6


@dataclass(frozen=True)
class Budget:
    """Bounds on the resident models: `limit` bytes, and `most` of them (0: any number)."""

    limit: int
    most: int

    @classmethod
    def of(cls, settings: EngineConfig) -> "Budget":
        """What the settings say, or a share of the device's memory."""
        share = _GPU_SHARE if mx.default_device() == mx.gpu else _CPU_SHARE
        return cls(settings.memory_budget or int(device_memory() * share), settings.max_resident)

    def victims(
        self, model: str, path: Path, need: Footprint, slots: Mapping[str, Slot]
    ) -> list[Slot]:
        """Who must go so that `model` fits; those that are busy must be waited for.

        The least recently used go first, busy ones only where no idle one helps, pinned ones never.

        Raises
        ------
        InsufficientMemory
            If it would not fit with all but the pinned ones gone.
        """

        def order(slot: Slot) -> tuple[bool, bool, float]:
            return slot.busy, slot.source.path == path, slot.last_used

        staying = {name: slot for name, slot in slots.items() if name != model}
        replaced = [slots[model]] if model in slots else []
        victims: list[Slot] = []
        evictable = [slot for slot in staying.values() if not slot.pinned]
        for slot in sorted(evictable, key=order):
            if self._fits(path, need, staying.values()):
                break
            victims.append(slot)
            del staying[slot.backend.name]
        if not self._fits(path, need, staying.values()):
            raise self._refusal(model, need, list(staying.values()))
        for slot in reversed(victims):  # a large one that had to go may let a small one stay
            if self._fits(path, need, [*staying.values(), slot]):
                staying[slot.backend.name] = slot
                victims.remove(slot)
        return replaced + victims

    def _fits(self, path: Path, need: Footprint, beside: Iterable[Slot]) -> bool:
        others = list(beside)
        if self.most and len(others) >= self.most:
            return False
        shared = need.shareable and donor(path, others) is not None
        return _taken(others) + need.total - (need.base if shared else 0) <= self.limit

    def _refusal(self, model: str, need: Footprint, pinned: list[Slot]) -> InsufficientMemory:
        taken = _taken(pinned)
        if taken + need.total <= self.limit:
            return InsufficientMemory(
                f"{model} cannot be loaded: at most {self.most} models may be in memory "
                f"(max_resident), and {len(pinned)} are pinned. Unpin one first.",
                "model",
            )
        beside = f", of which pinned models hold {size(taken)}" if taken else ""
        advice = "Unpin one, or take" if taken else "Take"
        return InsufficientMemory(
            f"{model} does not fit into memory: it needs {size(need.total)} "
            f"({size(need.weights)} of weights, {size(need.kv)} for a conversation), and the "
            f"budget for models is {size(self.limit)}{beside}. {advice} a smaller or more strongly "
            "quantised model, or raise memory_budget_bytes.",
            "model",
        )


def donor(path: Path, slots: Iterable[Slot]) -> Slot | None:
    """A resident model of the folder `path` whose arrays another one may use."""
    return next((slot for slot in slots if slot.shareable and slot.source.path == path), None)


def _taken(slots: Iterable[Slot]) -> int:
    """Bytes of some models; a base that several of them share counts once."""
    slots = list(slots)
    bases = {slot.backend.base for slot in slots}
    return sum(slot.own for slot in slots) + sum(base.nbytes for base in bases)


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
