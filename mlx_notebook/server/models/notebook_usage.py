"""Track which models open notebooks have used, so that these are not unloaded as idle.

The kernel of a notebook names itself in a header of its requests. While it runs it calls
`mlx/models/keep` regularly, and its models count as used.
"""

import time
from collections import OrderedDict
from typing import Any

KERNEL_HEADER = "X-Mlx-Notebook-Kernel"
_MAX_NAME_LENGTH = 64
_MAX_KERNELS = 1000
_MAX_MODELS = 64


class NotebookUsage:
    """Record when each kernel last used each model.

    Parameters
    ----------
    seconds
        Time after its last use for which a kernel keeps a model in memory; 0 keeps none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    def note(self, kernel: str, model: str) -> None:
        """Record that a kernel uses a model now."""
        if not kernel or len(kernel) > _MAX_NAME_LENGTH or self._seconds <= 0:
            return
        models = self._used.setdefault(kernel, OrderedDict())
        models[model] = time.monotonic()
        _keep_newest(self._used, kernel, _MAX_KERNELS)
        _keep_newest(models, model, _MAX_MODELS)

    def models(self, kernel: str) -> list[str]:
        """Return the models that a kernel has used recently, and forget the others."""
        oldest = time.monotonic() - self._seconds
        used = self._used.get(kernel, OrderedDict())
        for model in [model for model, at in used.items() if at < oldest]:
            del used[model]
        if not used:
            self._used.pop(kernel, None)
        return list(used)


def _keep_newest(entries: OrderedDict[str, Any], name: str, limit: int) -> None:
    entries.move_to_end(name)
    while len(entries) > limit:
        entries.popitem(last=False)
