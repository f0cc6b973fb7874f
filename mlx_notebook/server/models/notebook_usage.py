"""Which open notebooks have used which models lately: such a model is not unloaded for being idle.

A notebook's kernel names itself in a header of its requests. While it is there it asks for its
models from time to time (`mlx/models/keep`), and so they count as used.
"""

import time
from collections import OrderedDict
from typing import Any

KERNEL_HEADER = "X-Mlx-Notebook-Kernel"
_LONGEST_NAME = 64
_MOST_KERNELS = 1000
_MOST_MODELS = 64


class NotebookUsage:
    """When each kernel last used each model, for as long as that counts.

    Args:
        seconds: For how long after its last use a model stays for a kernel; 0 keeps none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    def note(self, kernel: str, model: str) -> None:
        """Note that a kernel uses a model now."""
        if not kernel or len(kernel) > _LONGEST_NAME or self._seconds <= 0:
            return
        models = self._used.setdefault(kernel, OrderedDict())
        models[model] = time.monotonic()
        _keep_newest(self._used, kernel, _MOST_KERNELS)
        _keep_newest(models, model, _MOST_MODELS)

    def models(self, kernel: str) -> list[str]:
        """Return the models that a kernel has used lately; forget the others."""
        oldest = time.monotonic() - self._seconds
        used = self._used.get(kernel, OrderedDict())
        for model in [model for model, at in used.items() if at < oldest]:
            del used[model]
        if not used:
            self._used.pop(kernel, None)
        return list(used)


def _keep_newest(entries: OrderedDict[str, Any], name: str, most: int) -> None:
    entries.move_to_end(name)
    while len(entries) > most:
        entries.popitem(last=False)
