"""How much memory models may take together, and who makes room for whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_notebook.engine.errors import InsufficientMemory
from mlx_notebook.engine.residency.resident_model import Slot
from mlx_notebook.engine.runtime.device_memory import device_memory
from mlx_notebook.model_files.footprint import Footprint
from mlx_notebook.model_files.machine_memory import default_memory_budget
from mlx_notebook.protocol import EngineConfig

# Kept prompts may take this part of the device's memory, beside the models.
_PREFIXES_SHARE = 10


@dataclass(frozen=True)
class Budget:
    """Bounds on the resident models: `limit` bytes, and `most` of them (0: any number).

    Each model has a modest batch's keys and values in its share. Where running requests hold more
    than that, it comes out of `prefixes`, the bytes that are set aside for kept prompts.
    """

    limit: int
    most: int
    prefixes: int

    @classmethod
    def of(cls, settings: EngineConfig) -> "Budget":
        """What the settings say, or a share of the device's memory."""
        memory = device_memory()
        return cls(
            settings.memory_budget
            or default_memory_budget(memory, gpu=mx.default_device() == mx.gpu),
            settings.max_resident,
            settings.prefix_cache_bytes or memory // _PREFIXES_SHARE,
        )

    def victims(
        self, model: str, path: Path, need: Footprint, slots: Mapping[str, Slot]
    ) -> list[Slot]:
        """Who must go so that `model` fits; those that are busy must be waited for.

        The least recently used go first, busy ones only where no idle one helps, pinned ones never
        (what they hold for running requests is waited for). Kept prompts are no hindrance: they go
        before any model (`left_for_prefixes`).

        Raises
        ------
        InsufficientMemory
            If it would not fit with all but the pinned ones gone.
        """

        def order(slot: Slot) -> tuple[bool, bool, float]:
            return slot.busy, slot.source.path == path, slot.used_at

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
            if not self._fits(path, need, staying.values(), running=False):
                raise self._refusal(model, need, list(staying.values()))
            victims.extend(slot for slot in staying.values() if slot.excess)
            return replaced + victims
        for slot in reversed(victims):  # a large one that had to go may let a small one stay
            if self._fits(path, need, [*staying.values(), slot]):
                staying[slot.backend.name] = slot
                victims.remove(slot)
        return replaced + victims

    def left_for_prefixes(self, path: Path, need: Footprint, slots: Iterable[Slot]) -> int:
        """What kept prompts may hold while a model comes to those that are there, in bytes."""
        others = list(slots)
        return self.limit + self.prefixes - self._taken_with(path, need, others) - _excess(others)

    def _fits(
        self, path: Path, need: Footprint, beside: Iterable[Slot], *, running: bool = True
    ) -> bool:
        """Whether a model fits beside others, and beside what runs on them."""
        others = list(beside)
        if self.most and len(others) >= self.most:
            return False
        if self._taken_with(path, need, others) > self.limit:
            return False
        return not running or self.left_for_prefixes(path, need, others) >= 0

    def _taken_with(self, path: Path, need: Footprint, others: list[Slot]) -> int:
        shared = need.shareable and donor(path, others) is not None
        return _taken(others) + need.total - (need.base if shared else 0)

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


def _excess(slots: Iterable[Slot]) -> int:
    return sum(slot.excess for slot in slots)


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
